"""Shards: who owns each, and what is in it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
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
        torn: Why it cannot be read, for one that cannot: nothing else is known of it then.
    """

    queue: str
    shard: int
    owner: str | None = None
    lease_seconds: float | None = None
    epoch: int = 0
    waiting: int = 0
    running: Mapping[str, int] = field(default_factory=dict[str, int])
    scheduled: int = 0
    followers: int = 0
    next_due: datetime | None = None
    parked: Mapping[str, int] = field(default_factory=dict[str, int])
    dead: int = 0
    finished: int = 0
    paused: datetime | None = None
    torn: str | None = None


async def list_shards(
    access: Access, queue: str | None = None, *, torn: dict[str, str] | None = None
) -> list[ShardStanding]:
    """Return every shard's standing; only those of one queue if it is named.

    Args:
        access: Where.
        queue: Only its shards.
        torn: Takes what is wrong with queues and shards that cannot be read, by name. Such a shard is
            listed, too; the shards of such a queue are not known.

    Raises:
        NotThere: There is no queue of that name.
        Unreachable, RedisRefused: Redis could not be asked.
    """
    surveys, broken = await access.readable_surveys(queue)
    why = {name: str(error) for name, error in broken.items()}
    if torn is not None:
        torn |= why
    unreadable = [
        ShardStanding(queue=name, shard=int(number), torn=error)
        for (name, _, number), error in ((each.partition(":"), error) for each, error in why.items())
        if number
    ]
    return sorted([*shard_standings(surveys), *unreadable], key=lambda one: (one.queue, one.shard))


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
