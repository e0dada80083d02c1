"""How many jobs this worker may run at a time: slots on the event loop, in threads, in processes.

A worker never asks for more jobs than it has slots for. Which kind of slot a job needs is known only once
it is here, so from a queue whose tasks use several kinds it asks for as many as the scarcest kind has. A
queue of its own for blocking tasks avoids that.
"""

from collections.abc import Mapping

POOLS = ("loop", "thread", "process")


class Slots:
    """Free and used slots.

    Args:
        sizes: Slots by pool.
        pools_of: For each queue, the pools that its tasks use.
    """

    def __init__(self, sizes: Mapping[str, int], pools_of: Mapping[str, frozenset[str]]) -> None:
        self.sizes = dict(sizes)
        self.used = dict.fromkeys(sizes, 0)
        self._pools_of = dict(pools_of)
        self._all = frozenset(sizes)

    def take(self, pool: str) -> None:
        self.used[pool] += 1

    def give(self, pool: str) -> None:
        self.used[pool] -= 1

    def free_for(self, queue: str) -> int:
        """Slots that jobs of a queue may use now."""
        pools = self._pools_of.get(queue) or frozenset({"loop"})
        return max(0, min(self.sizes[pool] - self.used[pool] for pool in pools))

    def free(self) -> dict[str, int]:
        """Free slots by queue."""
        return {queue: self.free_for(queue) for queue in self._pools_of}

    @property
    def total(self) -> int:
        return max(self.size_for(queue) for queue in self._pools_of) if self._pools_of else 0

    def size_for(self, queue: str) -> int:
        pools = self._pools_of.get(queue) or frozenset({"loop"})
        return min(self.sizes[pool] for pool in pools)

    @property
    def most_free(self) -> int:
        """The largest number of jobs that some queue could be asked for now."""
        return max(self.free().values(), default=0)

    @property
    def running(self) -> int:
        return sum(self.used.values())
