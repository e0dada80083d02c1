"""A worker: the parts of this folder put together, from start to shutdown.

It lives through any outage of Redis. What must never happen is that it looks alive and takes nothing: when
one of its parts dies of a bug, the worker says so and ends, and whoever started it starts another.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Mapping
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from capelin import inbox
from capelin.clusters import seen_by
from capelin.connection import Connection, connect
from capelin.errors import ConfigurationError
from capelin.keys import ShardKeys
from capelin.lua import Layout, OutcomeKind, OutcomeRow, Verdict
from capelin.metrics.meter import NO_METER, Meter
from capelin.scheduler.hosting import SingletonHost
from capelin.scheduler.standing import Standing
from capelin.settings import Settings
from capelin.workers.consumer import Consumer
from capelin.workers.control import Control
from capelin.workers.endings import log_end
from capelin.workers.executor import Executor
from capelin.workers.fleet import new_worker_id
from capelin.workers.heartbeat import Heartbeat
from capelin.workers.host import Host, LocalHost, ThreadHost
from capelin.workers.limits import Limits
from capelin.workers.ownership import Ownership
from capelin.workers.parking import Parking
from capelin.workers.passengers import Passenger
from capelin.workers.progress import report_progress
from capelin.workers.pulse import Ticker
from capelin.workers.recording import Recorder
from capelin.workers.running import Running, Start
from capelin.workers.shutdown import shut_down
from capelin.workers.slots import Slots
from capelin.workers.startup import known_tasks, member_for, open_queues, queues_of, slots_for
from capelin.workers.territory import Territory
from capelin.workers.thief import Thief
from capelin.workers.vantage import Vantage
from capelin.workers.waiter import Waiter
from capelin.workers.weights import Weights

if TYPE_CHECKING:
    from capelin.app import Capelin

log = structlog.get_logger("capelin.worker")

_SHORTEST_PATIENCE = 1.0


class Worker:
    """One worker process's work.

    Args:
        app: The app whose tasks it runs.
        queues: Queues to serve, with their weights; None for every queue of the app's tasks.
        burst: Drain what is due, then end.
        settings: Instead of the app's.
        name: What its id begins with, instead of the host's name.
        scheduler: Whether it stands for the lead of the scheduler, and hosts singletons. One that serves no
            queue (``queues={}``) does nothing else.
        meter: Counts what happens.

    Attributes:
        id: This worker's id, new each time.
        started: Set once the worker takes jobs.
        singletons: What it hosts, once it works; None if it hosts none.
        leads: Whether this worker leads the scheduler now; asked from any thread. ``cluster().is_leader``
            and ``current_job().is_leader`` answer with it.
        services: What runs on its event loop, once it has started.

    Raises:
        ConfigurationError: The app has no tasks and no singletons.

    Example:
        worker = Worker(app, queues={"emails": 3, "reports": 1})
        await worker.run()  # until worker.stop()
    """

    def __init__(
        self,
        app: "Capelin[Any]",
        *,
        queues: Mapping[str, int] | None = None,
        burst: bool = False,
        settings: Settings | None = None,
        name: str | None = None,
        scheduler: bool = True,
        meter: Meter = NO_METER,
    ) -> None:
        self.id = new_worker_id(name)
        self.settings = settings or app.settings
        self.ownership = Ownership()
        self.running = Running()
        self.started = asyncio.Event()
        self.leads: Callable[[], bool] = _leads_nothing
        self.services: list[asyncio.Task[None]] = []
        self._vantage = Vantage(self.id, ownership=self.ownership, leads=self._leads_now)
        self._app = app
        self._tasks = app.tasks
        if not self._tasks and not app.singletons and queues is None:
            raise ConfigurationError(
                f"app {app.name!r} has no tasks; is the module that defines them imported (include=[...])?"
            )
        self._known = known_tasks(self._tasks.values())
        self._queues = (
            dict(queues)
            if queues is not None
            else dict.fromkeys(queues_of(self._tasks.values(), app.defaults), 1)
        )
        self._meter = meter
        self._burst = burst
        self._stands = scheduler and not burst
        self._limits = Limits.of(self.settings)
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self._failure: BaseException | None = None
        self._ticker = Ticker()
        self._slots: Slots | None = None
        self.singletons: SingletonHost | None = None

    @property
    def slots(self) -> Slots | None:
        """How many jobs it can run and runs, once it has started."""
        return self._slots

    @property
    def stopping(self) -> bool:
        """Whether it ends, or has ended."""
        return self._stopping.is_set()

    @property
    def failure(self) -> BaseException | None:
        """Why it ends though nobody told it to."""
        return self._failure

    @property
    def leftovers(self) -> int:
        """Once it has ended: jobs and singletons whose code goes on, since it heeds nothing. They were handed
        back, and given up.
        """
        jobs = 0 if self._slots is None else self._slots.running
        return jobs + (0 if self.singletons is None else self.singletons.hosting.left_behind)

    def stop(self) -> None:
        """End cleanly; a second call hands back at once what still runs."""
        if self._stopping.is_set():
            self._hurry.set()
        self._stopping.set()

    async def run(self) -> None:
        """Work until stopped (or, in a burst, until nothing is due).

        Raises:
            CapelinError: Something made working impossible (a newer schema in Redis, say).
        """
        connection = self._connect()
        try:
            layouts = await open_queues(
                connection, self._app.keys, self._queues, self.settings, stopping=self._stopping
            )
            with seen_by(self._vantage.look):
                async with self._app.running():
                    await self._work(connection, layouts)
        finally:
            await connection.close()
        if self._failure is not None:
            raise self._failure

    def _be_quiet(self, host: Host, *, quiet: bool) -> None:
        """Take nothing more, and have others wait on its shards; or work again."""
        if self._burst or self._stopping.is_set():
            return
        self.consumer.taking = not quiet
        self.heartbeat.be(quiet=quiet)
        host.poke()
        self.consumer.ring()

    def _leads_now(self) -> bool:
        return self.leads()

    def _connect(self) -> Connection:
        # A slot that moves must not hold up the shards beside it.
        return connect(self._app.url, socket_timeout=self.settings.socket_timeout, patience=0)

    async def _work(self, connection: Connection, layouts: Mapping[str, Layout]) -> None:
        self._slots = slots = slots_for(self.settings, self._tasks.values(), self._app.defaults, self._queues)
        territory = Territory(self._app.keys, layouts)
        self._standing = standing = Standing(self._app, connection, self.settings, worker=self.id)
        if self._stands:
            self.leads = standing.leadership.leads
        parking = Parking(
            connection,
            self._app.keys,
            worker=self.id,
            tasks=[task.name for task in self._known],
            unpark=self._unpark,
        )
        self.consumer = consumer = self._new_consumer(connection, territory, slots, parking)
        self.waiter = Waiter(
            connection,
            ownership=self.ownership,
            notify=consumer.notify,
            woken=consumer.woken,
            block=self.settings.block,
        )
        host = self._new_host(connection)
        self.control = Control(
            connection,
            self._app.keys,
            worker=self.id,
            block=self.settings.block,
            consumer=consumer,
            running=self.running,
            ownership=self.ownership,
            waiter=self.waiter,
            parking=parking,
            shards=territory.shards,
            poke=host.poke,
            declare=standing.declare_again,
            orders={
                inbox.Kind.QUIET: partial(self._be_quiet, host, quiet=True),
                inbox.Kind.RESUME: partial(self._be_quiet, host, quiet=False),
                inbox.Kind.STOP: self.stop,
            },
        )
        if self._stands and self._app.singletons:
            self.singletons = SingletonHost(
                self._app,
                connection,
                self.settings,
                worker=self.id,
                release=standing.declaration.digest,
                post=_poster(),
                call=host.call,
            )
        self.heartbeat = heartbeat = self._new_heartbeat(territory, slots)
        self._vantage.members = lambda: heartbeat.members
        await standing.declare()
        await host.start(heartbeat)
        services = self.services = [
            asyncio.create_task(service, name=f"capelin {name}")
            for name, service in self._services(territory, slots).items()
        ]
        log.info(
            "worker started",
            worker=self.id,
            app=self._app.name,
            queues=sorted(self._queues),
            redis=connection.url,
        )
        self.started.set()
        try:
            await self._until_stopped(services)
            await shut_down(
                consumer,
                self.running,
                host=host,
                heartbeat=heartbeat,
                grace=self.settings.grace,
                hurry=self._hurry,
                singletons=None if self.singletons is None else self.singletons.hosting,
            )
        finally:
            for service in services:
                service.cancel()
            await asyncio.wait(services)
            await host.stop()
        log.info("worker stopped", worker=self.id)

    def _new_consumer(
        self, connection: Connection, territory: Territory, slots: Slots, parking: Parking
    ) -> Consumer:
        recorder = Recorder(
            worker=self.id,
            limits=self._limits,
            layouts=territory.fewest,
            running=self.running,
            on_parked=parking.parked,
            on_recorded=self._recorded,
            meter=self._meter,
        )
        consumer = Consumer(
            connection,
            worker=self.id,
            limits=self._limits,
            slots=slots,
            running=self.running,
            owned=self.ownership,
            weights=Weights(strict=self.settings.strict_priorities),
            recorder=recorder,
            queue_weights=self._queues,
            known_tasks=self._known,
            keys=self.settings.seal.key_ids,
            meter=self._meter,
        )

        async def report(start: Start, fraction: float, message: str) -> None:
            await report_progress(connection, start, self.id, fraction, message)

        consumer.executor = Executor(
            tasks=self._tasks,
            defaults=self._app.defaults,
            worker=self.id,
            slots=slots,
            ended=consumer.ended,
            abandon=consumer.abandon,
            middleware=self._app.middleware,
            report=report,
            died=self._died,
            max_result_bytes=self.settings.max_payload_bytes,
            base_context=copy_context(),
            is_leader=self._leads_now,
            tracer=self._app.tracer,
            seal=self.settings.seal,
        )
        return consumer

    def _recorded(self, start: Start, row: OutcomeRow, verdict: Verdict) -> None:
        if row.kind != OutcomeKind.COMPLETE:
            log_end(start, row, verdict)
        elif start.delivery.schedule:
            self._standing.completed(start.delivery.schedule)

    def _unpark(self, shard: ShardKeys) -> None:
        self.consumer.unpark(shard)

    def _new_heartbeat(self, territory: Territory, slots: Slots) -> Heartbeat:
        consumer, singletons = self.consumer, self.singletons
        passengers: list[Passenger] = [self._standing.leadership] if self._stands else []
        if singletons is not None:
            passengers.append(singletons.candidacy)
        return Heartbeat(
            keys=self._app.keys,
            member=member_for(
                self.id,
                app=self._app.name,
                queues=self._queues,
                slots=slots,
                known=self._known,
                release=self._standing.declaration.digest,
                singletons=() if singletons is None else self._app.singletons,
                candidate=self._stands,
                keys=self.settings.seal.key_ids,
            ),
            limits=self._limits,
            interval=self.settings.renew_interval,
            stall_after=self.settings.stall_after,
            stall_limit=self.settings.stall_limit,
            territory=territory,
            ownership=self.ownership,
            running=self.running,
            uncertain=consumer.uncertain,
            asking=consumer.asked.shards,
            listener=self.control,
            post=_poster(),
            progressed=lambda: self._ticker.progressed,
            free_slots=lambda: slots.most_free if consumer.taking else 0,
            joins=not self._burst,
            passengers=passengers,
            meter=self._meter,
            pulse=self._ticker.pulse,
        )

    def _new_host(self, connection: Connection) -> Host:
        if connection.kind == "memory":
            return LocalHost(self._connect, on_death=self._died)
        return ThreadHost(self._connect_for_renewals, on_death=self._died)

    def _connect_for_renewals(self) -> Connection:
        # One that is not answered within an interval is sent again over another connection, in time.
        patience = max(_SHORTEST_PATIENCE, min(self.settings.socket_timeout, self.settings.renew_interval))
        return connect(self._app.url, socket_timeout=patience, patience=0)

    def _services(self, territory: Territory, slots: Slots) -> dict[str, Coroutine[Any, Any, None]]:
        consumer = self.consumer
        services: dict[str, Coroutine[Any, Any, None]] = {
            "progress": self._ticker.run(),
            "inbox": self.control.read_inbox(),
        }
        if self._burst:
            # It never is a member, and does not stay for what is parked later, nor for a look.
            for shard in territory.shards():
                consumer.unpark(shard)
            return services | {"burst": consumer.drain(territory.shards())}
        thief = Thief(
            consumer,
            shards=territory.shards,
            ownership=self.ownership,
            budget=self.settings.steal_budget,
            has_room=lambda: slots.most_free > 0,
        )
        return services | {"consumer": consumer.run(), "waiter": self.waiter.run(), "thief": thief.run()}

    async def _until_stopped(self, services: list["asyncio.Task[None]"]) -> None:
        """A service ends of its own when a burst is done, or of a bug."""
        stop = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait([stop, *services], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
        for service in services:
            if service.done() and (error := _why_ended(service)) is not None:
                self._died(error)

    def _died(self, error: BaseException) -> None:
        self._failure = self._failure or error
        self._stopping.set()  # first of all: where there is no memory, telling of it may fail
        log.critical("a part of the worker died; the worker ends", exc_info=error)


def _why_ended(service: "asyncio.Task[None]") -> BaseException | None:
    if service.cancelled():
        return RuntimeError(f"{service.get_name()} was cancelled, and not by the worker")
    return service.exception()


def _leads_nothing() -> bool:
    return False


def _poster() -> Callable[..., None]:
    """Return what runs a function on this event loop, whichever thread asks."""
    loop = asyncio.get_running_loop()

    def post(function: Callable[..., None], *args: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the worker is gone
            loop.call_soon_threadsafe(partial(function, *args))

    return post
