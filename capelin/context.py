"""``current_job()``: what the running job is, for the code that runs in it, however deep.

The executor makes one ``JobContext`` a start and sets it for the coroutine or thread that runs it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Any, Protocol, TypeVar, overload

from capelin.errors import InvalidOption, NoCurrentJob, NotInThisProcess, SyncInAsync
from capelin.narrow import is_number

ReportProgress = Callable[[float, str], Awaitable[None]]
ReportProgressSync = Callable[[float, str], None]
T = TypeVar("T")


def _no() -> bool:
    return False


class JobContext:
    """The job that runs here.

    Attributes:
        id: The job's id.
        task: Its task's name.
        queue: Its queue.
        shard: Its shard.
        attempt: Which attempt this is, from 1: starts that the retry policy counts.
        token: Which start this is; it grows at every take, and fences the start.
        crashes: How many starts ended with the death of their worker.
        worker_id: The worker that runs it.
        deadline: The moment (aware) at which its timeout ends it, or None.
        headers: The words that were enqueued with it.
        parent_id: The id of the job that enqueued this one, or whose end added it, or None.
        correlation_id: The id of the first job of the chain that led to this one: its own for the first.
        batch_id: The batch that it belongs to, or None.
        schedule: The schedule that it is a run of, or None.
        tick: The moment (aware, UTC) of the tick that it is the run of; None for a job that is none, or that
            a person triggered. A run that was late asks this, not the clock, which day it is for.

    What the job enqueues has it as parent, and belongs to its chain and its batch.

    Example:
        job = current_job()
        for index, row in enumerate(rows):
            if job.cancelled:
                return
            await job.progress(index / len(rows), row.name)
    """

    def __init__(
        self,
        *,
        id: str,  # noqa: A002 -- the public name of the attribute
        task: str,
        queue: str,
        shard: int,
        attempt: int,
        token: int,
        crashes: int = 0,
        worker_id: str,
        is_leader: Callable[[], bool] = _no,
        deadline: datetime | None = None,
        headers: Mapping[str, str] | None = None,
        parent_id: str | None = None,
        correlation_id: str | None = None,
        batch_id: str | None = None,
        schedule: str | None = None,
        tick: datetime | None = None,
        is_cancelled: Callable[[], bool] = _no,
        report: ReportProgress | None = None,
        report_sync: ReportProgressSync | None = None,
    ) -> None:
        """Make the context of one start.

        Args:
            id: The attribute of that name, like the next ones.
            task: The same.
            queue: The same.
            shard: The same.
            attempt: The same.
            token: The same.
            crashes: The same.
            worker_id: The same.
            deadline: The same.
            headers: The same.
            parent_id: The same.
            correlation_id: The same; the id when it is not given.
            batch_id: The same.
            schedule: The same.
            tick: The same.
            is_leader: Tells whether this worker leads the scheduler at the moment.
            is_cancelled: Tells whether somebody asked to cancel the job. Called from any thread.
            report: Writes the progress (a fraction, a message) to the job's record.
            report_sync: The same for other threads than the event loop's; it returns when the progress is
                written.
        """
        self.id, self.task, self.queue, self.shard = id, task, queue, shard
        self.attempt, self.token, self.crashes = attempt, token, crashes
        self.worker_id = worker_id
        self.deadline = deadline
        self.headers: Mapping[str, str] = dict(headers) if headers else {}
        self.parent_id = parent_id
        self.correlation_id = correlation_id or id
        self.batch_id = batch_id
        self.schedule, self.tick = schedule, tick
        self._is_leader = is_leader
        self._is_cancelled = is_cancelled
        self._report = report
        self._report_sync = report_sync

    @property
    def is_leader(self) -> bool:
        """Whether this worker leads the scheduler at the moment."""
        return self._is_leader()

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked to cancel the job.

        Async and process jobs are stopped; a thread's job looks here, and returns.
        """
        return self._is_cancelled()

    async def progress(self, fraction: float, message: str = "") -> None:
        """Write how far the job is to its record.

        Args:
            fraction: Between 0 and 1.
            message: A few words for a person.

        Raises:
            InvalidOption: The fraction is not between 0 and 1.
            NotInThisProcess: The job runs in a process of its own (``run_in="process"``).
        """
        fraction = _checked_fraction(fraction)
        if self._report is None:
            raise NotInThisProcess(what="progress()")
        await self._report(fraction, message)

    def progress_sync(self, fraction: float, message: str = "") -> None:
        """Write how far the job is to its record, from a ``def`` task or any thread without an event loop.

        Args:
            fraction: Between 0 and 1.
            message: A few words for a person.

        Raises:
            InvalidOption: The fraction is not between 0 and 1.
            SyncInAsync: There is a running event loop in this thread.
            NotInThisProcess: The job runs in a process of its own (``run_in="process"``).
        """
        fraction = _checked_fraction(fraction)
        if self._report_sync is None:
            raise NotInThisProcess(what="progress_sync()")
        if _in_a_running_loop():
            raise SyncInAsync(function="progress_sync")
        self._report_sync(fraction, message)

    def __getstate__(self) -> dict[str, Any]:
        # A process job gets a copy by pickle: the facts, without what reaches back into the worker.
        state = {name: value for name, value in self.__dict__.items() if not name.startswith("_")}
        return state | {"_is_leader": _no, "_is_cancelled": _no, "_report": None, "_report_sync": None}

    def __repr__(self) -> str:
        return f"<JobContext {self.id} {self.task} attempt={self.attempt} token={self.token}>"


class MakesContext(Protocol):
    """Something that makes the context of a start when it is asked for."""

    @property
    def context(self) -> JobContext:
        """The context."""
        ...


_current: ContextVar[JobContext | MakesContext | None] = ContextVar("capelin_current_job", default=None)


@overload
def current_job() -> JobContext: ...
@overload
def current_job(default: T, /) -> JobContext | T: ...
def current_job(*default: T) -> JobContext | T:
    """Return the job that runs here, or ``default`` outside a job if one is given.

    Raises:
        NoCurrentJob: Nothing runs here, and no default is given.

    Example:
        >>> current_job(None) is None
        True
    """
    job = _current.get()
    if job is not None:
        return job if isinstance(job, JobContext) else job.context
    if default:
        return default[0]
    raise NoCurrentJob


@contextmanager
def running(job: JobContext) -> Generator[JobContext]:
    """Make a job the current one for what runs inside: the executor's business."""
    token = _current.set(job)
    try:
        yield job
    finally:
        _current.reset(token)


def set_current(job: JobContext | MakesContext) -> None:
    """Make a job the current one in this context for good: for a context that runs nothing else."""
    _current.set(job)


def _checked_fraction(value: object) -> float:
    if not is_number(value) or not 0 <= value <= 1:  # NaN is not between either
        raise InvalidOption(option="fraction", value=value, why="expected a number between 0 and 1")
    return float(value)


def _in_a_running_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
