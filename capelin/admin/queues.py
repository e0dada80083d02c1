"""Queues: how many jobs wait in each, how long, who serves it; pause and resume."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from capelin import lua
from capelin.admin.access import Access
from capelin.admin.fleet import read_fleet
from capelin.errors import RedisRefused, TornKey
from capelin.keys import ShardKeys
from capelin.lua import Call, Layout
from capelin.lua.looking import Survey
from capelin.priority import STREAMS
from capelin.records import moment


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueStanding:
    """How a queue stands, over all its shards.

    Attributes:
        shards: Into how many it is cut.
        layout: The number of its layout: one more each time it is cut anew.
        shards_beyond: Shards of a larger layout that still hold something.
        older_layouts: Older layouts of which dedupe keys may be held.
        waiting: Jobs that wait for a worker.
        waiting_by_priority: The same by stream: the priorities, and what came back (``returned``).
        oldest: When the first of them began to wait; None when none does.
        oldest_seconds: How long that is ago.
        running: Jobs that run.
        scheduled: Jobs that wait for their time.
        followers: Jobs that wait for another's end.
        parked: Jobs that no worker can run so far, by task.
        dead: Jobs in the DLQ.
        finished: Records of jobs that ended otherwise.
        paused_shards: How many shards are paused: all, when the queue is.
        workers: Ids of the workers that serve it.
        enqueued: Jobs that were ever enqueued; those that a replay made run again count again.
        ended: How many of those have ended: completed, dead or cancelled.
        failed: Starts that ever failed.
        torn: What is wrong with shards that cannot be read, by name (``emails:3``): no figure counts what is
            in them. By the queue's own name if not even its layout can; it seems to have no shard then.
    """

    queue: str
    shards: int
    layout: int = 1
    shards_beyond: int = 0
    older_layouts: int = 0
    waiting: int = 0
    waiting_by_priority: Mapping[str, int] = field(default_factory=dict[str, int])
    oldest: datetime | None = None
    oldest_seconds: float | None = None
    running: int = 0
    scheduled: int = 0
    followers: int = 0
    parked: Mapping[str, int] = field(default_factory=dict[str, int])
    dead: int = 0
    finished: int = 0
    paused_shards: int = 0
    workers: tuple[str, ...] = ()
    enqueued: int = 0
    ended: int = 0
    failed: int = 0
    torn: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def paused(self) -> bool:
        """Whether nothing is taken from it."""
        return 0 < self.paused_shards == self.shards + self.shards_beyond


async def list_queues(access: Access, queue: str | None = None) -> list[QueueStanding]:
    """Return every queue's standing, by name; only one's if it is named.

    Raises:
        NotThere: There is no queue of that name.
        Unreachable, RedisRefused: Redis could not be asked.
    """
    layouts = await access.read_layouts(queue, broken={} if queue is None else None)
    surveys, broken = await access.readable_surveys(queue)
    now = await access.clock()
    alive = [member for member, expires in (await read_fleet(access)).values() if expires > now]
    return queue_standings(surveys, layouts, {member.id: member.queues for member in alive}, broken)


def queue_standings(
    surveys: Mapping[ShardKeys, Survey],
    layouts: Mapping[str, Layout],
    serving: Mapping[str, Collection[str]],
    broken: Mapping[str, Exception],
) -> list[QueueStanding]:
    """``list_queues`` for whoever has surveyed the shards already.

    Args:
        surveys: Of every shard of the queues that can be read.
        layouts: How the queues are cut.
        serving: The queues that each live worker serves, by its id.
        broken: Why not, by the name of the queue or shard, for those that cannot be read.
    """
    by_queue: dict[str, list[Survey]] = {}
    for shard, found in surveys.items():
        by_queue.setdefault(shard.queue, []).append(found)
    torn: dict[str, dict[str, str]] = {}
    for name, error in broken.items():
        torn.setdefault(name.partition(":")[0], {})[name] = str(error)
    return [
        _standing(
            name,
            layouts.get(name),
            by_queue.get(name, []),
            [worker for worker, queues in serving.items() if name in queues],
            torn.get(name, {}),
        )
        for name in sorted(by_queue.keys() | torn.keys())
    ]


def _standing(
    queue: str,
    layout: Layout | None,
    surveys: list[Survey],
    workers: Iterable[str],
    torn: Mapping[str, str],
) -> QueueStanding:
    by_priority = {name: sum(found.streams[name].waiting for found in surveys) for name in STREAMS}
    entered = [
        (standing.oldest, found.now)
        for found in surveys
        for standing in found.streams.values()
        if standing.oldest is not None
    ]
    oldest, now = min(entered, default=(None, 0))
    parked: dict[str, int] = {}
    for found in surveys:
        for task, count in found.parked.items():
            parked[task] = parked.get(task, 0) + count
    enqueued = sum(found.totals.get(each, 0) for found in surveys for each in ("enqueued", "replayed"))
    there = len(surveys) + len(torn)
    shards = 0 if layout is None else min(layout.shards, there)
    return QueueStanding(
        queue=queue,
        shards=shards,
        layout=1 if layout is None else layout.version,
        shards_beyond=0 if layout is None else there - shards,
        older_layouts=0 if layout is None else len(layout.homes),
        waiting=sum(by_priority.values()),
        waiting_by_priority=by_priority,
        oldest=None if oldest is None else moment(oldest),
        oldest_seconds=None if oldest is None else max(0, now - oldest) / 1000,
        running=sum(sum(found.running.values()) for found in surveys),
        scheduled=sum(found.scheduled for found in surveys),
        followers=sum(found.followers for found in surveys),
        parked=parked,
        dead=sum(found.dead for found in surveys),
        finished=sum(found.finished for found in surveys),
        paused_shards=sum(found.paused is not None for found in surveys),
        workers=tuple(sorted(workers)),
        enqueued=enqueued,
        ended=max(0, enqueued - sum(found.live for found in surveys)),
        failed=sum(found.totals.get("failed", 0) for found in surveys),
        torn=torn,
    )


async def pause_queue(access: Access, queue: str, *, torn: dict[str, str] | None = None) -> bool:
    """Stop taking jobs from a queue; those that run go on, and new ones are accepted.

    Args:
        access: Where.
        queue: Which.
        torn: Takes what is wrong with shards that cannot be paused, by their keys, instead of an error. The
            others are paused in any case.

    Returns:
        Whether that changed anything.

    Raises:
        NotThere: There is no queue of that name.
        Unreachable, RedisRefused: Some of its shards may not be paused.
    """
    since = await access.clock()
    return await _on_each(access, queue, lambda shard: lua.pause(shard, since=since), torn)


async def resume_queue(access: Access, queue: str, *, torn: dict[str, str] | None = None) -> bool:
    """End a queue's pause; returns and raises as ``pause_queue``."""
    return await _on_each(access, queue, lua.resume, torn)


async def _on_each(
    access: Access, queue: str, call: Callable[[ShardKeys], Call[bool]], torn: dict[str, str] | None
) -> bool:
    """Do it to every shard, those too that a reshard adds meanwhile; return whether that changed anything."""
    changed = False
    refused: list[RedisRefused] = []
    done: set[ShardKeys] = set()
    while shards := [shard for shard in await access.shards(queue) if shard not in done]:
        for answer in await access.ask_each([call(shard) for shard in shards]):
            if isinstance(answer, RedisRefused):
                refused.append(answer)
            else:
                changed |= answer
        done.update(shards)
    for error in refused:
        if torn is None or not isinstance(error, TornKey):
            raise error
        torn[error.key] = str(error)
    return changed
