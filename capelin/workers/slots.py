"""How many jobs this worker may run at a time: slots on the event loop, in threads, in processes.

A worker never asks for more jobs than it has slots for. Which kind of slot a job needs is known only once
it is here, so from a queue whose tasks use several kinds it asks for as many as the scarcest kind has. A
queue of its own for blocking tasks avoids that.
"""

from collections.abc import Mapping

POOLS = ("loop", "thread", "process")
_LOOP = frozenset({"loop"})


class Slots:
    """Free, promised and used slots.

    Args:
        sizes: Slots by pool.
        pools_of: For each queue, the pools that its tasks use.
    """

    def __init__(self, sizes: Mapping[str, int], pools_of: Mapping[str, frozenset[str]]) -> None:
        self.sizes = dict(sizes)
        self.used = dict.fromkeys(sizes, 0)
        self._promised = dict.fromkeys(sizes, 0)
        self._pools_of = dict(pools_of)

    def take(self, pool: str) -> None:
        self.used[pool] += 1

    def give(self, pool: str) -> None:
        self.used[pool] -= 1

    def pools_of(self, queue: str) -> frozenset[str]:
        """The pools that jobs of a queue use."""
        return self._pools_of.get(queue, _LOOP)

    def promise(self, queue: str, count: int) -> None:
        """So many jobs of a queue were asked for: until they are here, any of its pools may need slots."""
        for pool in self.pools_of(queue):
            self._promised[pool] += count

    def redeem(self, queue: str, count: int) -> None:
        """The answer is here."""
        self.promise(queue, -count)

    def free_for(self, queue: str) -> int:
        """Slots that jobs of a queue may still be asked for."""
        used, promised = self.used, self._promised
        return max(0, min(self.sizes[pool] - used[pool] - promised[pool] for pool in self.pools_of(queue)))

    @property
    def total(self) -> int:
        return max(self.size_for(queue) for queue in self._pools_of) if self._pools_of else 0

    def size_for(self, queue: str) -> int:
        return min(self.sizes[pool] for pool in self.pools_of(queue))

    @property
    def most_free(self) -> int:
        """The largest number of jobs that some queue could be asked for now."""
        return max((self.free_for(queue) for queue in self._pools_of), default=0)

    @property
    def running(self) -> int:
        return sum(self.used.values())


class Room:
    """What one pipeline may ask for: a part of each pool, so that the next one finds something, too.

    Args:
        slots: The worker's.
        parts: How many pipelines share them.
    """

    def __init__(self, slots: Slots, parts: int) -> None:
        self._slots = slots
        self._left = {pool: -(-size // parts) for pool, size in slots.sizes.items()}

    def free_for(self, queue: str) -> int:
        """Slots that jobs of a queue may be asked for in this pipeline."""
        left = min(self._left[pool] for pool in self._slots.pools_of(queue))
        return max(0, min(left, self._slots.free_for(queue)))

    def promise(self, queue: str, count: int) -> None:
        """So many are asked for; whoever reads the answer must redeem them."""
        self._slots.promise(queue, count)
        for pool in self._slots.pools_of(queue):
            self._left[pool] -= count
