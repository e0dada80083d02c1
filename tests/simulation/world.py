"""Pods on a simulated Redis: started, stopped, killed at any await, paused and woken, blocked, cut off."""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from unittest import mock

import structlog
from typing_extensions import override

from capelin import Capelin
from capelin.connection import Connection
from capelin.errors import Unreachable
from capelin.workers.heartbeat import Heartbeat
from capelin.workers.host import Host, Step
from capelin.workers.worker import Worker
from tests.simulation.apps import build_app
from tests.simulation.history import History, Saved, Stop
from tests.simulation.loop import Lane, SimLoop, SimTask, in_lane
from tests.simulation.network import Network
from tests.simulation.servers import Servers
from tests.simulation.session import Session

POD: ContextVar["Pod"] = ContextVar("simulated_pod")


class LaneHost(Host):
    """Runs a heartbeat in a lane of its own, as `ThreadHost` does in a thread of its own."""

    def __init__(
        self, connect: Callable[[], Connection], on_death: Callable[[BaseException], None], lane: Lane
    ) -> None:
        self._connect, self._on_death, self._lane = connect, on_death, lane
        self._heartbeat: Heartbeat
        self._connection: Connection
        self._task: asyncio.Task[None]

    @override
    async def start(self, heartbeat: Heartbeat) -> None:
        self._heartbeat = heartbeat
        self._connection = self._connect()
        self._task = in_lane(self._lane, heartbeat.run(self._connection), name="capelin heartbeat")
        self._task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_death(error)

    @override
    def poke(self) -> None:
        asyncio.get_running_loop().call_soon(self._heartbeat.poke, context=self._lane.context())

    @override
    async def call(self, step: Step) -> None:
        async def run() -> None:
            await step(self._connection)

        await in_lane(self._lane, run(), name="heartbeat call")

    @override
    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])
        await in_lane(self._lane, self._connection.close(), name="heartbeat close")


class Pod:
    """One process: a worker, or a client of one.

    Attributes:
        name: Its own, new at each start.
        slot: Its place in the fleet, which it shares with those before and after it.
        alive: Until it was killed or has ended.
    """

    def __init__(self, world: "World", slot: str, number: int, release: int, *, skew: float = 0.0) -> None:
        self.world, self.slot, self.name, self.release = world, slot, f"{slot}-{number}", release
        name = self.name
        self.history = world.history
        self.main = Lane(world.loop, name)
        self.main.skew = skew
        self.heart = Lane(world.loop, f"{name}'s heart", main=self.main)
        self.alive = True
        self.stopping = False
        self.began = world.loop.elapsed
        self.app: Capelin[None] = build_app(self, release)
        self.worker: Worker | None = None
        self.task: SimTask | None = None

    def __repr__(self) -> str:
        return f"<Pod {self.name} release {self.release}>"

    def do(self, coro: Awaitable[Any], name: str) -> SimTask:
        """Run something in the pod."""
        context = self.main.context()
        context.run(POD.set, self)
        task: SimTask = self.world.loop.create_task(coro, name=name, context=context)  # type: ignore[arg-type,assignment]
        return task

    def start_worker(self) -> None:
        self.world.history.note(self.name, f"=== starts, release {self.release}")
        self.task = self.do(self._run(), f"{self.name} worker")

    async def _run(self) -> None:
        self.worker = Worker(self.app, name=self.name)
        try:
            await self.worker.run()
        except Unreachable as error:
            # What is told to stop before it has reached Redis says so.
            if not self.stopping or self.worker.started.is_set():
                self.history.problem(f"the worker of {self.name} died: {error}")
        except Exception as error:  # noqa: BLE001 -- whatever it is, it must not be
            self.history.problem(f"the worker of {self.name} died: {type(error).__name__}: {error}")
        finally:
            if self.alive and not self.history.closed:
                if not self.stopping:
                    self.history.problem(f"the worker of {self.name} ended by itself")
                self.alive = False
                for stop in self.history.stops:
                    if stop.pod == self.name:
                        stop.ended = self.history.clock()
                self.history.note(self.name, "=== has stopped")
                self.world.ended(self)
        await self.app.close()

    # What befalls pods.

    def stop(self, *, hurry: bool = False) -> None:
        """SIGTERM."""
        self.stopping = True
        self.history.stops.append(Stop(at=self.history.clock(), pod=self.name, hurry=hurry))
        if self.worker is not None:
            self.world.loop.call_soon(self.worker.stop, context=self.main.context())
            if hurry:
                self.world.loop.call_soon(self.worker.stop, context=self.main.context())

    def crash(self, *, silent: bool = False) -> None:
        """SIGKILL; silent: the power went out, and nobody closes its connections."""
        if not self.alive or self.history.closed:
            return
        self.alive = False
        self.main.frozen = self.heart.frozen = True
        self.history.disturb(self.name, "vanished" if silent else "killed", fatal=True)
        if silent:
            self.world.network.vanish_all(self.name)
        else:
            self.world.network.hang_up_all(self.name)
        self.world.ended(self)

    def freeze(self, seconds: float, *, heart: bool) -> None:
        """SIGSTOP for a while; without its heart: something blocks the event loop, the heartbeat goes on."""
        self.main.frozen = True
        if heart:
            self.heart.frozen = True
        self.history.disturb(self.name, "paused" if heart else "blocked", seconds=seconds, fatal=heart)
        self.world.at_home(seconds, self._thaw)

    def _thaw(self) -> None:
        if self.alive:
            self.main.frozen = self.heart.frozen = False
            self.history.note(self.name, "=== goes on")

    def saved(self, fence: int, value: int) -> None:
        """The singleton's leader was told that a state is saved."""
        if not self.history.closed:
            self.history.note(self.name, f"counter saved {value} under {fence}")
            self.history.saved.append(Saved(at=self.history.clock(), pod=self.name, fence=fence, value=value))


class World:
    """A simulation's pods, network and Redis."""

    def __init__(self, loop: SimLoop, seed: int, *, cluster: bool) -> None:
        self.loop = loop
        self.history = History(clock=lambda: loop.elapsed)
        self.servers = Servers(loop, cluster=cluster)
        self.network = Network(loop, self.servers, seed, happened=self._happened)
        self.pods: dict[str, Pod] = {}
        self.slots: dict[str, Pod] = {}
        self.on_end: Callable[[Pod], None] = lambda _: None
        self.stopped_in_peace: set[str] = set()
        self._starts = 0

    def start(self, slot: str, release: int, *, skew: float = 0.0, worker: bool = True) -> Pod:
        """Start a process in a slot."""
        self._starts += 1
        pod = Pod(self, slot, self._starts, release, skew=skew)
        self.pods[pod.name] = self.slots[slot] = pod
        if worker:
            pod.start_worker()
        return pod

    def workers(self) -> list[Pod]:
        """Workers that live."""
        return [pod for pod in self.pods.values() if pod.alive and pod.task is not None]

    def at_home(self, seconds: float, callback: Callable[[], None]) -> None:
        """Do something later, outside of every process."""
        self.loop.call_later(seconds, callback, context=self.loop.home.context())

    def ended(self, pod: Pod) -> None:
        self.at_home(0.0, lambda: self.on_end(pod))

    def _happened(self, pod: str, what: str) -> None:
        self.history.coverage[what.partition(":")[0]] += 1
        self.history.note(pod, f"=== {what}")

    @contextmanager
    def watched(self) -> Generator[None]:
        """Put the simulation's heartbeat host in place, and read what capelin logs."""

        def new_host(worker: Worker, _: Connection) -> Host:
            pod = POD.get()
            return LaneHost(worker._connect_for_renewals, worker._died, pod.heart)  # pyright: ignore[reportPrivateUsage]

        def capture(_: object, level: str, event: Any) -> Any:
            pod = POD.get(None)
            fields = {name: value for name, value in event.items() if name not in ("event", "exc_info")}
            words = " ".join(f"{name}={value}" for name, value in fields.items())
            error = event.get("exc_info")
            if isinstance(error, BaseException):
                words += f" {type(error).__name__}: {error}"
            where = "?" if pod is None else pod.name
            self.history.note(where, f"{level}: {event['event']} {words}")
            if event["event"] == "worker started":
                self.history.disturb(where, "worker started")
            if level == "critical":
                self.history.problem(f"{where} says: {event['event']} {words}")
            raise structlog.DropEvent

        before = structlog.get_config()
        structlog.configure(processors=[capture], wrapper_class=structlog.make_filtering_bound_logger(20))
        try:
            with mock.patch.object(Worker, "_new_host", new_host):
                yield
        finally:
            structlog.configure(**before)

    def complain(self, context: dict[str, Any]) -> None:
        """What asyncio has to complain about is a bug."""
        error = context.get("exception")
        self.history.problem(f"asyncio: {context.get('message')} {type(error).__name__}: {error}")

    async def end(self) -> None:
        """End whatever still runs, of the dead too; nothing of it counts any more."""
        self.history.closed = True
        for node in self.servers.nodes:
            node.up = False
        self.network.cut()
        for pod in self.pods.values():
            self.network.heal(pod.name)
            pod.main.frozen = pod.heart.frozen = False
        me = asyncio.current_task()
        for _ in range(20):
            left = [task for task in asyncio.all_tasks() if task is not me]
            if not left:
                return
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=1)


__all__ = ["POD", "Pod", "Session", "World"]
