"""Reading a shard for people and metrics: nothing here changes anything."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from capelin.errors import TornKey
from capelin.keys import ShardKeys
from capelin.lua.call import Call
from capelin.lua.replies import text, whole
from capelin.lua.typed import Transition, checked
from capelin.priority import STREAMS

_SURVEY = Transition("survey")
_BROWSE = Transition("browse")


class Standing(NamedTuple):
    """One stream of a shard.

    Attributes:
        waiting: Jobs that wait in it; entries whose job left by another door are not counted.
        running: Jobs that were taken from it and run.
        oldest: When the first of those that wait entered it, ms by Redis's clock; None when none waits.
    """

    waiting: int
    running: int
    oldest: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """How a shard stands.

    Attributes:
        now: Redis's clock, ms.
        streams: By the name of the stream.
        running: Jobs that run, by worker.
        scheduled: Jobs that wait for their time.
        followers: Jobs that wait for another's end.
        next_due: The next due moment, ms, or None.
        parked: Jobs that no worker can run so far, by task.
        dead: Jobs in the DLQ.
        finished: Records of jobs that ended otherwise.
        paused: Since when nothing is taken, ms, or None.
        owner: The worker that waits on the shard; empty when nobody does.
        epoch: Of its lease.
        expires: When its lease ends, ms.
        totals: What was counted in it since ever: ``enqueued``, ``duplicates``, ``cancelled``, ``failed``
            (starts), ``replayed``.
    """

    now: int
    streams: Mapping[str, Standing]
    running: Mapping[str, int]
    scheduled: int
    followers: int
    next_due: int | None
    parked: Mapping[str, int]
    dead: int
    finished: int
    paused: int | None
    owner: str
    epoch: int
    expires: int
    totals: Mapping[str, int]

    @property
    def live(self) -> int:
        """Jobs that have not ended."""
        waiting = sum(standing.waiting for standing in self.streams.values())
        return (
            waiting + sum(self.running.values()) + self.scheduled + self.followers + sum(self.parked.values())
        )

    @classmethod
    def read(cls, raw: Sequence[Any]) -> "Survey":
        """Read the reply of ``survey``."""
        now, flat, standing, taken, counts, lease = raw
        meta = {text(name): text(value) for name, value in zip(flat[::2], flat[1::2], strict=True)}
        streams: dict[str, Standing] = {}
        for index, (length, pending, oldest) in enumerate(standing, 1):
            waiting = max(0, length - pending - whole(meta.get(f"stale:{index}")))
            entered = whole(text(oldest)) if oldest and waiting else None
            streams[STREAMS[index - 1]] = Standing(waiting, pending, entered)
        running: dict[str, int] = {}
        for worker, jobs in taken:
            running[text(worker)] = running.get(text(worker), 0) + jobs
        scheduled, followers, next_due, finished, dead = counts
        owner, epoch, expires = lease
        return cls(
            now=now,
            streams=streams,
            running=running,
            scheduled=scheduled - followers,
            followers=followers,
            next_due=whole(text(next_due)) if next_due else None,
            parked={
                name.removeprefix("parked:"): whole(count)
                for name, count in meta.items()
                if name.startswith("parked:")
            },
            dead=dead,
            finished=finished,
            paused=whole(meta["paused"]) if "paused" in meta else None,
            owner=text(owner),
            epoch=whole(text(epoch)),
            expires=whole(text(expires)),
            totals={
                name.removeprefix("total:"): whole(count)
                for name, count in meta.items()
                if name.startswith("total:")
            },
        )


@checked(_SURVEY)
def survey(shard: ShardKeys) -> Call[Survey]:
    """Read how a shard stands."""
    return _SURVEY(shard, Survey.read)


class LaneRow(NamedTuple):
    """Where a ``browse`` reads on in one place of a shard.

    Attributes:
        place: ``stream:<index>``, ``pending:<index>``, ``scheduled``, ``finished``, ``dlq`` or
            ``parked:<task>``.
        order: ``up`` or ``down``.
        begin: An entry's id or a score, with ``(`` before it to leave that out; empty for the place's end.
        beyond: In a sorted set: go on after this uid among those of that score; empty for none.
    """

    place: str
    order: str
    begin: str = ""
    beyond: str = ""


class Browsed(NamedTuple):
    """An entry of a place, and what its job's record says; None where it says nothing, or cannot be read.

    Attributes:
        at: The entry's id, or its score.
        uid: The job's; empty when the entry names none.
        reason: Why it died, in a word; of entries of the DLQ.
        moments: ``enqueued``, ``started`` and ``finished``, ms.
        error: What went wrong last, if that was asked for: type and message.
    """

    at: str
    uid: str
    reason: str
    status: str | None
    task: str | None
    place: str | None
    priority: str | None
    moments: tuple[int | None, int | None, int | None]
    parent: str | None
    error: tuple[str, str] | None


def _read_browsed(raw: Sequence[Any]) -> list[list[Browsed] | TornKey]:
    return [
        TornKey.read(text(lane), script="browse") if isinstance(lane, bytes) else list(map(_read_entry, lane))
        for lane in raw
    ]


def _read_entry(raw: Sequence[Any]) -> Browsed:
    at, uid, reason, record, error = raw
    words = [None if word is None else text(word) for word in record] or [None] * 8
    status, task, place, priority, enqueued, started, finished, parent = words
    return Browsed(
        at=text(at),
        uid=text(uid),
        reason=text(reason),
        status=status,
        task=task,
        place=place,
        priority=priority,
        moments=(_moment(enqueued), _moment(started), _moment(finished)),
        parent=parent,
        error=(text(error[0]), text(error[1])) if error else None,
    )


def _moment(value: str | None) -> int | None:
    return whole(value) or None


@checked(_BROWSE, rows=LaneRow)
def browse(
    shard: ShardKeys, *, count: int, errors: bool, lanes: Sequence[LaneRow]
) -> Call[list[list[Browsed] | TornKey]]:
    """Read the next entries of places of a shard, with what listings say of their jobs.

    Args:
        shard: The shard.
        count: At most so many of each place; with all lanes together at most 500.
        errors: Whether to read what went wrong last in each job.
        lanes: Where to read on.

    Returns:
        The entries of each lane, in its order; or what is wrong with its key.
    """
    return _BROWSE(shard, _read_browsed, lanes, count=count, errors=errors)
