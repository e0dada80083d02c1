"""A worker: the parts of this folder put together, from start to shutdown.

It lives through any outage of Redis. What must never happen is that it looks alive and takes nothing: when one of its parts
dies of a bug, the worker says so and ends, and whoever started it starts another.
"""

import asyncio
import contextlib
import os
import random
import socket
import time
from collections.abc import Callable, Coroutine, Mapping
from contextvars import copy_context
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import structlog

from capelin import inbox, lua
from capelin.connection import Connection, connect
from capelin.errors import CapelinError, ConfigurationError, InvalidJobId, Unreachable, UnsupportedSchema
from capelin.ids import JobId
from capelin.keys import ShardKeys
from capelin.lua import Delivery, KnownTask
from capelin.settings import SCHEMA, Settings
from capelin.workers import outcomes
from capelin.workers.backoff import Backoff
from capelin.workers.consumer import Consumer
from capelin.workers.endings import log_end
from capelin.workers.executor import Executor
from capelin.workers.fleet import Member, new_worker_id
from capelin.workers.heartbeat import Heartbeat
from capelin.workers.host import Host, LocalHost, ThreadHost
from capelin.workers.limits import Limits
from capelin.workers.ownership import Ownership
from capelin.workers.progress import report_progress
from capelin.workers.running import Running, Stage, Start, Stop
from capelin.workers.slots import Slots
from capelin.workers.thief import Thief
from capelin.workers.waiter import Waiter
from capelin.workers.weights import Weights

if TYPE_CHECKING:
    from capelin.app import Capelin

log = structlog.get_logger("capelin.worker")

_TICK = 0.25
_UNWIND = 5.0


def capelin_version() -> str:
    try:
        return version("capelin")
    except PackageNotFoundError:
        return "unknown"


class Worker:
    """One worker process's work.

    Args:
        app: The app whose tasks it runs.
        queues: Queues to serve, with their weights; None for every queue of the app's tasks.
        burst: Drain what is due, then end.
        settings: Instead of the app's.

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
    ) -> None:
        self.id = new_worker_id()
        self._app = app
        self.settings = settings or app.settings
        self._tasks = app.tasks
        if not self._tasks:
            raise ConfigurationError(f"app {app.name!r} has no tasks; is the module that defines them imported (include=[...])?")
        self._queue_weights = dict(queues) if queues else dict.fromkeys(self._queues_of_tasks(), 1)
        self._burst = burst
        self._limits = Limits.of(self.settings)
        self._keys = app.keys
        self.ownership = Ownership()
        self.running = Running()
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self._failure: BaseException | None = None
        self._progressed = time.monotonic()
        self.started = asyncio.Event()

    def stop(self) -> None:
        """End cleanly; a second call at once hands back what still runs."""
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
            layouts = await self._open_queues(connection)
            async with self._app.running():
                await self._work(connection, layouts)
        finally:
            await connection.close()
        if self._failure is not None:
            raise self._failure

    # Start.

    def _connect(self) -> Connection:
        return connect(self._app.url, socket_timeout=self.settings.socket_timeout)

    def _queues_of_tasks(self) -> list[str]:
        return sorted({task.effective(self._app.defaults).queue for task in self._tasks.values()})

    async def _open_queues(self, connection: Connection) -> dict[str, int]:
        backoff = Backoff(first=0.2, most=5.0)
        while True:
            try:
                return {queue: await self._open_queue(connection, queue) for queue in self._queue_weights}
            except Unreachable as error:
                log.error("cannot start yet", error=str(error))
                wait = asyncio.ensure_future(self._stopping.wait())
                await asyncio.wait([wait], timeout=backoff.step())
                wait.cancel()
                if self._stopping.is_set():
                    raise

    async def _open_queue(self, connection: Connection, queue: str) -> int:
        layout = await connection.run(lua.open_queue(self._keys, queue, shards=self.settings.shards, schema=SCHEMA))
        if layout.schema > SCHEMA:
            raise UnsupportedSchema(queue=queue, found=layout.schema, supported=SCHEMA)
        await connection.command("SADD", self._keys.queues, queue)
        return layout.shards

    def _slots(self) -> Slots:
        settings = self.settings
        sizes = {
            "loop": settings.concurrency,
            "thread": settings.threads,
            "process": settings.cpu or max(1, (os.cpu_count() or 2) - 1),
        }
        pools_of: dict[str, set[str]] = {queue: set() for queue in self._queue_weights}
        for task in self._tasks.values():
            queue = task.effective(self._app.defaults).queue
            if queue in pools_of:
                pools_of[queue].add(task.run_in)
        return Slots(sizes, {queue: frozenset(pools or {"loop"}) for queue, pools in pools_of.items()})

    def _member(self, slots: Slots) -> Member:
        return Member(
            id=self.id,
            app=self._app.name,
            host=socket.gethostname(),
            pid=os.getpid(),
            version=capelin_version(),
            started=int(time.time() * 1000),
            queues=tuple(sorted(self._queue_weights)),
            slots=slots.total,
            tasks={task.name: task.digest for task in self._known_tasks()},
        )

    def _known_tasks(self) -> list[KnownTask]:
        known: list[KnownTask] = []
        for name, task in self._tasks.items():
            known.append(KnownTask(name, task.signature.digest))
            known.extend(KnownTask(alias, task.signature.digest) for alias in task.aliases if alias != name)
        return list(dict.fromkeys(known))

    async def _work(self, connection: Connection, layouts: Mapping[str, int]) -> None:
        self._connection = connection
        self._slots_ = slots = self._slots()
        self._shards = [
            self._keys.shard(queue, shard) for queue, shards in layouts.items() for shard in range(shards)
        ]
        self.consumer = consumer = Consumer(
            connection,
            worker=self.id,
            limits=self._limits,
            layouts=layouts,
            slots=slots,
            running=self.running,
            owned=self.ownership,
            weights=Weights(strict=self.settings.strict_priorities),
            queue_weights=self._queue_weights,
            known_tasks=self._known_tasks(),
            on_parked=self._tell_capable,
            on_recorded=self._log_end,
        )
        consumer.executor = Executor(
            tasks=self._tasks,
            defaults=self._app.defaults,
            worker=self.id,
            slots=slots,
            ended=consumer.ended,
            abandon=consumer.abandon,
            middleware=self._app.middleware,
            reports=self,
            max_result_bytes=self.settings.max_payload_bytes,
            base_context=copy_context(),
        )
        self.waiter = Waiter(
            connection, ownership=self.ownership, notify=consumer.notify, block=self.settings.block
        )
        self._heartbeat = self._new_heartbeat(layouts, slots, consumer)
        self._host = self._new_host()
        await self._host.start(self._heartbeat)
        services = self._services(consumer, slots)
        log.info(
            "worker started", worker=self.id, app=self._app.name, queues=sorted(self._queue_weights), redis=connection.url
        )
        self.started.set()
        running = [asyncio.create_task(service, name=f"capelin {name}") for name, service in services.items()]
        for shard in self._shards:
            consumer.unpark(shard)
        try:
            await self._until_stopped(running)
            await self._shut_down(consumer)
        finally:
            for task in running:
                task.cancel()
            await asyncio.wait(running)
            await self._host.stop()
        log.info("worker stopped", worker=self.id)

    def _new_heartbeat(self, layouts: Mapping[str, int], slots: Slots, consumer: Consumer) -> Heartbeat:
        loop = asyncio.get_running_loop()

        def post(function: Callable[..., None], *args: Any) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the worker is gone
                loop.call_soon_threadsafe(partial(function, *args))

        return Heartbeat(
            keys=self._keys,
            member=self._member(slots),
            limits=self._limits,
            interval=self.settings.renew_interval,
            stall_after=self.settings.stall_after,
            stall_limit=self.settings.stall_limit,
            layouts=layouts,
            ownership=self.ownership,
            running=self.running,
            uncertain=consumer.uncertain,
            listener=self,
            post=post,
            stalled=lambda: time.monotonic() - self._progressed,
            free_slots=lambda: slots.most_free if consumer.taking else 0,
            joins=not self._burst,
        )

    def _new_host(self) -> Host:
        if self._connection.kind == "memory":
            return LocalHost(self._connect)
        return ThreadHost(self._connect, on_death=self._died)

    def _services(self, consumer: Consumer, slots: Slots) -> dict[str, Coroutine[Any, Any, None]]:
        services: dict[str, Coroutine[Any, Any, None]] = {
            "consumer": self._drain(consumer) if self._burst else consumer.run(),
            "progress": self._progress(),
            "inbox": self._read_inbox(),
        }
        if not self._burst:
            services["waiter"] = self.waiter.run()
            services["thief"] = Thief(
                consumer,
                shards=self._shards,
                ownership=self.ownership,
                budget=self.settings.steal_budget,
                has_room=lambda: slots.most_free > 0,
            ).run()
        return services

    # While it works.

    async def _until_stopped(self, running: list["asyncio.Task[None]"]) -> None:
        stop = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait([stop, *running], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
        for task in running:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                self._died(error)

    def _died(self, error: BaseException) -> None:
        log.critical("a part of the worker died; the worker ends", exc_info=error)
        self._failure = self._failure or error
        self._stopping.set()

    async def _progress(self) -> None:
        while True:
            self._progressed = time.monotonic()
            await asyncio.sleep(_TICK)

    async def _drain(self, consumer: Consumer) -> None:
        await consumer.drain(self._shards)
        self.stop()

    async def _read_inbox(self) -> None:
        last_id = "0-0"
        backoff = Backoff()
        while True:
            try:
                last_id, messages = await inbox.read(
                    self._connection, self._keys, self.id, last_id, block=self.settings.block
                )
            except CapelinError as error:
                log.debug("the inbox cannot be read", error=str(error))
                await backoff.sleep()
                continue
            backoff.reset()
            for message in messages:
                self._heed(message)

    def _heed(self, message: inbox.Message) -> None:
        try:
            if message.kind == inbox.Kind.FLEET:
                self._host.poke()
            elif message.kind == inbox.Kind.PARKED:
                job = JobId.parse(message.data["job"])
                self.consumer.unpark(self._keys.shard(job.queue, job.shard))
            elif message.kind == inbox.Kind.CANCEL:
                job = JobId.parse(message.data["job"])
                self.cancel_asked(self._keys.shard(job.queue, job.shard), [job.uid])
        except (KeyError, ValueError, TypeError, InvalidJobId) as error:
            log.warning("a control message cannot be understood", kind=message.kind, error=str(error))

    async def report(self, start: Start, fraction: float, message: str) -> None:
        """Write a job's progress."""
        await report_progress(self._connection, start, self.id, fraction, message)

    # What the heartbeat tells.

    def gained(self, shard: ShardKeys) -> None:
        self.waiter.changed()
        if self.ownership.owns(shard):
            self.consumer.notify(shard)

    def gave_up(self, shard: ShardKeys) -> None:
        self.waiter.changed()
        if not self.ownership.owns(shard):
            self.consumer.ready.drop(shard)

    def lost_starts(self, shard: ShardKeys, starts: list[tuple[str, int]]) -> None:
        for uid, token in starts:
            start = self.running.find(shard, uid)
            if start is not None and start.token == token and start.stage is Stage.RUNNING:
                log.warning("a job is not ours any more; its start is stopped", job=start.job_id, token=token)
                start.request_stop(Stop.LOST)

    def cancel_asked(self, shard: ShardKeys, uids: list[str]) -> None:
        for uid in uids:
            start = self.running.find(shard, uid)
            if start is not None and start.stop is None:
                start.request_stop(Stop.CANCELLED)

    def adopted(self, shard: ShardKeys, deliveries: list[Delivery]) -> None:
        for delivery in deliveries:
            self.consumer.begin(shard, delivery, adopted=True)

    # What the consumer tells.

    def _tell_capable(self, start: Start, refused_by: str) -> None:
        delivery = start.delivery
        able = [
            member.id
            for member in self._heartbeat.members.values()
            if member.id != self.id
            and start.shard.queue in member.queues
            and member.can_run(delivery.task, delivery.digest, refused_by=refused_by)
        ]
        log.warning(
            "a job is parked: this worker cannot run it",
            job=start.job_id,
            task=delivery.task,
            why="its arguments are of another signature" if refused_by else "unknown task",
            others_that_can=len(able),
        )
        if able:
            data = {"job": start.job_id}
            telling = asyncio.create_task(
                inbox.post(self._connection, self._keys, random.choice(able), inbox.Kind.PARKED, data)  # noqa: S311
            )
            telling.add_done_callback(_heard)

    def _log_end(self, start: Start, row: lua.OutcomeRow, verdict: lua.Verdict) -> None:
        if row.kind != "complete":
            log_end(start, row, verdict)

    # Shutdown.

    async def _shut_down(self, consumer: Consumer) -> None:
        consumer.taking = False
        log.info("worker stops", worker=self.id, running=len(self.running), grace=self.settings.grace)
        await self._try(self._host.call(self._heartbeat.leave), "leaving the fleet")
        if not self._burst:
            await self._wait_for_running(self.settings.grace)
        for start in self.running:
            if start.stage is Stage.RUNNING:
                if start.pool == "thread":
                    consumer.abandon(start, outcomes.handed_back(start.delivery))
                start.request_stop(Stop.SHUTDOWN)
        handles = [start.handle for start in self.running if start.handle is not None and start.pool != "thread"]
        if handles:
            await asyncio.wait(handles, timeout=_UNWIND)
        for start in self.running:
            if start.stage is Stage.RUNNING:
                log.warning("a job does not stop; it is handed back while it runs", job=start.job_id)
                consumer.abandon(start, outcomes.handed_back(start.delivery))
        await self._try(consumer.flushed(), "recording the last outcomes")
        await self._try(self._host.call(self._heartbeat.sign_off), "signing off")

    async def _wait_for_running(self, grace: float) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace
        hurry = asyncio.create_task(self._hurry.wait())
        try:
            while (handles := [s.handle for s in self.running if s.handle is not None and not s.handle.done()]) and (
                left := deadline - loop.time()
            ) > 0:
                await asyncio.wait([hurry, *handles], timeout=left, return_when=asyncio.FIRST_COMPLETED)
                if hurry.done():
                    return
        finally:
            hurry.cancel()

    async def _try(self, step: Coroutine[Any, Any, None], what: str) -> None:
        try:
            async with asyncio.timeout(_UNWIND):
                await step
        except (TimeoutError, CapelinError) as error:
            log.warning(f"{what} did not succeed; the fleet finds out by itself", error=str(error) or "no answer")


def _heard(telling: "asyncio.Task[None]") -> None:
    if not telling.cancelled() and (error := telling.exception()) is not None:
        log.debug("a capable worker could not be told", error=str(error))
