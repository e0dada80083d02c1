"""The life of a job, as data: every status that it can leave, by which event, and for which other.

The scripts in ``capelin/lua`` make these moves, each in one step; a test walks the whole table against them,
so that neither says what the other does not. What the table lacks does not happen: a job stays as it is.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from capelin.records import JobStatus


class Event(StrEnum):
    """What can happen to a job."""

    ENQUEUE = "enqueue"
    """A client submits it, or the end of another job adds it (``then``, ``on_failure``)."""
    REPLACE = "replace"
    """A request with the same dedupe key and ``on_duplicate="replace"`` takes its place."""
    DUE = "due"
    """Its time has come."""
    FREE = "free"
    """The job that it follows has ended."""
    HURRY = "hurry"
    """Somebody does not want to wait for its time."""
    TAKE = "take"
    """A worker takes it: a start."""
    EXPIRE = "expire"
    """It was not started in time."""
    COMPLETE = "complete"
    """Its start returned."""
    RETRY = "retry"
    """Its start failed, and there are attempts left."""
    DEAD = "dead"
    """Its start failed for good."""
    SNOOZE = "snooze"
    """Its start asks to be called again later; no attempt is counted."""
    RETURN = "return"
    """Its worker shuts down and hands it back."""
    PARK = "park"
    """Its worker cannot run it."""
    STOP = "stop"
    """Its start ended because somebody cancelled the job."""
    REAP = "reap"
    """Its worker died."""
    CANCEL = "cancel"
    """Somebody cancels it. One that runs is flagged: its next outcome ends it, unless that is a success."""
    UNPARK = "unpark"
    """A worker that may be able to run it takes it."""
    GIVE_UP = "give up"
    """It was parked for too long."""
    REPLAY = "replay"
    """Somebody lets it run again, as new."""
    SET_ASIDE = "set aside"
    """Its record cannot be read."""
    FORGET = "forget"
    """Its retention is over, or somebody purges it."""


class Move(NamedTuple):
    """One row of the table.

    Attributes:
        source: The status before; None before there is a record.
        target: The status after; None when there is no record any more.
        when: What decides, where an event can lead to several statuses.
    """

    source: JobStatus | None
    event: Event
    target: JobStatus | None
    when: str = ""


_S = JobStatus
_FLAGGED = "somebody cancelled it while it ran"

TRANSITIONS: Sequence[Move] = (
    Move(None, Event.ENQUEUE, _S.QUEUED, "due at once"),
    Move(None, Event.ENQUEUE, _S.SCHEDULED, "due later, or it follows a job that runs"),
    Move(_S.SCHEDULED, Event.REPLACE, _S.SCHEDULED, "due later, or it follows a job that runs"),
    Move(_S.SCHEDULED, Event.REPLACE, _S.QUEUED, "due at once"),
    Move(_S.SCHEDULED, Event.DUE, _S.QUEUED),
    Move(_S.SCHEDULED, Event.FREE, _S.QUEUED, "due at once"),
    Move(_S.SCHEDULED, Event.FREE, _S.SCHEDULED, "due later"),
    Move(_S.SCHEDULED, Event.HURRY, _S.QUEUED, "it follows no job"),
    Move(_S.SCHEDULED, Event.EXPIRE, _S.CANCELLED, "it never started"),
    Move(_S.SCHEDULED, Event.CANCEL, _S.CANCELLED),
    Move(_S.SCHEDULED, Event.SET_ASIDE, _S.FAILED),
    Move(_S.QUEUED, Event.REPLACE, _S.QUEUED, "due at once"),
    Move(_S.QUEUED, Event.REPLACE, _S.SCHEDULED, "due later"),
    Move(_S.QUEUED, Event.TAKE, _S.RUNNING),
    Move(_S.QUEUED, Event.EXPIRE, _S.CANCELLED, "it never started"),
    Move(_S.QUEUED, Event.CANCEL, _S.CANCELLED),
    Move(_S.QUEUED, Event.SET_ASIDE, _S.FAILED),
    Move(_S.RUNNING, Event.COMPLETE, _S.COMPLETED),
    Move(_S.RUNNING, Event.RETRY, _S.QUEUED, "due at once"),
    Move(_S.RUNNING, Event.RETRY, _S.SCHEDULED, "due later"),
    Move(_S.RUNNING, Event.RETRY, _S.CANCELLED, _FLAGGED),
    Move(_S.RUNNING, Event.DEAD, _S.FAILED),
    Move(_S.RUNNING, Event.DEAD, _S.CANCELLED, _FLAGGED),
    Move(_S.RUNNING, Event.SNOOZE, _S.QUEUED, "due at once"),
    Move(_S.RUNNING, Event.SNOOZE, _S.SCHEDULED, "due later"),
    Move(_S.RUNNING, Event.SNOOZE, _S.CANCELLED, _FLAGGED),
    Move(_S.RUNNING, Event.RETURN, _S.QUEUED),
    Move(_S.RUNNING, Event.RETURN, _S.CANCELLED, _FLAGGED),
    Move(_S.RUNNING, Event.PARK, _S.PARKED),
    Move(_S.RUNNING, Event.PARK, _S.CANCELLED, _FLAGGED),
    Move(_S.RUNNING, Event.STOP, _S.CANCELLED),
    Move(_S.RUNNING, Event.REAP, _S.QUEUED),
    Move(_S.RUNNING, Event.REAP, _S.FAILED, "its workers died max_crashes times"),
    Move(_S.RUNNING, Event.REAP, _S.CANCELLED, _FLAGGED),
    Move(_S.RUNNING, Event.SET_ASIDE, _S.FAILED),
    Move(_S.PARKED, Event.REPLACE, _S.QUEUED, "due at once"),
    Move(_S.PARKED, Event.REPLACE, _S.SCHEDULED, "due later"),
    Move(_S.PARKED, Event.UNPARK, _S.RUNNING),
    Move(_S.PARKED, Event.UNPARK, _S.QUEUED, "the shard is paused"),
    Move(_S.PARKED, Event.GIVE_UP, _S.FAILED),
    Move(_S.PARKED, Event.CANCEL, _S.CANCELLED),
    Move(_S.PARKED, Event.SET_ASIDE, _S.FAILED),
    Move(_S.FAILED, Event.REPLAY, _S.QUEUED),
    Move(_S.COMPLETED, Event.FORGET, None),
    Move(_S.FAILED, Event.FORGET, None),
    Move(_S.CANCELLED, Event.FORGET, None),
)


def targets(source: JobStatus | None, event: Event) -> frozenset[JobStatus | None]:
    """Where an event can lead from a status; empty when it changes nothing there.

    >>> sorted(targets(JobStatus.RUNNING, Event.REAP))
    [<JobStatus.CANCELLED: 'cancelled'>, <JobStatus.FAILED: 'failed'>, <JobStatus.QUEUED: 'queued'>]
    """
    return frozenset(move.target for move in TRANSITIONS if (move.source, move.event) == (source, event))
