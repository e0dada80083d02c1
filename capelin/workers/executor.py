"""Runs starts: decodes the arguments, sets the context, calls the function where it belongs, and makes the
outcome.

Async tasks run on the loop, ``def`` tasks in threads, ``run_in="process"`` in processes. A thread cannot be
stopped: told to stop, it sees ``current_job().cancelled``, and keeps its slot until it returns.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import Context, copy_context
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypeVar

import anyio
import anyio.to_thread
import structlog

from capelin import context
from capelin.context import JobContext
from capelin.errors import InvalidArguments, InvalidResult, JobTimeout, KeyMissing, SealBroken
from capelin.lua import Delivery, OutcomeRow
from capelin.middleware import Middleware, compose
from capelin.narrow import is_mapping
from capelin.options import EffectiveOptions, TaskOptions
from capelin.sealing import NO_SEAL, Seal
from capelin.tasks import Task
from capelin.tracer import Tracer
from capelin.workers import outcomes
from capelin.workers.fleet import KEY_LACKS
from capelin.workers.processes import ProcessPool
from capelin.workers.running import Start, Stop
from capelin.workers.slots import Slots

log = structlog.get_logger("capelin.worker")

R = TypeVar("R")
Ended = Callable[[Start, OutcomeRow | None], None]
Report = Callable[[Start, float, str], Awaitable[None]]


def _ignore(_: BaseException) -> None:
    """For those who drain: what was raised is raised to them."""


class Executor:
    """Runs the starts of one worker.

    Args:
        tasks: Tasks by name and alias.
        ended: Told once of each start's end, with the row to record, or None if it is not ours any more.
        abandon: Told of an outcome for a start whose thread goes on.
        died: Told that the end of a start could not even be noted: nobody would ever record it.
        report: Writes the progress of a start.
        max_result_bytes: A larger result is refused.
        seal: Decrypts arguments, encrypts results and the words of errors.
        clock: Seconds since the epoch, for what a retry policy asks.
        tracer: Traces each start, if anybody does.
    """

    def __init__(
        self,
        *,
        tasks: Mapping[str, Task[..., Any]],
        defaults: TaskOptions,
        worker: str,
        slots: Slots,
        ended: Ended,
        abandon: Callable[[Start, OutcomeRow], None],
        report: Report,
        died: Callable[[BaseException], None] = _ignore,
        middleware: Sequence[Middleware] = (),
        max_result_bytes: int = 1024 * 1024,
        base_context: Context | None = None,
        is_leader: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.time,
        tracer: Tracer | None = None,
        seal: Seal = NO_SEAL,
    ) -> None:
        if tracer is not None:
            middleware = (tracer.around, *middleware)
            ended, abandon = _told(tracer.ended, ended), _told(tracer.abandoned, abandon)
        self._tasks = tasks
        self.defaults = defaults
        self._worker = worker
        self._slots = slots
        self._seal = seal
        self._ended = self._sealing(ended) if seal.active else ended
        self._abandon = self._sealing(abandon) if seal.active else abandon
        self._died = died
        self._report = report
        self._max_result_bytes = max_result_bytes
        self._base_context = base_context
        self._is_leader = is_leader
        self._clock = clock
        self._threads = anyio.CapacityLimiter(max(1, slots.sizes["thread"]))
        self._processes = ProcessPool(slots.sizes["process"])
        self._loop = asyncio.get_running_loop()
        self._attempt: Callable[[_Job], Awaitable[Any]] = self._call
        if middleware:
            self._attempt = compose(middleware, self._call, job_of=lambda job: job.context)

    def launch(self, start: Start) -> None:
        """Run a start; its end is told to ``ended``, possibly before this returns.

        Whatever its record holds, that is the end of this start at worst, and never of the worker.
        """
        delivery = start.delivery
        task = self._tasks.get(delivery.task)
        if task is None:
            self._slots.take(start.pool)
            self._ended(start, outcomes.parked(delivery, ""))
            return
        start.pool = task.run_in
        self._slots.take(start.pool)
        if delivery.cancel:
            self._ended(start, outcomes.cancelled(delivery))
            return
        read = self._read(delivery, task)
        if isinstance(read, OutcomeRow):
            self._ended(start, read)
            return
        try:
            headers = _headers(delivery.headers) if delivery.headers else None
        except (ValueError, TypeError) as error:
            log.exception("a job's record cannot be read; it goes to the DLQ", job=start.job_id)
            self._ended(start, outcomes.dead(delivery, "torn", error))
            return
        job = _Job(self, start, task, read, headers)
        run_context = (self._base_context or copy_context()).copy()
        run_context.run(context.set_current, job)
        run = self._run_thread if start.pool == "thread" else self._run
        start.handle = self._loop.create_task(run(job), context=run_context)

    def _read(self, delivery: Delivery, task: Task[..., Any]) -> "_Given | OutcomeRow":
        """The arguments of a start, or its outcome when it cannot begin with them."""
        text, signature = delivery.args, task.signature
        if not text and delivery.digest == signature.digest:
            return _NOTHING_GIVEN
        try:
            text = self._seal.open_args(text, delivery.task)
            args, kwargs = signature.decode(text)
        except KeyMissing as error:
            return outcomes.parked(delivery, f"{KEY_LACKS}{error.key_id}")
        except InvalidArguments as error:
            if delivery.digest and delivery.digest != signature.digest:
                return outcomes.parked(delivery, signature.digest)
            return outcomes.dead(delivery, "InvalidArguments", error)
        except Exception as error:  # noqa: BLE001 -- a user's validator raised what it should not
            reason = "SealBroken" if isinstance(error, SealBroken) else "InvalidArguments"
            return outcomes.dead(delivery, reason, error)
        return _Given(text, args, kwargs)

    def context_of(self, job: "_Job") -> JobContext:
        """The context of a start; made when something asks for it, since most tasks do not."""
        start, delivery = job.start, job.start.delivery
        return JobContext(
            id=start.job_id,
            task=job.task.name,
            queue=start.shard.queue,
            shard=start.shard.shard,
            attempt=delivery.attempt + 1,
            token=delivery.token,
            crashes=delivery.crashes,
            worker_id=self._worker,
            is_leader=self._is_leader,
            deadline=None if job.timeout is None else _deadline(job.timeout - self._ran_for(start)),
            headers=job.headers,
            parent_id=start.shard.whole_id(delivery.parent) if delivery.parent else None,
            correlation_id=delivery.correlation or None,
            batch_id=delivery.batch or None,
            schedule=delivery.schedule or None,
            tick=None if delivery.tick is None else datetime.fromtimestamp(delivery.tick / 1000, UTC),
            is_cancelled=lambda: start.stop is not None,
            report=lambda fraction, message: self._report(start, fraction, message),
            report_sync=lambda fraction, message: self._report_sync(start, fraction, message),
        )

    def _sealing(self, then: Callable[[Start, Any], None]) -> Callable[[Start, Any], None]:
        """What is told of an end, told of the encrypted outcome."""

        def told(start: Start, row: OutcomeRow | None) -> None:
            then(start, None if row is None else outcomes.sealed(row, self._seal))

        return told

    def _ran_for(self, start: Start) -> float:
        return 0.0 if start.began is None else time.monotonic() - start.began

    def _report_sync(self, start: Start, fraction: float, message: str) -> None:
        async def report() -> None:
            await self._report(start, fraction, message)

        asyncio.run_coroutine_threadsafe(report(), self._loop).result()

    # On the loop, and in processes: a start that can be cancelled.

    async def _run(self, job: "_Job") -> None:
        start = job.start
        row: OutcomeRow | None = None
        start.began = time.monotonic()
        try:
            _check_stop(start)
            if job.timeout is None:
                value = await self._attempt(job)
            else:
                value = await self._within(job.timeout, job)
            row = outcomes.completed(start.delivery, self._encoded(job, value))
        except asyncio.CancelledError as error:
            row = self._stopped(job, error)
        except BaseException as error:  # noqa: BLE001 -- SystemExit in a task ends the attempt, not the worker
            row = self._failed(job, error)
        finally:
            self._end(start, row)

    def _end(self, start: Start, row: OutcomeRow | None) -> None:
        start.handle = None  # its context holds the start: of such cycles only the collector would free a job
        try:
            self._ended(start, row)
        except BaseException as error:  # no memory, or a bug: its stake would be kept for ever
            self._died(error)
            raise

    async def _within(self, timeout: float, job: "_Job") -> Any:
        limit = asyncio.timeout(timeout)
        try:
            async with limit:
                return await self._attempt(job)
        except TimeoutError as error:
            if limit.expired():
                raise JobTimeout(timeout=timeout) from error
            raise

    async def _call(self, job: "_Job") -> Any:
        start, task = job.start, job.task
        if start.pool == "loop":
            return await task.function(*job.args, **job.kwargs)
        if start.pool == "process":
            job.encoded = True
            return await self._processes.run(task.import_path, job.text, job.context)
        return await anyio.to_thread.run_sync(
            lambda: task.function(*job.args, **job.kwargs), abandon_on_cancel=True, limiter=self._threads
        )

    def _encoded(self, job: "_Job", value: Any) -> str:
        encode = job.task.signature.encode_result
        result = value if job.encoded and isinstance(value, str) else encode(value)
        if len(result) > self._max_result_bytes:
            raise InvalidResult(
                task=job.task.name,
                why=f"it takes {len(result):,} characters, the limit is {self._max_result_bytes:,} "
                "(setting max_payload_bytes); store it elsewhere and return a reference",
            )
        return result

    def _stopped(self, job: "_Job", error: asyncio.CancelledError) -> OutcomeRow | None:
        start = job.start
        if start.stop is Stop.LOST:
            return None
        if start.stop is Stop.SHUTDOWN:
            return outcomes.handed_back(start.delivery)
        if start.stop is Stop.CANCELLED:
            return outcomes.cancelled(start.delivery)
        return self._failed(job, error)

    def _failed(self, job: "_Job", error: BaseException) -> OutcomeRow:
        start = job.start
        if start.stop is Stop.CANCELLED:
            return outcomes.cancelled(start.delivery, error)
        if start.stop is Stop.SHUTDOWN:
            # It was interrupted, and its cleaning up failed: that says nothing about the job.
            return outcomes.handed_back(start.delivery)
        ran_for = time.monotonic() - (start.began or 0.0)
        return outcomes.failed(start.delivery, error, job.options.retry, ran_for=ran_for, now=self._clock())

    # In threads: a start that cannot be stopped, only left alone.

    async def _run_thread(self, job: "_Job") -> None:
        start = job.start
        timeout = job.timeout
        timer = None if timeout is None else self._loop.call_later(timeout, self._leave_alone, job, timeout)
        row: OutcomeRow | None = None
        start.began = time.monotonic()
        try:
            _check_stop(start)
            value = await self._attempt(job)
            row = outcomes.completed(start.delivery, self._encoded(job, value))
        except asyncio.CancelledError as error:
            row = self._stopped(job, error)
        except BaseException as error:  # noqa: BLE001 -- see _run
            row = self._failed(job, error)
        finally:
            if timer is not None:
                timer.cancel()
            self._end(start, row)

    def _leave_alone(self, job: "_Job", timeout: float) -> None:
        start = job.start
        if start.stop is None:
            row = self._failed(job, JobTimeout(timeout=timeout))
            start.stop = Stop.TIMEOUT
            self._abandon(start, row)


class _Given(NamedTuple):
    """Arguments as JSON, and as values."""

    text: bytes
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


_NOTHING_GIVEN = _Given(b"", (), {})


class _Job:
    """A start with what running it needs."""

    __slots__ = (
        "_context",
        "_executor",
        "args",
        "encoded",
        "headers",
        "kwargs",
        "options",
        "start",
        "task",
        "text",
        "timeout",
    )

    def __init__(
        self,
        executor: Executor,
        start: Start,
        task: Task[..., Any],
        given: "_Given",
        headers: dict[str, str] | None,
    ) -> None:
        self._executor = executor
        self.start, self.task, self.headers = start, task, headers
        self.text, self.args, self.kwargs = given
        self.options: EffectiveOptions = task.effective(executor.defaults)
        self.timeout = start.delivery.timeout or self.options.timeout
        self.encoded = False
        self._context: JobContext | None = None

    @property
    def context(self) -> JobContext:
        """What `current_job()` returns."""
        made = self._context
        if made is None:
            made = self._context = self._executor.context_of(self)
        return made


def _told(tell: Callable[[Start, R], None], then: Callable[[Start, R], None]) -> Callable[[Start, R], None]:
    def both(start: Start, row: R) -> None:
        try:
            tell(start, row)
        except Exception:
            log.exception("a span could not be ended", job=start.job_id)
        then(start, row)

    return both


def _deadline(timeout: float) -> datetime:
    try:
        return datetime.now(UTC) + timedelta(seconds=timeout)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)


def _headers(text: bytes) -> dict[str, str]:
    headers: object = json.loads(text)
    if not is_mapping(headers):
        raise TypeError(f"headers are {headers!r}, not words by name")
    return {str(name): str(word) for name, word in headers.items()}


def _check_stop(start: Start) -> None:
    """A start that was told to stop before its coroutine began ends here."""
    if start.stop is not None:
        raise asyncio.CancelledError
