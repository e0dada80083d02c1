"""Records of jobs, as values: what ``job.info()``, the CLI and ``on_failure`` tasks see.

Reading is lenient where the record is torn: what cannot be read is left out, since a record is looked at most
when something is wrong with it.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, cast

from pydantic_core import from_json

from capelin.errors import KeyMissing, SealBroken
from capelin.keys import ShardKeys
from capelin.narrow import is_dict, is_list
from capelin.priority import Priority
from capelin.sealing import NO_SEAL, Seal

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ARGUMENTS_LENGTH = 2


class JobStatus(StrEnum):
    """Where a job is in its life."""

    SCHEDULED = "scheduled"
    """It waits for its time, for its next attempt, or for the job it follows."""
    QUEUED = "queued"
    """It waits for a worker."""
    RUNNING = "running"
    """A worker runs it."""
    PARKED = "parked"
    """No worker so far can run it; it waits for one that can."""
    COMPLETED = "completed"
    """It succeeded, and its result is kept for as long as its retention says."""
    FAILED = "failed"
    """It ended in the DLQ, from where it can be replayed."""
    CANCELLED = "cancelled"
    """Somebody cancelled it, or it expired before it started."""

    @property
    def ended(self) -> bool:
        """Whether nothing more happens by itself."""
        return self in _ENDED


_ENDED = frozenset({JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED})


class Cancellation(StrEnum):
    """What ``job.cancel()`` did. True unless the job had ended."""

    CANCELLED = "cancelled"
    """The job did not run; it has ended cancelled."""
    REQUESTED = "requested"
    """The job runs; its worker has been told. It ends cancelled unless it succeeds first."""
    ENDED = "ended"
    """The job had ended already; nothing changed."""

    def __bool__(self) -> bool:
        return self is not Cancellation.ENDED


@dataclass(frozen=True, slots=True, kw_only=True)
class JobError:
    """What went wrong.

    Attributes:
        type: The exception's class name; ``WorkerLost`` when the job's workers died.
        message: Its text.
        traceback: Its traceback, if there is one.
    """

    type: str
    message: str
    traceback: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedStart:
    """One start of a job that failed.

    Attributes:
        token: Which start it was.
        attempt: Which attempt it was, from 1.
        crashes: How many starts had ended with the death of their worker.
        worker: The worker that ran it.
        started, ended: When.
        error: What went wrong.
    """

    token: int
    attempt: int
    crashes: int
    worker: str
    started: datetime | None
    ended: datetime | None
    error: JobError | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedJob:
    """What an ``on_failure`` task gets as its one argument: the job that ended in the DLQ.

    Attributes:
        job_id: Its id.
        task: Its task's name.
        args: Its arguments as given: a list of the positional ones, a dict of the others.
        attempt: How many attempts failed.
        crashes: How many starts ended with the death of their worker.
        reason: Why it was dead-lettered, in a word.
        error: What went wrong last.

    Example:
        @app.task
        async def alert(job: FailedJob) -> None:
            await pager.send(f"{job.task} {job.job_id}: {job.error.message}")

        @app.task(on_failure=alert)
        async def charge(order: int) -> None: ...
    """

    job_id: str
    task: str
    args: tuple[list[Any], dict[str, Any]]
    attempt: int
    crashes: int
    reason: str
    error: JobError


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class JobInfo:
    """A job's whole record. Moments are by Redis's clock, in UTC; ids are whole job ids.

    Attributes:
        args: Its arguments as given, the positional ones: plain JSON values.
        kwargs: The others.
        digest: Digest of the signature that checked the arguments; empty when nothing did.
        enqueued, due, started, finished: When it was enqueued, will be or was due, last started, and ended.
        expires: When it ends cancelled if it has not started.
        token: How many starts there were.
        attempt: How many attempts failed.
        crashes: How many starts ended with the death of their worker.
        worker: The worker that runs it, or ran it last.
        cancel_requested: Somebody asked to cancel it.
        result: What it returned, as plain JSON.
        error: Why it failed or was cancelled.
        failures: Every start that failed, the oldest first.
        progress: How far it is: a fraction and a few words.
        headers: Words that were enqueued with it.
        parent_id: The job that enqueued it, or whose end added it.
        correlation_id: The first job of the chain that led to it: its own id for the first.
        batch_id: The batch that it belongs to.
        schedule, tick: The schedule that it is a run of, and the tick, if it is not one that was triggered.
        dedupe_key: Its dedupe key; ``dedupe_window``: it holds for a time, not with the job.
        follows, follower: The job after whose end it runs, and the one that runs after its end.
        timeout, retry, retention: What was given for this job alone: seconds, a JSON policy, seconds.
        then: What follows a success, as stored.
        on_failure: The task that is told of an end in the DLQ.
        parked_by: Digest of the signature that refused its arguments, if it was parked for that; ``key:``
            and the name of a key that lacked, if it was for that.
        encrypted: What it carries is encrypted, and could not be decrypted here; ``args``, ``kwargs`` and
            ``result`` are empty then.
    """

    id: str
    task: str
    queue: str
    shard: int
    status: JobStatus
    priority: Priority = Priority.NORMAL
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    digest: str = ""
    enqueued: datetime | None = None
    due: datetime | None = None
    started: datetime | None = None
    finished: datetime | None = None
    expires: datetime | None = None
    token: int = 0
    attempt: int = 0
    crashes: int = 0
    worker: str | None = None
    cancel_requested: bool = False
    result: Any = None
    error: JobError | None = None
    failures: tuple[FailedStart, ...] = ()
    progress: tuple[float, str] | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    parent_id: str | None = None
    correlation_id: str = ""
    batch_id: str | None = None
    schedule: str | None = None
    tick: datetime | None = None
    dedupe_key: str | None = None
    dedupe_window: bool = False
    follows: str | None = None
    follower: str | None = None
    timeout: float | None = None
    retry: str | None = None
    retention: float | None = None
    then: str | None = None
    on_failure: str | None = None
    parked_by: str | None = None
    encrypted: bool = False

    def __repr__(self) -> str:
        # What says nothing is left out: most fields of most jobs.
        said = {name: value for name in self.__slots__ if (value := getattr(self, name)) not in _SILENT}
        if self.correlation_id == self.id:
            del said["correlation_id"]
        return f"JobInfo({', '.join(f'{name}={_shown(value)}' for name, value in said.items())})"


_SILENT: tuple[object, ...] = (None, "", (), {}, 0, False, Priority.NORMAL)


def _shown(value: object) -> str:
    if isinstance(value, StrEnum):
        return repr(value.value)
    return value.isoformat() if isinstance(value, datetime) else repr(value)


def read_info(
    shard: ShardKeys,
    uid: str,
    raw: Sequence[bytes],
    failures: Sequence[bytes] = (),
    *,
    seal: Seal = NO_SEAL,
) -> JobInfo | None:
    """Read a record: what ``HGETALL`` of the job and ``LRANGE`` of its failures replied.

    What is encrypted and cannot be decrypted is left out, and ``encrypted`` is set.

    Returns:
        None when there is no record, or one whose status nobody knows.
    """
    record = {
        name.decode(errors="replace"): value.decode(errors="replace")
        for name, value in zip(raw[::2], raw[1::2], strict=False)
    }
    status = read_status(*(record.get(name) for name in STATUS_FIELDS))
    if status is None:
        return None
    given, kept = record.get("a", ""), record.get("result", "")
    (args_text, result_text), locked = opened(given, kept, record.get("task", "?"), uid, seal)
    args, kwargs = read_arguments(args_text)

    def near(name: str) -> str | None:
        return shard.whole_id(record[name]) if record.get(name) else None

    return JobInfo(
        id=shard.job_id(uid),
        task=record.get("task", "?"),
        queue=shard.queue,
        shard=shard.shard,
        status=status,
        priority=_priority(record.get("priority")),
        args=args,
        kwargs=kwargs,
        digest=record.get("d", ""),
        enqueued=moment(record.get("at")),
        due=moment(record.get("due")),
        started=moment(record.get("started")),
        finished=moment(record.get("finished")),
        expires=moment(record.get("expires")),
        token=_int(record.get("token")),
        attempt=_int(record.get("attempt")),
        crashes=_int(record.get("crashes")),
        worker=record.get("worker"),
        cancel_requested="cancel" in record,
        result=_json(result_text),
        error=read_error(record.get("error"), seal=seal, uid=uid),
        failures=tuple(_failed_start(text, seal, uid) for text in failures),
        progress=_progress(record.get("progress")),
        headers=_headers(record.get("headers")),
        parent_id=near("parent"),
        correlation_id=near("correlation") or shard.job_id(uid),
        batch_id=record.get("batch"),
        schedule=record.get("schedule"),
        tick=moment(record.get("tick")),
        dedupe_key=record.get("key"),
        dedupe_window="window" in record,
        follows=near("follows"),
        follower=near("follower"),
        timeout=_float(record.get("timeout")),
        retry=record.get("retry"),
        retention=_float(record.get("retention")),
        then=record.get("then"),
        on_failure=_told(record.get("on_failure")),
        parked_by=record.get("parked_by"),
        encrypted=locked,
    )


STATUS_FIELDS = ("status", "token", "task")
"""What of a record says where its job is; see ``read_status``."""


def read_status(
    status: str | bytes | None, token: str | bytes | None, task: str | bytes | None
) -> JobStatus | None:
    """Return where a record says that its job is: one that waits since it was enqueued does not say so.

    Returns:
        None when it is no record of a job, or has a status that nobody knows.
    """
    if status is None:
        return None if task is None or token is not None else JobStatus.QUEUED
    try:
        return JobStatus(status if isinstance(status, str) else status.decode(errors="replace"))
    except ValueError:
        return None


def opened(args: str, result: str, task: str, uid: str, seal: Seal) -> tuple[tuple[str, str], bool]:
    """Return arguments and result as given, empty where they do not open, and whether one did not."""
    try:
        return (
            seal.open_args(args.encode(), task).decode(),
            seal.open_result(result.encode(), uid).decode(),
        ), False
    except (KeyMissing, SealBroken, ValueError, KeyError, TypeError, IndexError):
        return ("", ""), True


def read_error(text: str | bytes | None, *, seal: Seal = NO_SEAL, uid: str = "") -> JobError | None:
    """Read an error as it is stored; its message is ``encrypted`` where it does not open."""
    return _error(_json(text), seal, uid)


def moment(value: Any) -> datetime | None:
    """Read a moment: ms since the epoch."""
    try:
        return _EPOCH + timedelta(milliseconds=float(value))
    except (TypeError, ValueError, OverflowError):
        return None


def _json(text: str | bytes | None) -> Any:
    try:
        return from_json(text) if text else None
    except ValueError:
        return None


def _error(value: object, seal: Seal, uid: str) -> JobError | None:
    if not is_dict(value):
        return None
    with suppress(KeyMissing, SealBroken, ValueError, TypeError):  # its message says that it is encrypted
        value = seal.open_failure(value, uid)
    traceback = value.get("traceback")
    return JobError(
        type=str(value.get("type", "?")),
        message=str(value.get("message", "")),
        traceback=None if traceback is None else str(traceback),
    )


def read_arguments(text: str | bytes | None) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Read arguments as they are stored; none where they cannot be read."""
    value = _json(text)
    if is_list(value) and len(value) == _ARGUMENTS_LENGTH and is_list(value[0]) and is_dict(value[1]):
        return tuple(value[0]), cast(dict[str, Any], value[1])
    return (), {}


def _failed_start(text: bytes, seal: Seal, uid: str) -> FailedStart:
    value = _json(text)
    fields: dict[str, Any] = value if is_dict(value) else {}
    return FailedStart(
        token=_int(fields.get("token")),
        attempt=_int(fields.get("attempt")),
        crashes=_int(fields.get("crashes")),
        worker=str(fields.get("worker", "?")),
        started=moment(fields.get("started")),
        ended=moment(fields.get("ended")),
        error=_error(fields.get("error"), seal, uid),
    )


def _priority(text: str | None) -> Priority:
    try:
        return Priority(text or "normal")
    except ValueError:
        return Priority.NORMAL


def _progress(text: str | None) -> tuple[float, str] | None:
    value = _json(text)
    if not is_list(value) or len(value) != _ARGUMENTS_LENGTH:
        return None
    fraction = _float(value[0])
    return None if fraction is None else (fraction, str(value[1]))


def _headers(text: str | None) -> dict[str, str]:
    value = _json(text)
    return {str(name): str(word) for name, word in value.items()} if is_dict(value) else {}


def _told(text: str | None) -> str | None:
    value = _json(text)
    return str(value[0]) if is_list(value) and value else None


def _int(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        return 0


def _float(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
