"""Plays a scenario: begins the fleet, lets happen what is to happen, lets it settle, and judges."""

import asyncio
import contextlib
import gc
from contextlib import AbstractContextManager, nullcontext
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from capelin import lua
from capelin.errors import CapelinError, JobCancelled, JobFailed
from capelin.ids import JobId
from capelin.jobs import Job
from capelin.lua import loader
from capelin.requests import JobRequest
from tests.simulation import checker
from tests.simulation.apps import SETTINGS
from tests.simulation.history import History, Submitted
from tests.simulation.loop import SimLoop, Stuck
from tests.simulation.patches import simulated
from tests.simulation.scenario import Event, Scenario
from tests.simulation.world import Pod, World

SETTLING = 90.0
"""Seconds after the faults within which everything must have ended."""
_LOOKS_EVERY = 2.3


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a scenario."""

    scenario: Scenario
    trace: list[str]
    problems: list[str]
    coverage: dict[str, int] = field(default_factory=dict[str, int])
    virtual: float = 0.0
    callbacks: int = 0
    scripts: int = 0


class Player:
    """Lets happen what a scenario says."""

    def __init__(self, world: World, scenario: Scenario) -> None:
        self.world, self.scenario = world, scenario
        self.history: History = world.history
        self._releases = dict(scenario.workers)
        self._again: dict[str, float] = {}
        self._submitted: dict[int, Submitted] = {}
        self._ending = False
        world.on_end = self._ended
        world.redis.observe = checker.Observer(world)

    async def play(self) -> None:
        world = self.world
        for slot, release in self.scenario.workers.items():
            world.start(slot, release)
        for slot in ("web0", "web1"):
            world.start(slot, 2, worker=False)
        looking = asyncio.ensure_future(self._look())
        for event in self.scenario.events:
            if event.at > self.scenario.faults_until and event.kind not in ("cancel", "replay"):
                continue
            await asyncio.sleep(max(0.0, event.at - world.loop.elapsed))
            getattr(self, event.kind)(event)
        await asyncio.sleep(max(0.0, self.scenario.faults_until - world.loop.elapsed))
        await self._settle()
        looking.cancel()
        checker.check(world, self.scenario)
        self._ending = True
        for pod in world.workers():
            world.stopped_in_peace.add(pod.name)
            pod.stop()
        deadline = world.loop.elapsed + SETTINGS.grace + 12
        while world.workers() and world.loop.elapsed < deadline:  # noqa: ASYNC110 -- virtual time
            await asyncio.sleep(0.25)
        for pod in world.workers():
            self.history.problem(f"{pod.name} does not stop")
        checker.check_end(world, self.scenario)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(_LOOKS_EVERY)
            if self.world.redis.up:
                checker.look(self.world)

    async def _settle(self) -> None:
        """The faults are over: a fleet that can run everything lives, and has time."""
        self.history.note("", "=== the faults are over")
        world = self.world
        while not self._all_awake():  # noqa: ASYNC110 -- virtual time
            await asyncio.sleep(0.1)
        for pod in list(world.pods.values()):
            world.network.heal(pod.name)
            world.network.weather(pod.name).slow = 0.0
        if not any(pod.release == 2 and not pod.stopping for pod in world.workers()):
            world.start("w8", 2)
            self.history.disturb("w8", "added")
        begun = world.loop.elapsed
        while world.loop.elapsed < begun + SETTLING:
            await asyncio.sleep(1.0)
            if self.history.problems:
                return
            if not checker.unfinished(world):
                self.history.note("", f"=== settled after {world.loop.elapsed - begun:.1f} s")
                return

    def _all_awake(self) -> bool:
        frozen = [pod for pod in self.world.pods.values() if pod.alive and pod.main.frozen]
        return self.world.redis.up and not frozen

    # Work.

    def submit(self, event: Event) -> None:
        client = self.world.slots[event.slot]
        details = event.details
        entry = Submitted(
            at=event.at,
            n=details["n"],
            task=details["task"],
            pod=client.name,
            key=details.get("key"),
            mode=details.get("mode"),
        )
        self._submitted[entry.n] = entry
        self.history.submitted.append(entry)
        client.do(self._submit(client, entry, details), f"submit {entry.n}")

    async def _submit(self, client: Pod, entry: Submitted, details: dict[str, Any]) -> None:
        options: dict[str, Any] = {name: details[name] for name in ("priority", "delay") if name in details}
        if entry.key is not None:
            options |= {"dedupe_key": entry.key, "on_duplicate": entry.mode}
        if details.get("then"):
            options["then"] = client.app.tasks["after"].job(entry.n)
        task: Any = client.app.tasks[entry.task]
        arguments: dict[str, Any] = details.get("args", {})
        if entry.task == "shaped" and not arguments:
            # An old client's: the job has the digest of the old signature.
            task = self._old().tasks["shaped"]
        request: JobRequest[Any] = task.options(**options).job(entry.n, **arguments)
        try:
            job: Job[Any] = await client.app.enqueue(request)
        except CapelinError as error:
            entry.error = f"{type(error).__name__}: {error}"
            self.history.note(client.name, f"enqueue {entry.n} failed: {entry.error}")
            return
        entry.job, entry.duplicate = job.id, job.duplicate
        entry.confirmed_at = self.history.clock()
        self.history.note(
            client.name, f"enqueued {entry.n} as {job.id}{' (duplicate)' if job.duplicate else ''}"
        )
        if details.get("wait"):
            entry.waits = True
            try:
                entry.result = repr(await job.result())
            except (JobFailed, JobCancelled) as error:
                entry.result = type(error).__name__
            except CapelinError as error:
                entry.result = f"{type(error).__name__}: {error}"
            self.history.note(client.name, f"result of {entry.n}: {entry.result}")

    def _old(self) -> Any:
        pod = self.world.slots["web1"]
        old = getattr(self, "_old_app", None)
        if old is None:
            from tests.simulation.apps import build_app

            old = self._old_app = build_app(pod, 1)
        return old

    def submit_many(self, event: Event) -> None:
        client = self.world.slots[event.slot]
        first, count = event.details["n"], event.details["count"]

        async def submit() -> None:
            task = client.app.tasks["work"]
            entries = [
                Submitted(at=event.at, n=n, task="work", pod=client.name, key=None, mode=None)
                for n in range(first, first + count)
            ]
            self.history.submitted.extend(entries)
            try:
                jobs = await client.app.enqueue([task.job(entry.n) for entry in entries])
            except CapelinError as error:
                for entry in entries:
                    entry.error = str(error)
                return
            for entry, job in zip(entries, jobs, strict=True):
                entry.job, entry.confirmed_at = job.id, self.history.clock()
            self.history.note(client.name, f"enqueued {count} jobs")

        client.do(submit(), "submit many")

    def cancel(self, event: Event) -> None:
        entry = self._submitted.get(event.details["n"])
        client = self.world.slots[event.slot]
        if entry is None or entry.job is None or not client.alive:
            return
        job = client.app.job(entry.job)

        async def cancel() -> None:
            try:
                entry.cancelled = (await job.cancel()).value
            except CapelinError as error:
                entry.cancelled = f"{type(error).__name__}"
            self.history.note(client.name, f"cancel of {entry.n}: {entry.cancelled}")

        self.history.coverage["cancel"] += 1
        client.do(cancel(), "cancel")

    def replay(self, event: Event) -> None:
        client = self.world.slots[event.slot]

        async def replay() -> None:
            for job_id in sorted(checker.dead(self.world))[:3]:
                place = JobId.parse(job_id)
                shard = client.app.keys.shard(place.queue, place.shard)
                self.history.replayed.add(job_id)
                with contextlib.suppress(CapelinError):
                    verdict = await client.app.client().connection.run(lua.replay(shard, uid=place.uid))
                    self.history.note(client.name, f"replay of {job_id}: {verdict}")

        self.history.coverage["replay"] += 1
        client.do(replay(), "replay")

    # Faults.

    def kill(self, event: Event) -> None:
        pod = self.world.slots[event.slot]
        if pod.alive:
            self._again[event.slot] = event.details["again"]
            pod.crash(silent=event.details["silent"])

    def pause(self, event: Event) -> None:
        self._freeze(event, heart=True)

    def block(self, event: Event) -> None:
        self._freeze(event, heart=False)

    def _freeze(self, event: Event, *, heart: bool) -> None:
        pod = self.world.slots[event.slot]
        if pod.alive and not pod.main.frozen:
            pod.freeze(event.details["seconds"], heart=heart)

    def doze(self, event: Event) -> None:
        """Whoever is the next to make this call falls asleep at the worst moment: before it has left."""
        network, seconds = self.world.network, event.details["seconds"]
        weathers = [(pod, network.weather(pod.name)) for pod in self.world.workers()]

        def fall_asleep(pod: Pod) -> None:
            for _, weather in weathers:
                weather.before = None
            pod.freeze(seconds, heart=True)
            network.partition(pod.name)
            self.world.at_home(seconds, lambda: network.heal(pod.name))

        for pod, weather in weathers:
            weather.before = (loader.load(event.details["script"]).sha.encode(), partial(fall_asleep, pod))

    def partition(self, event: Event) -> None:
        pod = self.world.slots[event.slot]
        seconds = event.details["seconds"]
        self.world.network.partition(pod.name)
        self.history.disturb(pod.name, "partitioned", seconds=seconds, fatal=True)
        self.world.at_home(seconds, lambda: self.world.network.heal(pod.name))

    def cut(self, event: Event) -> None:
        name = self.world.slots[event.slot].name if event.slot else None
        self.history.disturb(name or "all", "connections cut")
        self.world.network.cut(name)

    def lose_requests(self, event: Event) -> None:
        pod = self.world.slots[event.slot]
        self.history.disturb(pod.name, "requests to be lost", seconds=1.0)
        self.world.network.weather(pod.name).drop_requests += event.details["count"]

    def lose_replies(self, event: Event) -> None:
        pod = self.world.slots[event.slot]
        self.history.disturb(pod.name, "replies to be lost", seconds=1.0)
        self.world.network.weather(pod.name).drop_replies += event.details["count"]

    def slow(self, event: Event) -> None:
        pod = self.world.slots[event.slot]
        weather = self.world.network.weather(pod.name)
        weather.slow = event.details["part"]
        self.history.disturb(pod.name, "slow network", seconds=event.details["seconds"])

        def over() -> None:
            weather.slow = 0.0

        self.world.at_home(event.details["seconds"], over)

    def flush_scripts(self, _: Event) -> None:
        self.history.disturb("redis", "scripts flushed")
        self.world.redis.flush_scripts()

    def restart_redis(self, event: Event) -> None:
        redis, lost = self.world.redis, event.details["lost"]
        if not redis.up:
            return
        redis.take_snapshot()
        self.world.at_home(lost, lambda: self._crash_redis(event))

    def _crash_redis(self, event: Event) -> None:
        redis, down = self.world.redis, event.details["down"]
        if not redis.up:
            return
        redis.up = False
        self.world.network.cut()
        redis.flush_scripts()
        if event.details["lost"]:
            lost = redis.restore_snapshot()
            self.history.note("redis", f"=== loses the writes of {lost:.3f} s")
            self.history.coverage["writes lost"] += 1
            now = self.history.clock()
            self.history.restores.append((now - lost, now))
            self.history.newest.clear()
        self.history.disturb("redis", "redis down", seconds=down)

        def back() -> None:
            redis.up = True
            self.history.note("redis", "=== is back")

        self.world.at_home(down, back)

    # Deploys.

    def deploy(self, event: Event) -> None:
        """The pod is replaced: the new one starts at once, the old one ends cleanly."""
        pod = self.world.slots.get(event.slot)
        if pod is None or not pod.alive or pod.stopping:
            return
        self.history.disturb(pod.name, "deploy")
        self._releases[event.slot] = 2
        pod.stop(hurry=event.details["hurry"])
        self.world.start(event.slot, 2)

    def add(self, event: Event) -> None:
        if event.slot not in self.world.slots:
            self._releases[event.slot] = event.details["release"]
            self.history.disturb(event.slot, "added")
            self.world.start(event.slot, event.details["release"])

    def _ended(self, pod: Pod) -> None:
        """Whoever runs pods starts those again that died."""
        slot = pod.name.partition("-")[0]
        if pod.stopping or self.world.slots.get(slot) is not pod or self.history.closed:
            return
        wait = self._again.pop(slot, 0.5)

        def again() -> None:
            if not self._ending and self.world.slots.get(slot) is pod:
                self.world.start(slot, self._releases.get(slot, 2), worker=pod.task is not None)
                self.history.disturb(slot, "restarted")

        self.world.at_home(wait, again)


def run(scenario: Scenario, *, broken: AbstractContextManager[Any] | None = None) -> Outcome:
    """Play a scenario from beginning to end.

    Args:
        scenario: What happens.
        broken: Entered around it: a protocol that is broken on purpose.
    """
    with nullcontext() if broken is None else broken:
        outcome: Outcome = copy_context().run(_run, scenario)
    gc.collect()
    return outcome


def _run(scenario: Scenario) -> Outcome:
    loop = SimLoop(scenario.seed)
    with simulated(loop, scenario.seed):
        try:
            world = loop.run_until_complete(_play(loop, scenario))
        finally:
            loop.close()
    history = world.history
    return Outcome(
        scenario=scenario,
        trace=history.trace,
        problems=history.problems,
        coverage=dict(history.coverage),
        virtual=loop.elapsed,
        callbacks=loop.callbacks,
        scripts=world.redis.scripts_run,
    )


async def _play(loop: SimLoop, scenario: Scenario) -> World:
    world = World(loop, scenario.seed)
    loop.set_exception_handler(lambda _, context: world.complain(context))
    with world.watched():
        try:
            await Player(world, scenario).play()
        except Stuck as error:
            world.history.problem(f"stuck: {error}")
        except Exception as error:
            world.history.problem(f"the simulation failed: {type(error).__name__}: {error}")
            raise
        finally:
            await world.end()
    return world
