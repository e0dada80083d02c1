"""What one enqueue asks for, as a value: arguments checked and encoded, options in plain units.

A request knows nothing of Redis. The client decides the shard and the id, and sends it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Generic, Self

from typing_extensions import TypeIs, TypeVar

from capelin.errors import PayloadTooLarge
from capelin.priority import Priority

R_co = TypeVar("R_co", default=Any, covariant=True)

MOST_BYTES = 4
"""A character takes one to four: most texts need no counting."""


class OnDuplicate(StrEnum):
    """What a second submit of a live dedupe key does."""

    KEEP = "keep"
    """The first job stays as it is; the caller gets its handle."""
    REPLACE = "replace"
    """A job that has not started takes the new arguments and options (debounce); else as ``follow``."""
    FOLLOW = "follow"
    """One more job runs after the one that has started."""


class Site:
    """Where requests are made that differ in their arguments alone.

    Attributes:
        seen: Whether one was sent.
        prepared: What a sender keeps here of the last one, for the next.
    """

    __slots__ = ("prepared", "seen")

    def __init__(self) -> None:
        self.seen = False
        self.prepared: Any = None


@dataclass(frozen=True, kw_only=True)
class JobRequest(Generic[R_co]):
    """One job to be: what ``send.job("a@b.c")`` returns and ``app.enqueue([...])`` takes.

    Attributes:
        task: Name of the task.
        args: Arguments as given, JSON ``[[positional], {keyword}]``; empty for none.
        digest: Digest of the signature that checked the arguments; empty when nothing checked them.
        delay: Seconds from the moment Redis gets it, or None.
        at: Due moment in ms since the epoch, or None. Not together with ``delay``.
        expires: Seconds from the moment Redis gets it (from the due moment if it has one): not started by
            then, it ends cancelled.
        timeout, retry, retention: Overrides of the task's options (seconds; JSON policy; seconds), or None.
        dedupe_for: Seconds; the dedupe key holds for this window instead of for the life of the job.
        then: What follows a success, in the same shard.
        on_failure: Name of the task that is told of an end in the DLQ, in the same shard.
        max_crashes: Starts whose worker may die before the job goes to the DLQ, or None for what workers'
            settings say. Whoever finds the dead worker may not know the task, so it travels with the job.
        schedule: Name of the schedule that it is a run of, or None.
        batch_id: The batch that it belongs to, or None for that of the job that it comes from.
        min_replicas, fsync: What its enqueue waits for, or None for what the settings say. They are not
            stored.
        site: Where it was made, when others come from there. No field: a changed copy has none.
    """

    site: ClassVar[Site | None] = None

    task: str
    queue: str
    args: str = ""
    digest: str = ""
    priority: Priority = Priority.NORMAL
    delay: float | None = None
    at: int | None = None
    expires: float | None = None
    timeout: float | None = None
    retry: str | None = None
    retention: float | None = None
    dedupe_key: str | None = None
    dedupe_for: float | None = None
    on_duplicate: OnDuplicate = OnDuplicate.KEEP
    shard_key: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    then: "JobRequest[Any] | None" = None
    on_failure: str | None = None
    max_crashes: int | None = None
    schedule: str | None = None
    batch_id: str | None = None
    min_replicas: int | None = None
    fsync: bool | None = None

    def at_site(self) -> Self:
        """Return the same request with a site, which those made of it by ``with_args`` share."""
        return self._with("site", Site())

    def with_args(self, args: str) -> Self:
        """Return the same request with other arguments (encoded). A tenth of what making one anew costs."""
        return self._with("args", args)

    def _with(self, name: str, value: object) -> Self:
        request = object.__new__(type(self))
        values = self.__dict__.copy()
        values[name] = value
        object.__setattr__(request, "__dict__", values)  # it is frozen for everybody else
        return request


def check_request_size(request: JobRequest[Any], limit: int) -> None:
    """Refuse a job whose encoded arguments, with those of what follows it, take more than ``limit`` bytes.

    Raises:
        PayloadTooLarge: They are larger.
    """
    characters, one = 0, request
    texts: list[str] = []
    while True:
        characters += len(one.args)
        texts.append(one.args)
        if one.then is None:
            break
        one = one.then
    if characters * MOST_BYTES > limit and (size := sum(len(text.encode()) for text in texts)) > limit:
        raise PayloadTooLarge(task=request.task, size=size, limit=limit)


def is_request(value: object) -> TypeIs[JobRequest[Any]]:
    """Return whether a value is a request."""
    return isinstance(value, JobRequest)
