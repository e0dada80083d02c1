"""All that stands at one moment: queues, shards and workers, from one look at each shard.

What it costs is O(queues + shards + workers), however long the backlog is: a screen that shows it may ask
every second.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from capelin.admin.access import Access
from capelin.admin.fleet import WorkerStanding, worker_standings
from capelin.admin.queues import QueueStanding, queue_standings
from capelin.admin.shards import ShardStanding, shard_standings


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """How everything stands.

    Attributes:
        now: Redis's clock, ms, when it was asked.
        queues: By name.
        shards: By queue and number.
        workers: The members of the fleet, and whoever else has jobs in flight.
        broken: Why not, by the name of the queue or shard, for those that cannot be read and are left out.
    """

    now: int
    queues: tuple[QueueStanding, ...] = ()
    shards: tuple[ShardStanding, ...] = ()
    workers: tuple[WorkerStanding, ...] = ()
    broken: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def leader(self) -> str | None:
        """The id of the worker that leads the scheduler; None when none does."""
        return next((worker.id for worker in self.workers if worker.leads), None)

    @property
    def moment(self) -> datetime:
        """``now``, as a moment in UTC."""
        return datetime.fromtimestamp(self.now / 1000, UTC)


async def read_overview(access: Access) -> Overview:
    """Return how everything stands now.

    Raises:
        Unreachable, RedisRefused: Redis could not be asked, or nothing there can be read.
        UnsupportedSchema: A newer major version of capelin wrote all of it.

    Example:
        async with open_access("redis://localhost", prefix="capelin", settings=Settings()) as access:
            print(sum(queue.waiting for queue in (await read_overview(access)).queues))
    """
    layouts = await access.read_layouts(broken={})
    surveys, broken = await access.readable_surveys()
    workers = await worker_standings(access, surveys)
    serving = {worker.id: worker.queues for worker in workers if worker.alive}
    of_shards = {name: error for name, error in broken.items() if ":" in name}
    return Overview(
        now=await access.clock(),
        queues=tuple(queue_standings(surveys, layouts, serving, of_shards)),
        shards=tuple(shard_standings(surveys)),
        workers=tuple(workers),
        broken={name: str(error) for name, error in broken.items()},
    )
