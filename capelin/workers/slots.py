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
        self._free = dict(sizes)  # neither used nor promised
        self._pools_of = dict(pools_of)
        self._parts: dict[int, dict[str, int]] = {}

    def take(self, pool: str) -> None:
        self.used[pool] += 1
        self._free[pool] -= 1

    def give(self, pool: str) -> None:
        self.used[pool] -= 1
        self._free[pool] += 1

    def pools_of(self, queue: str) -> frozenset[str]:
        """The pools that jobs of a queue use."""
        return self._pools_of.get(queue, _LOOP)

    def promise(self, queue: str, count: int) -> frozenset[str]:
        """So many jobs of a queue were asked for: until they are here, any of its pools, which this returns,
        may need slots.
        """
        pools = self.pools_of(queue)
        for pool in pools:
            self._free[pool] -= count
        return pools

    def redeem(self, queue: str, count: int) -> None:
        """The answer is here."""
        self.promise(queue, -count)

    def free_for(self, queue: str) -> int:
        """Slots that jobs of a queue may still be asked for."""
        return max(0, min(map(self._free.__getitem__, self.pools_of(queue))))

    def part(self, parts: int) -> dict[str, int]:
        """Return how many of each pool one of so many pipelines may ask for."""
        part = self._parts.get(parts)
        if part is None:
            part = self._parts[parts] = {pool: -(-size // parts) for pool, size in self.sizes.items()}
        return part.copy()

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
        self._left = slots.part(parts)

    def free_for(self, queue: str) -> int:
        """Slots that jobs of a queue may be asked for in this pipeline."""
        slots = self._slots
        return min(slots.free_for(queue), *map(self._left.__getitem__, slots.pools_of(queue)))

    def promise(self, queue: str, count: int) -> None:
        """So many are asked for; whoever reads the answer must redeem them."""
        for pool in self._slots.promise(queue, count):
            self._left[pool] -= count
