"""Which jobs an operator means: filters, as a value, and what of a job they are held against."""

import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import datetime

from capelin.ids import JobId
from capelin.keys import ShardKeys
from capelin.records import JobError, JobStatus, moment

WAITING = frozenset({JobStatus.QUEUED, JobStatus.SCHEDULED, JobStatus.PARKED})
"""The statuses of jobs that no worker runs, and that have not ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """A job as a listing sees it: where it was found, and the little of its record that is read for many.

    Attributes:
        uid: Its uid; empty for an entry that names none.
        place: Where it was found; see ``lanes``.
        at: The entry there: an id, or a score.
        status: None when its record cannot be read, or is gone.
        since: Since when it has had its status, ms: when it started for one that runs, when it ended for one
            that has, when it was enqueued for the others.
        reason: Why it died, in a word; of entries of the DLQ.
        error: What went wrong last, if that was read.
    """

    shard: ShardKeys
    uid: str
    place: str
    at: str
    status: JobStatus | None
    task: str
    since: int
    parent: str | None = None
    reason: str = ""
    error: JobError | None = None

    @property
    def id(self) -> str:
        """The job's id; its uid is ``?`` when not even that could be read."""
        return self.shard.job_id(self.uid or "?")

    @property
    def since_moment(self) -> datetime | None:
        """``since``, as a moment."""
        return moment(self.since)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which jobs are meant. Without anything: all.

    Attributes:
        queue: Only this queue's.
        statuses: Only those in one of these; any when it is empty.
        task: Only tasks of this name; ``*`` and ``?`` stand for any letters and any letter.
        older_than, newer_than: Only those that have had their status for longer, or shorter, than so many
            seconds.
        error: Only those whose last error is like this, in any case: its type (``Timeout*``), or type and
            message (``*refused*``). Of jobs that wait for their next attempt, too.
        parent: Only those that this job enqueued, or whose end added them.

    Example:
        Selection(queue="emails", statuses=frozenset({JobStatus.FAILED}), error="Timeout*", older_than=3600)
    """

    queue: str | None = None
    statuses: frozenset[JobStatus] = frozenset()
    task: str | None = None
    older_than: float | None = None
    newer_than: float | None = None
    error: str | None = None
    parent: str | None = None

    @property
    def narrow(self) -> bool:
        """Whether jobs have to be looked at one by one: more is named than a queue and statuses."""
        return any(getattr(self, each.name) is not None for each in fields(self)[2:])

    @property
    def everything(self) -> bool:
        """Whether nothing at all is named."""
        return self == Selection()

    def has(self, seen: Sighting, now: int) -> bool:
        """Whether a job is meant; ``now``: Redis's clock, ms."""
        age = (now - seen.since) / 1000
        # An entry of the DLQ whose record is gone or cannot be read is a dead job, too.
        status = seen.status or JobStatus.FAILED
        return (
            (not self.statuses or status in self.statuses)
            and (self.task is None or fnmatch.fnmatchcase(seen.task, self.task))
            and (self.older_than is None or age > self.older_than)
            and (self.newer_than is None or age < self.newer_than)
            and (self.parent is None or self._is_parent_of(seen))
            and (self.error is None or self._is_like(seen.error))
        )

    def _is_parent_of(self, seen: Sighting) -> bool:
        return seen.parent is not None and seen.shard.whole_id(seen.parent) == self.parent

    def _is_like(self, error: JobError | None) -> bool:
        if error is None or self.error is None:
            return False
        wanted, name = self.error.lower(), error.type.lower()
        return fnmatch.fnmatchcase(name, wanted) or fnmatch.fnmatchcase(
            f"{name}: {error.message.lower()}", wanted
        )


def named(ids: Iterable[str]) -> list[JobId]:
    """Read ids as they were typed, each once, in their order.

    Raises:
        InvalidJobId: One is none.
    """
    return [JobId.parse(each) for each in dict.fromkeys(ids)]
