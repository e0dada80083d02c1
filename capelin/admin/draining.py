"""Draining a queue: waiting until what waits in it now has run. New jobs are accepted meanwhile."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from capelin.admin.access import Access
from capelin.admin.queues import QueueStanding, list_queues
from capelin.errors import CapelinError
from capelin.priority import RETURNED, STREAMS

_LOOK_EVERY = 0.2


class CannotDrain(CapelinError):
    """Nothing would ever run the jobs that wait in a queue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """How far a queue is drained.

    Attributes:
        queue: How it stands.
        left: In how many of its streams something waits or runs that did when the drain began.
        seconds: How long it has taken so far.
    """

    queue: QueueStanding
    left: int
    seconds: float

    @property
    def over(self) -> bool:
        """Whether all that waited or ran when it began has had its run."""
        return self.left == 0


async def drain_queue(
    access: Access,
    queue: str,
    *,
    timeout: float | None = None,
    tell: Callable[[Drained], None] = lambda _: None,
) -> Drained:
    """Wait until each job has run that waits or runs in a queue when this begins.

    Jobs that come later are not waited for, so it ends though producers go on; nor are those that wait for
    their time, for another attempt, or parked. It changes nothing.

    Args:
        access: Where.
        queue: Which.
        timeout: Seconds after which it is given up.
        tell: Told how far it is, again and again.

    Returns:
        How the queue stands in the end; not ``over`` if that took too long.

    Raises:
        NotThere: There is no queue of that name.
        CannotDrain: It is paused, or no worker serves it, and something waits.
        Unreachable, RedisRefused: Redis could not be asked.

    Example:
        drained = await drain_queue(access, "emails", timeout=600)
        assert drained.over and drained.queue.scheduled == 0
    """
    began = await access.clock()
    loop = asyncio.get_running_loop()
    begin = loop.time()
    while True:
        left = await _left(access, queue, began)
        [standing] = await list_queues(access, queue)
        if standing.torn:
            shard, why = next(iter(standing.torn.items()))
            raise CannotDrain(f"what waits in shard {shard} cannot be read: {why}")
        if not (standing.waiting or standing.running):
            left = 0  # entries whose jobs have left by another door
        so_far = Drained(queue=standing, left=left, seconds=loop.time() - begin)
        if left and not standing.running:
            _check(standing)
        tell(so_far)
        if so_far.over or (timeout is not None and so_far.seconds >= timeout):
            return so_far
        await asyncio.sleep(_LOOK_EVERY)


async def _left(access: Access, queue: str, began: int) -> int:
    """Count the streams whose first entry, waiting or in flight, is from before a moment, or came back."""
    streams = [
        each for shard in await access.shards(queue) for each in zip(STREAMS, shard.streams, strict=True)
    ]
    heads = await access.commands([("XRANGE", stream, "-", "+", "COUNT", 1) for _, stream in streams])
    return sum(
        name == RETURNED or int(head[0][0].partition(b"-")[0]) <= began
        for (name, _), head in zip(streams, heads, strict=True)
        if head
    )


def _check(queue: QueueStanding) -> None:
    waits = f"{queue.waiting:,} {'job waits' if queue.waiting == 1 else 'jobs wait'} in it"
    if queue.paused_shards:
        raise CannotDrain(
            f"queue {queue.queue} is paused and {waits}: capelin queues resume {queue.queue}, then drain it"
        )
    if not queue.workers:
        raise CannotDrain(
            f"no worker serves queue {queue.queue} and {waits}: "
            f"capelin worker APP -q {queue.queue} runs them, capelin queues purge {queue.queue} cancels them"
        )
