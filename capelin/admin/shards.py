"""Shards: who owns each, and what is in it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from capelin.admin.access import Access
from capelin.keys import ShardKeys
from capelin.lua.looking import Survey
from capelin.records import moment


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardStanding:
    """How a shard stands.

    Attributes:
        owner: The worker that waits on it; None when nobody's lease holds.
        lease_seconds: For how long the lease still holds.
        epoch: Of the lease.
        waiting: Jobs that wait for a worker.
        running: Jobs that run, by worker.
        scheduled: Jobs that wait for their time.
        followers: Jobs that wait for another's end.
        next_due: When the next of them is due.
        parked: Jobs that no worker can run so far, by task.
        dead: Jobs in the DLQ.
        finished: Records of jobs that ended otherwise.
        paused: Since when nothing is taken from it, or None.
    """

    queue: str
    shard: int
    owner: str | None
    lease_seconds: float | None
    epoch: int
    waiting: int
    running: Mapping[str, int]
    scheduled: int
    followers: int
    next_due: datetime | None
    parked: Mapping[str, int]
    dead: int
    finished: int
    paused: datetime | None


async def list_shards(access: Access, queue: str | None = None) -> list[ShardStanding]:
    """Return every shard's standing; only those of one queue if it is named.

    Raises:
        NotThere: There is no queue of that name.
        Unreachable, RedisRefused: Redis could not be asked.
    """
    return shard_standings(await access.surveys(queue))


def shard_standings(surveys: Mapping[ShardKeys, Survey]) -> list[ShardStanding]:
    """``list_shards`` for whoever has surveyed them already."""
    return [_standing(shard, found) for shard, found in surveys.items()]


def _standing(shard: ShardKeys, found: Survey) -> ShardStanding:
    left = (found.expires - found.now) / 1000
    owned = bool(found.owner) and left > 0
    return ShardStanding(
        queue=shard.queue,
        shard=shard.shard,
        owner=found.owner if owned else None,
        lease_seconds=left if owned else None,
        epoch=found.epoch,
        waiting=sum(standing.waiting for standing in found.streams.values()),
        running=found.running,
        scheduled=found.scheduled,
        followers=found.followers,
        next_due=None if found.next_due is None else moment(found.next_due),
        parked=found.parked,
        dead=found.dead,
        finished=found.finished,
        paused=None if found.paused is None else moment(found.paused),
    )
