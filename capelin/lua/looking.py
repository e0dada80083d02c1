"""Reading a shard for people and metrics: nothing here changes anything."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from capelin.keys import ShardKeys
from capelin.lua.call import Call
from capelin.lua.replies import text
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
        totals: What was counted in it since ever: ``enqueued``, ``duplicates``, ``cancelled``.
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

    @classmethod
    def read(cls, raw: Sequence[Any]) -> "Survey":
        """Read the reply of ``survey``."""
        now, flat, standing, taken, counts, lease = raw
        meta = {text(name): text(value) for name, value in zip(flat[::2], flat[1::2], strict=True)}
        streams: dict[str, Standing] = {}
        for index, (length, pending, oldest) in enumerate(standing, 1):
            waiting = max(0, length - pending - _whole(meta.get(f"stale:{index}")))
            entered = _whole(text(oldest)) if oldest and waiting else None
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
            next_due=_whole(text(next_due)) if next_due else None,
            parked={
                name.removeprefix("parked:"): _whole(count)
                for name, count in meta.items()
                if name.startswith("parked:")
            },
            dead=dead,
            finished=finished,
            paused=_whole(meta["paused"]) if "paused" in meta else None,
            owner=text(owner),
            epoch=_whole(text(epoch)),
            expires=_whole(text(expires)),
            totals={
                name.removeprefix("total:"): _whole(count)
                for name, count in meta.items()
                if name.startswith("total:")
            },
        )


@checked(_SURVEY)
def survey(shard: ShardKeys) -> Call[Survey]:
    """Read how a shard stands."""
    return _SURVEY(shard, Survey.read)


class Browsed(NamedTuple):
    """The reply of ``browse``.

    Attributes:
        jobs: Uids with the ms of their enqueueing, the newest first.
        more: There are others, or may be.
    """

    jobs: list[tuple[str, int]]
    more: bool


def _read_browsed(raw: Sequence[Any]) -> Browsed:
    jobs, cut = raw
    return Browsed([(text(uid), int(enqueued)) for uid, enqueued in jobs], bool(cut))


@checked(_BROWSE)
def browse(shard: ShardKeys, *, status: str, task: str, limit: int, depth: int) -> Call[Browsed]:
    """List the newest jobs of a shard.

    Args:
        shard: The shard.
        status: Only those; empty for any.
        task: Only its jobs; empty for any.
        limit: At most so many.
        depth: How many entries of each place are looked at, at most 500.
    """
    return _BROWSE(shard, _read_browsed, status=status, task=task, limit=limit, depth=depth)


def _whole(value: str | None) -> int:
    try:
        return int(float(value or 0))
    except ValueError:
        return 0
