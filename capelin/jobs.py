"""``Job``: the handle of one enqueued call. Its id names its place: it needs nothing but Redis to find it."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, NoReturn, Protocol, TypeVar

from capelin.client import Client
from capelin.codec import Inexact, read_json
from capelin.durations import Duration, seconds
from capelin.errors import InvalidResult, JobCancelled, JobFailed, JobNotFound
from capelin.ids import JobId
from capelin.lua import CancelVerdict, Watched
from capelin.records import Cancellation, JobError, JobInfo, JobStatus, read_error
from capelin.sealing import Seal

R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")

ReadResult = Callable[[bytes], Any]


class Host(Protocol):
    """What a job needs of its app."""

    def client(self) -> Client:
        """Return the running loop's client."""
        ...

    def run_sync(self, function: str, begin: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine from code without an event loop."""
        ...

    def result_reader(self, task: str) -> ReadResult | None:
        """Return what reads the results of a task, if this process knows the task."""
        ...


class Job(Generic[R_co]):
    """The handle of one enqueued call.

    Attributes:
        id: ``<queue>.<shard>.<uid>``; ``app.job(id)`` makes a handle of it in any process.
        queue, shard: Where it lives.
        task: Its task's name; None for a handle that was made of an id alone.
        duplicate: The enqueue found a live job with the same dedupe key, and this is that one.

    Example:
        job = await send.enqueue("a@b.c")
        await job.result(timeout=10)
    """

    __slots__ = ("_host", "_read_result", "_uid", "duplicate", "queue", "shard", "task")

    def __init__(
        self,
        host: Host,
        *,
        queue: str,
        shard: int,
        uid: str,
        task: str | None = None,
        duplicate: bool = False,
        read_result: ReadResult | None = None,
    ) -> None:
        self._host, self._uid = host, uid
        self.queue, self.shard, self.task, self.duplicate = queue, shard, task, duplicate
        self._read_result = read_result

    @property
    def id(self) -> str:
        """``<queue>.<shard>.<uid>``."""
        return f"{self.queue}.{self.shard}.{self._uid}"

    async def status(self) -> JobStatus:
        """Return where the job is in its life.

        Raises:
            JobNotFound: There is no record of it (any more).
            Unreachable, RedisRefused: Redis did not answer, or with an error.
        """
        status = await self._host.client().status(self._place)
        return self._missing() if status is None else status

    async def info(self) -> JobInfo:
        """Return the whole record, with every start that failed.

        Raises:
            The same as ``status``.
        """
        info = await self._host.client().info(self._place)
        return self._missing() if info is None else info

    async def result(self, timeout: Duration | None = None) -> R_co:
        """Wait until the job has ended, and return what its task returned.

        Args:
            timeout: Seconds, or a ``timedelta``; None waits for as long as it takes. 0 looks once.

        Raises:
            JobFailed: It ended in the DLQ.
            JobCancelled: It was cancelled, or expired before it started.
            JobNotFound: There is no record of it (any more), or its result was not kept.
            TimeoutError: It did not end in time. It goes on; this may be asked again.
            InvalidResult: The result does not fit the task's return annotation.
            KeyMissing, SealBroken: It is encrypted, and cannot be decrypted here.
            RedisRefused: Redis answered with an error.
        """
        limit = None if timeout is None else seconds("timeout", timeout)
        client = self._host.client()
        if limit == 0:
            end = await client.look(self._place)
            if end is not None and not JobStatus(end.status).ended:
                raise TimeoutError(f"job {self.id} has not ended")
        else:
            try:
                async with asyncio.timeout(limit):
                    end = await client.wait(self._place)
            except TimeoutError:
                raise TimeoutError(f"job {self.id} did not end within {limit:g} s") from None
        return self._missing() if end is None else self._read(end, client.seal)

    async def cancel(self) -> Cancellation:
        """Cancel the job: at once if it does not run; otherwise its worker is told.

        Async and process jobs are stopped; a job in a thread sees ``current_job().cancelled``. One that
        succeeds nevertheless is completed.

        Raises:
            The same as ``status``.

        Example:
            if not await job.cancel():
                print("too late")
        """
        verdict, _ = await self._host.client().cancel(self._place)
        match verdict:
            case CancelVerdict.MISSING:
                return self._missing()
            case CancelVerdict.CANCELLED:
                return Cancellation.CANCELLED
            case CancelVerdict.FLAGGED:
                return Cancellation.REQUESTED
            case CancelVerdict.ENDED | CancelVerdict.RUNS:
                return Cancellation.ENDED

    def status_sync(self) -> JobStatus:
        """``status`` for code without an event loop.

        Raises:
            SyncInAsync: An event loop runs in this thread.
            The same as ``status``.
        """
        return self._host.run_sync("status_sync", self.status)

    def info_sync(self) -> JobInfo:
        """``info`` for code without an event loop.

        Raises:
            SyncInAsync: An event loop runs in this thread.
            The same as ``info``.
        """
        return self._host.run_sync("info_sync", self.info)

    def result_sync(self, timeout: Duration | None = None) -> R_co:
        """``result`` for code without an event loop.

        Raises:
            SyncInAsync: An event loop runs in this thread.
            The same as ``result``.
        """
        return self._host.run_sync("result_sync", lambda: self.result(timeout))

    def cancel_sync(self) -> Cancellation:
        """``cancel`` for code without an event loop.

        Raises:
            SyncInAsync: An event loop runs in this thread.
            The same as ``cancel``.
        """
        return self._host.run_sync("cancel_sync", self.cancel)

    @property
    def _place(self) -> JobId:
        return JobId(queue=self.queue, shard=self.shard, uid=self._uid)

    def _read(self, end: Watched, seal: Seal) -> R_co:
        error = read_error(end.error, seal=seal, uid=self._uid) or JobError(
            type="?", message="its record does not say why"
        )
        match JobStatus(end.status):
            case JobStatus.FAILED:
                raise JobFailed(
                    job_id=self.id,
                    error_type=error.type,
                    error_message=error.message,
                    traceback=error.traceback,
                )
            case JobStatus.CANCELLED:
                raise JobCancelled(job_id=self.id, reason=error.message)
            case _:
                return self._decoded(seal.open_result(end.result, self._uid) if end.result else None)  # type: ignore[no-any-return]

    def _decoded(self, result: bytes | None) -> Any:
        if not result:
            return None
        read = self._read_result
        if read is None and self.task is not None:
            read = self._host.result_reader(self.task)
        if read is not None:
            return read(result)
        try:
            return read_json(result)
        except Inexact as cause:
            raise InvalidResult(task=self.task or "?", why=str(cause)) from cause

    def _missing(self) -> NoReturn:
        raise JobNotFound(job_id=self.id)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Job) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return (
            f"<Job {self.id}{f' {self.task}' if self.task else ''}{' duplicate' if self.duplicate else ''}>"
        )
