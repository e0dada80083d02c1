"""What scripts answer, as values."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from capelin.priority import STREAMS


def text(value: bytes | None) -> str:
    """Read a reply's bytes; nothing is an empty text. Bytes that are no UTF-8 must not cost the rest of the
    reply.
    """
    return value.decode(errors="replace") if value else ""


def whole(value: bytes | str | float | None) -> int:
    """Read a whole number; 0 for nothing, and for what is none: something else wrote it."""
    try:
        return int(float(value or 0))
    except (OverflowError, ValueError):
        return 0


def optional_int(value: bytes | int | None) -> int | None:
    return None if value is None or value == b"" else int(value)


class Submitted(StrEnum):
    """What ``enqueue`` did with one request."""

    NEW = "new"
    AGAIN = "again"
    DUPLICATE = "duplicate"
    REPLACED = "replaced"
    FOLLOWER = "follower"
    LATE = "late"
    MOVED = "moved"
    FREE = "free"
    AWAY = "away"


class ScheduleVerdict(StrEnum):
    """What became of a schedule that was put, dropped, paused or resumed."""

    ADDED = "added"
    CHANGED = "changed"
    SAME = "same"
    DECLARED = "declared"
    TAKEN = "taken"
    REMOVED = "removed"
    RETIRED = "retired"
    MISSING = "missing"
    PAUSED = "paused"
    RESUMED = "resumed"


class Verdict(StrEnum):
    """What ``finish`` did with one outcome."""

    RECORDED = "recorded"
    REPEATED = "repeated"
    CANCELLED = "cancelled"
    STALE = "stale"
    TORN = "torn"


class Replayed(StrEnum):
    """What ``replay`` did."""

    REPLAYED = "replayed"
    HURRIED = "hurried"
    DUPLICATE = "duplicate"
    REFUSED = "refused"
    MISSING = "missing"
    KEYED = "keyed"
    MOVED = "moved"
    AWAY = "away"


class CancelVerdict(StrEnum):
    """What ``cancel`` did."""

    CANCELLED = "cancelled"
    FLAGGED = "flagged"
    RUNS = "runs"
    ENDED = "ended"
    MISSING = "missing"


class Delivery(NamedTuple):
    """One started job, as ``take``, ``adopt`` and ``unpark`` hand it to a worker.

    Attributes:
        place: ``<stream index>:<entry id>``.
        args: JSON as given; empty for none.
        attempt: Failed attempts so far; this start is attempt ``attempt + 1``.
        timeout: Seconds, when the job overrides its task.
        first: When its first start was, ms, once it has failed.
        schedule: The schedule that it is a run of; empty for none.
        tick: The tick that it is the run of, ms; None for none, or for one that a person triggered.
        due: The moment it was scheduled for last, ms; None when it never was.
    """

    uid: str
    place: str
    token: int
    task: str
    digest: str
    args: bytes
    enqueued: int
    priority: str = "normal"
    expires: int | None = None
    attempt: int = 0
    crashes: int = 0
    timeout: float | None = None
    retry: str = ""
    headers: bytes | None = None
    parent: str = ""
    cancel: bool = False
    first: int | None = None
    correlation: str = ""
    batch: str = ""
    schedule: str = ""
    tick: int | None = None
    due: int | None = None

    @property
    def stream(self) -> str:
        """The name of the stream it came through."""
        return STREAMS[int(self.place[0]) - 1]


_EVERY = 7  # fields that every row has
_NULLS = (None,) * len(Delivery._fields)


def delivery(raw: Sequence[Any]) -> Delivery:
    """Read one job of a reply: a row whose nulls at the end are left out."""
    if len(raw) < _EVERY:
        raw = [*raw, *_NULLS[len(raw) : _EVERY]]
    uid, place, token, task, digest, args, enqueued, *rest = raw
    known = text(uid), text(place), token, text(task), text(digest), args or b"", int(enqueued or 0)
    if not rest:
        return Delivery(*known)
    rest += _NULLS[len(raw) :]
    priority, expires, attempt, crashes, timeout, retry, headers, parent, *rest = rest
    cancel, first, correlation, batch, schedule, tick, due = rest
    return Delivery(
        *known,
        priority=text(priority) if priority else "normal",
        expires=int(expires) if expires else None,
        attempt=int(attempt) if attempt else 0,
        crashes=int(crashes) if crashes else 0,
        timeout=float(timeout) if timeout else None,
        retry=text(retry) if retry else "",
        headers=headers,
        parent=text(parent) if parent else "",
        cancel=bool(cancel),
        first=int(first) if first else None,
        correlation=text(correlation) if correlation else "",
        batch=text(batch) if batch else "",
        schedule=text(schedule) if schedule else "",
        tick=int(tick) if tick else None,
        due=_moment(due),
    )


def _moment(value: bytes | None) -> int | None:
    try:
        return int(float(value)) if value else None
    except (ValueError, OverflowError):
        return None


def deliveries(raw: Sequence[Any]) -> list[Delivery]:
    return [delivery(job) for job in raw]


class Adopted(NamedTuple):
    """The reply of ``adopt``.

    Attributes:
        torn: Uids that could not be read and were set aside in the DLQ.
    """

    jobs: list[Delivery]
    torn: list[str]

    @classmethod
    def read(cls, raw: Sequence[Any]) -> "Adopted":
        jobs, torn = raw
        return cls(deliveries(jobs), [text(uid) for uid in torn])


class Taken(NamedTuple):
    """The reply of ``take``.

    Attributes:
        more: There may be more to take at once.
        next_due: When the next scheduled job is due, ms by Redis's clock, or None.
        torn: Uids (or entry ids) of entries that could not be read and were set aside in the DLQ.
        dropped: Entries whose job had left by another door (cancelled, replaced).
        expired: Jobs that ended cancelled since they expired before they started.
        now: Redis's clock, ms.
    """

    jobs: list[Delivery]
    more: bool
    next_due: int | None
    torn: list[str]
    dropped: int
    expired: int
    now: int

    @classmethod
    def read(cls, raw: Sequence[Any]) -> "Taken":
        jobs, more, due, torn, dropped, expired, now = raw
        return cls(
            jobs=deliveries(jobs),
            more=bool(more),
            next_due=None if due is None else int(float(due)),
            torn=[text(uid) for uid in torn],
            dropped=dropped,
            expired=expired,
            now=now,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewed:
    """The reply of ``renew``.

    Attributes:
        lease: ``kept``, ``lost`` or ``none``.
        lost: Uids from the worker's list that are not its any more.
        cancelled: Uids from the worker's list that somebody asked to cancel.
        unknown: ``(uid, token)`` that Redis holds running for this worker and the list lacks.
        pending: How many entries are pending for this worker in the shard.
        next_stake: ms until the next stake of another worker ends, or None.
        now: The clock of the shard's Redis, ms.
        torn: Uids that could not be read and were set aside in the DLQ.
    """

    lease: str
    lost: list[str]
    cancelled: list[str]
    unknown: list[tuple[str, int]]
    pending: int
    next_stake: int | None
    now: int
    torn: list[str] = field(default_factory=list[str])

    @classmethod
    def read(cls, raw: Sequence[Any]) -> "Renewed":
        lease, lost, cancelled, unknown, pending, next_stake, now, torn = raw
        return cls(
            lease=text(lease),
            lost=[text(uid) for uid in lost],
            cancelled=[text(uid) for uid in cancelled],
            unknown=[(text(uid), int(token)) for uid, token in unknown],
            pending=pending,
            next_stake=next_stake,
            now=int(now),
            torn=[text(uid) for uid in torn],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaped:
    """The reply of ``reap``: uids given back, uids dead-lettered as ``WorkerLost``, cancelled jobs, dead
    workers, and whether some are left for another call.
    """

    returned: list[str]
    buried: list[str]
    cancelled: int
    dead: list[str]
    more: bool

    @classmethod
    def read(cls, raw: Sequence[Any]) -> "Reaped":
        returned, buried, cancelled, dead, more = raw
        return cls(
            returned=[text(uid) for uid in returned],
            buried=[text(uid) for uid in buried],
            cancelled=cancelled,
            dead=[text(worker) for worker in dead],
            more=bool(more),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The reply of ``lease_acquire``. ``epoch`` is 0 when somebody else (``owner``) has it for
    ``expires_in`` ms more.
    """

    epoch: int
    expires_in: int
    owner: str
    now: int

    @classmethod
    def read(cls, raw: Sequence[Any]) -> "Lease":
        epoch, expires_in, owner, now = raw
        return cls(epoch=int(epoch), expires_in=int(expires_in), owner=text(owner), now=int(now))


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """The reply of ``fleet_beat``: the membership's version, other members with free slots, ms until the
    next member expires, Redis's clock in ms, and whether the caller was no member before.
    """

    version: int
    idle: int
    next_expiry: int
    now: int
    joined: bool

    @classmethod
    def read(cls, raw: Sequence[Any]) -> "Beat":
        version, idle, next_expiry, now, joined = raw
        return cls(
            version=int(version),
            idle=int(idle),
            next_expiry=int(next_expiry),
            now=int(now),
            joined=bool(joined),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """The reply of ``watch``: a job's status and, once it ended, its result or error as JSON."""

    status: str
    result: bytes | None
    error: bytes | None

    @classmethod
    def read(cls, raw: Sequence[Any]) -> "Watched | None":
        if not raw:
            return None
        status, result, error = (*raw, None, None)[:3]
        return cls(status=text(status), result=result, error=error)


class ParkedRow(NamedTuple):
    """What some parked jobs have in common: what a worker needs to run them.

    Attributes:
        digest: Of the signature they were enqueued with; empty when nothing checked their arguments.
        refused_by: Of the signature that refused their arguments; empty when their task was unknown.
    """

    task: str
    digest: str
    refused_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Retained:
    """The reply of ``retain``: records trimmed, dead jobs purged, parked jobs dead-lettered, whether there is
    more to do, what is still parked (the oldest of each task), and what could not be read and was set aside.
    """

    trimmed: int
    purged: int
    buried: int
    more: bool
    parked: list[ParkedRow]
    torn: list[str]

    @classmethod
    def read(cls, raw: Sequence[Any]) -> "Retained":
        trimmed, purged, buried, more, parked, torn = raw
        return cls(
            trimmed=trimmed,
            purged=purged,
            buried=buried,
            more=bool(more),
            parked=[ParkedRow(text(task), text(digest), text(by)) for task, digest, by in parked],
            torn=[text(uid) for uid in torn],
        )
