"""Looks after the shards of a member that is gone, for as long as its stakes may still end.

Reaping is its owner's business, and at a member's death its shards get new owners. But one of these may have
started a moment ago, in the dead one's place, and may not judge anybody yet: the jobs would wait until it
may, for longer than guarantee 3 allows. So the member that has been there longest looks too, in every shard
of the queues that the dead one served: at once, and a few times in the interval after which its last stake
has ended. Reaping is safe from any worker, and finds nothing where an owner was quicker.
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping

from capelin.keys import Keys, ShardKeys
from capelin.workers.fleet import Member

_LOOKS = 4
"""Looks in an interval: what a stake's end may be late for."""


def sweeper_of(queue: str, members: Iterable[Member]) -> str | None:
    """Return the member that looks after a queue when another is gone: everybody names the same."""
    serving = [(member.started, member.id) for member in members if queue in member.queues]
    return min(serving)[1] if serving else None


class Sweep:
    """What one worker has to sweep.

    Args:
        keys: The namespace.
        layouts: Number of shards by queue, of the queues that it serves.
        worker: Its id.
        interval: Seconds between renewals: a stake ends at most so much later than a membership.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        keys: Keys,
        layouts: Mapping[str, int],
        *,
        worker: str,
        interval: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keys, self._layouts, self._worker = keys, layouts, worker
        self._interval, self._clock = interval, clock
        self._until: dict[str, float] = {}
        self._next = 0.0

    def saw(self, before: Mapping[str, Member], after: Mapping[str, Member]) -> None:
        """The membership has changed: note whose queues are to be looked after."""
        queues = {queue for name in before.keys() - after.keys() for queue in before[name].queues}
        for queue in queues & self._layouts.keys():
            if sweeper_of(queue, after.values()) == self._worker:
                # A look more than the interval takes: the last stake ends with it.
                self._until[queue] = self._clock() + self._interval * (1 + 1 / _LOOKS)
                self._next = 0.0

    def due(self, owned: Collection[ShardKeys]) -> list[ShardKeys]:
        """Return the shards to look at now, besides those that the worker owns."""
        now = self._clock()
        if not self._until or now < self._next:
            return []
        self._next = now + self._interval / _LOOKS
        queues = list(self._until)
        self._until = {queue: until for queue, until in self._until.items() if until > now}
        return [
            shard
            for queue in queues
            for number in range(self._layouts[queue])
            if (shard := self._keys.shard(queue, number)) not in owned
        ]

    @property
    def next_at(self) -> float | None:
        """When the next look is due (monotonic), or None."""
        return self._next if self._until else None
