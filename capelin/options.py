"""Options of tasks and of calls, checked at the edge.

What makes no sense is refused before anything is written.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, Final, Literal, Protocol, TypedDict, TypeVar, cast

from capelin.durations import Duration, seconds
from capelin.errors import InvalidOption
from capelin.names import check_name
from capelin.narrow import is_mapping
from capelin.priority import Priority
from capelin.requests import JobRequest, OnDuplicate, is_request
from capelin.retry import RetryPolicy, checked_when

DEFAULT_QUEUE = "default"
MAX_KEY_BYTES = 1024
MAX_HEADERS = 64
MAX_HEADERS_BYTES = 16 * 1024
MAX_CHAIN = 100
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)

_E = TypeVar("_E", bound=Enum)

PriorityName = Literal["critical", "high", "normal", "low"]
OnDuplicateName = Literal["keep", "replace", "follow"]


class Unset(Enum):
    """Says that an option was not given, where None means something."""

    UNSET = "unset"

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset.UNSET


class Named(Protocol):
    """Something with a name: a task."""

    @property
    def name(self) -> str:
        """The task's name."""
        ...


class TaskArguments(TypedDict, total=False):
    """The options that ``@app.task(...)`` takes besides the task's name (see ``TaskOptions``)."""

    queue: str
    priority: Priority | PriorityName
    timeout: Duration | None
    retry: RetryPolicy
    retention: Duration
    on_failure: Named | str | None
    max_crashes: int
    min_replicas: int
    fsync: bool


class CallArguments(TypedDict, total=False):
    """The options that ``task.options(...)`` takes; ``CallOptions`` says what they mean."""

    queue: str | None
    priority: Priority | PriorityName | None
    delay: Duration | None
    at: datetime | None
    expires: Duration | None
    timeout: Duration | None
    retry: RetryPolicy | None
    dedupe_key: str | None
    dedupe_for: Duration | None
    on_duplicate: OnDuplicate | OnDuplicateName | None
    shard_key: str | None
    headers: Mapping[str, str] | None
    retention: Duration | None
    then: JobRequest[Any] | None
    batch_id: str | None
    min_replicas: int | None
    fsync: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectiveOptions:
    """What holds for a task once its own options, its group's and its app's are laid over each other.

    Attributes:
        timeout: Seconds a start may take, or None for as long as it likes.
        retention: Seconds that a finished job's record stays, or None for what the worker's settings say.
        on_failure: Name of the task that is told of an end in the DLQ.
        max_crashes: Starts whose worker may die before the job goes to the DLQ, or None for what the settings
            say.
        min_replicas, fsync: What an enqueue waits for, or None for what the settings say.
    """

    queue: str
    priority: Priority
    timeout: float | None
    retry: RetryPolicy
    retention: float | None
    on_failure: str | None
    max_crashes: int | None
    min_replicas: int | None
    fsync: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOptions:
    """Options of a task, or of all tasks of an app or group (``defaults=``).

    What is not given comes from the next one out: the task's group, its app, capelin.

    Attributes:
        queue: Where its jobs go (``default``).
        priority: ``critical``, ``high``, ``normal`` (the default) or ``low``.
        timeout: Longest time a start may take; None for no limit, which is the default.
        retry: The retry policy (``RetryPolicy()``).
        retention: How long a finished job's record stays; 0 keeps nothing beyond the resend window.
        on_failure: The task, or its name, that gets a job when one of this task ends in the DLQ.
        max_crashes: After how many starts whose worker died the job goes to the DLQ.
        min_replicas: How many replicas of Redis must have the job before ``enqueue`` returns (0; or the
            setting of that name). Schedules, ``then`` and ``on_failure`` have nobody to tell, and do not
            wait.
        fsync: Whether it must be on disk, too, here and there (Redis 7.2; False; or the setting).

    Raises:
        InvalidOption: A value makes no sense.
        InvalidName: A queue's or task's name is not allowed.

    Example:
        >>> TaskOptions(queue="emails", timeout=30).over(TaskOptions(priority="high")).effective().priority
        <Priority.HIGH: 'high'>
    """

    queue: str | Unset = UNSET
    priority: Priority | PriorityName | Unset = UNSET
    timeout: Duration | Unset | None = UNSET
    retry: RetryPolicy | Unset = UNSET
    retention: Duration | Unset = UNSET
    on_failure: Named | str | Unset | None = UNSET
    max_crashes: int | Unset = UNSET
    min_replicas: int | Unset = UNSET
    fsync: bool | Unset = UNSET

    def __post_init__(self) -> None:
        self.effective()

    def over(self, defaults: "TaskOptions") -> "TaskOptions":
        """Return these options, with what they leave out taken from ``defaults``."""
        given = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not UNSET}
        rest = {f.name: getattr(defaults, f.name) for f in fields(self) if f.name not in given}
        return TaskOptions(**given, **rest)

    def effective(self) -> EffectiveOptions:
        """Return the options in plain units, with capelin's own defaults for what is not given."""
        return EffectiveOptions(
            queue=DEFAULT_QUEUE if self.queue is UNSET else check_name("queue", self.queue),
            priority=Priority.NORMAL if self.priority is UNSET else _priority("priority", self.priority),
            timeout=None
            if self.timeout is UNSET or self.timeout is None
            else _positive("timeout", self.timeout),
            retry=RetryPolicy() if self.retry is UNSET else _policy("retry", self.retry),
            retention=None if self.retention is UNSET else seconds("retention", self.retention),
            on_failure=None if self.on_failure is UNSET else _task_name("on_failure", self.on_failure),
            max_crashes=None if self.max_crashes is UNSET else _whole("max_crashes", self.max_crashes),
            min_replicas=None if self.min_replicas is UNSET else _count("min_replicas", self.min_replicas),
            fsync=None if self.fsync is UNSET else _yes_or_no("fsync", self.fsync),
        )


class RequestFields(TypedDict, total=False):
    """The fields of a ``JobRequest`` that come from options."""

    queue: str
    priority: Priority
    delay: float | None
    at: int | None
    expires: float | None
    timeout: float | None
    retry: str | None
    retention: float | None
    dedupe_key: str | None
    dedupe_for: float | None
    on_duplicate: OnDuplicate
    shard_key: str | None
    headers: Mapping[str, str]
    then: JobRequest[Any] | None
    on_failure: str | None
    max_crashes: int | None
    batch_id: str | None
    min_replicas: int | None
    fsync: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOptions:
    """Options of one call; None leaves what the task says.

    Attributes:
        queue: Another queue than the task's.
        priority: Another priority than the task's.
        delay: Not before this long from now. Not together with ``at``.
        at: Not before this moment (aware).
        expires: If it has not started this long after it was due, it ends cancelled.
        timeout: Longest time a start may take.
        retry: A policy of standard tenacity parts; others belong on the task.
        dedupe_key: At most one live job of this task and queue has this key. Not together with ``shard_key``.
        dedupe_for: The key holds for this long instead of for the life of the job.
        on_duplicate: What a second submit of a live key does: ``keep`` (the default), ``replace``,
            ``follow``.
        shard_key: Jobs with the same one go to the same shard. It promises no order.
        headers: Words that travel with the job, for tracing and the like.
        retention: How long the record of the finished job stays.
        then: The job that follows a success: ``archive.job(...)``.
        batch_id: The name of a batch that the job belongs to, and what comes of it too: what it enqueues,
            what follows it, who is told of its end in the DLQ.
        min_replicas: How many replicas of Redis must have the job before ``enqueue`` returns.
        fsync: Whether it must be on disk, too, here and there (Redis 7.2).

    Raises:
        InvalidOption: A value makes no sense, or two do not go together.
        InvalidName: The queue's or the batch's name is not allowed.
    """

    queue: str | None = None
    priority: Priority | PriorityName | None = None
    delay: Duration | None = None
    at: datetime | None = None
    expires: Duration | None = None
    timeout: Duration | None = None
    retry: RetryPolicy | None = None
    dedupe_key: str | None = None
    dedupe_for: Duration | None = None
    on_duplicate: OnDuplicate | OnDuplicateName | None = None
    shard_key: str | None = None
    headers: Mapping[str, str] | None = None
    retention: Duration | None = None
    then: JobRequest[Any] | None = None
    batch_id: str | None = None
    min_replicas: int | None = None
    fsync: bool | None = None

    def __post_init__(self) -> None:
        self.request_fields()

    def request_fields(self) -> RequestFields:
        """Return what these options change in a ``JobRequest``, in plain units."""
        self._check_combinations()
        delay, at = checked_when(self.delay, self.at)
        result: RequestFields = {}
        if delay is not None:
            result["delay"] = delay
        if at is not None:
            result["at"] = milliseconds_since_epoch(at)
        for option, check in _CALL_CHECKS.items():
            if (value := getattr(self, option)) is not None:
                cast(dict[str, Any], result)[option] = check(option, value)
        return result

    def _check_combinations(self) -> None:
        if self.dedupe_key is not None and self.shard_key is not None:
            raise InvalidOption(
                option="shard_key",
                value=self.shard_key,
                why="not together with dedupe_key, which decides the shard itself",
            )
        if self.dedupe_key is None:
            for option in ("dedupe_for", "on_duplicate"):
                if (value := getattr(self, option)) is not None:
                    raise InvalidOption(option=option, value=value, why="it needs a dedupe_key")


def milliseconds_since_epoch(at: datetime) -> int:
    """Return an aware moment in ms since the epoch, rounded up so that nothing comes early."""
    return -((_EPOCH - at) // _MILLISECOND)


def _member(kind: type[_E]) -> Callable[[str, Any], _E]:
    def check(option: str, value: Any) -> _E:
        try:
            return kind(value)
        except ValueError as cause:
            names = ", ".join(repr(member.value) for member in kind)
            raise InvalidOption(option=option, value=value, why=f"expected one of {names}") from cause

    return check


_priority = _member(Priority)


def _name(option: str, value: Any) -> str:
    return check_name(option, value)


def _positive(option: str, value: Duration) -> float:
    result = seconds(option, value)
    if result <= 0:
        raise InvalidOption(option=option, value=value, why="must be more than 0 s")
    return result


def _whole(option: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidOption(option=option, value=value, why="expected a whole number, at least 1")
    return value


def _count(option: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InvalidOption(option=option, value=value, why="expected a whole number, at least 0")
    return value


def _yes_or_no(option: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise InvalidOption(option=option, value=value, why="expected True or False")
    return value


def _policy(option: str, value: object) -> RetryPolicy:
    if not isinstance(value, RetryPolicy):
        raise InvalidOption(
            option=option,
            value=value,
            why="expected a RetryPolicy, as RetryPolicy(stop=stop_after_attempt(5))",
        )
    return value


def _task_name(option: str, value: Named | str | None) -> str | None:
    if value is None:
        return None
    name: object = value if isinstance(value, str) else getattr(value, "name", None)
    if not isinstance(name, str):
        raise InvalidOption(option=option, value=value, why="expected a task, or the name of one")
    return check_name("task", name)


def _key(option: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise InvalidOption(option=option, value=value, why="expected a string that is not empty")
    try:
        size = len(value.encode())
    except UnicodeEncodeError as cause:
        raise InvalidOption(
            option=option, value=value, why=f"cannot be written as UTF-8: {cause.reason}"
        ) from cause
    if size > MAX_KEY_BYTES:
        raise InvalidOption(
            option=option, value=value, why=f"at most {MAX_KEY_BYTES} bytes; use a digest of it"
        )
    return str(value)


def _headers(option: str, value: object) -> dict[str, str]:
    expected = "expected a mapping of strings to strings"
    if not is_mapping(value):
        raise InvalidOption(option=option, value=value, why=expected)
    if len(value) > MAX_HEADERS:
        raise InvalidOption(option=option, value=f"{len(value)} of them", why=f"at most {MAX_HEADERS}")
    result: dict[str, str] = {}
    size = 0
    for name, text in value.items():
        if not isinstance(name, str) or not isinstance(text, str):
            raise InvalidOption(option=option, value=value, why=f"{expected}; {name!r} is {text!r}")
        try:
            size += len((name + text).encode())
        except UnicodeEncodeError as cause:
            raise InvalidOption(
                option=option, value=value, why=f"{name!r} cannot be written as UTF-8: {cause.reason}"
            ) from cause
        result[str(name)] = str(text)
    if size > MAX_HEADERS_BYTES:
        raise InvalidOption(
            option=option,
            value=f"{size:,} bytes",
            why=f"at most {MAX_HEADERS_BYTES:,} in all",
        )
    return result


def _then(option: str, value: object) -> JobRequest[Any]:
    if not is_request(value):
        raise InvalidOption(option=option, value=value, why="expected a job, as archive.job(...)")
    if value.dedupe_key is not None or value.shard_key is not None:
        raise InvalidOption(
            option=option,
            value=value.task,
            why="the job that follows lives in its parent's shard, once: no dedupe_key and no shard_key",
        )
    follower, length = value.then, 1
    while follower is not None:
        follower, length = follower.then, length + 1
    if length > MAX_CHAIN:
        raise InvalidOption(
            option=option,
            value=value.task,
            why=f"at most {MAX_CHAIN} jobs follow each other",
        )
    return value


def _policy_text(option: str, value: object) -> str:
    return _policy(option, value).to_json()


_CALL_CHECKS: Mapping[str, Callable[[str, Any], object]] = {
    "queue": _name,
    "priority": _priority,
    "expires": _positive,
    "timeout": _positive,
    "retry": _policy_text,
    "retention": seconds,
    "dedupe_key": _key,
    "dedupe_for": _positive,
    "on_duplicate": _member(OnDuplicate),
    "shard_key": _key,
    "headers": _headers,
    "then": _then,
    "batch_id": _name,
    "min_replicas": _count,
    "fsync": _yes_or_no,
}
