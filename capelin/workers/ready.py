"""Which shards a worker visits next: only those known to be ready, and no more slots of each than it can use.

A shard is ready when a token woke it, when its last take came back full, when something in it is due, or
when it is new to its owner. One that was full before is `deep`: one of these at a time gets all free slots (a
large batch costs less than two small ones) but those that are kept for woken shards: each gets a few, for
it most likely holds a job or two. Queues take turns by their weights.
"""

import heapq
from collections.abc import Mapping
from dataclasses import dataclass

from capelin.keys import ShardKeys
from capelin.workers.slots import Room

_FEW = 8
_SAVED = 100.0
MOST_A_CALL = 500


@dataclass(frozen=True, slots=True)
class Visit:
    """A take to be sent: where, and for how many."""

    shard: ShardKeys
    count: int


class Ready:
    """The shards to visit, in order.

    Args:
        weights: Weight by queue; a queue without one has weight 1.
    """

    def __init__(self, weights: Mapping[str, int] | None = None) -> None:
        self._weights = dict(weights or {})
        self._deep: dict[ShardKeys, bool] = {}
        self._passed: dict[str, float] = {}
        self._level = 0.0
        self._due: list[tuple[float, str, ShardKeys]] = []
        self._due_at: dict[ShardKeys, float] = {}

    def __len__(self) -> int:
        return len(self._deep)

    def __contains__(self, shard: object) -> bool:
        return shard in self._deep

    def mark(self, shard: ShardKeys, *, deep: bool = False) -> None:
        """A shard has work, or may have."""
        self._deep[shard] = deep or self._deep.get(shard, False)

    def drop(self, shard: ShardKeys) -> None:
        """A shard is not ours to visit any more."""
        self._deep.pop(shard, None)
        self._due_at.pop(shard, None)

    def due(self, shard: ShardKeys, at: float | None) -> None:
        """Something in a shard is due at ``at`` (loop time); None forgets."""
        if at is None:
            self._due_at.pop(shard, None)
            return
        self._due_at[shard] = at
        heapq.heappush(self._due, (at, shard.base, shard))

    def wake_due(self, now: float) -> float | None:
        """Mark the shards whose time has come; return when the next one's does, or None."""
        while self._due:
            at, _, shard = self._due[0]
            if self._due_at.get(shard) != at:
                heapq.heappop(self._due)
            elif at <= now:
                heapq.heappop(self._due)
                del self._due_at[shard]
                self._deep.setdefault(shard, False)
            else:
                return at
        return None

    def plan(self, room: Room) -> list[Visit]:
        """Take out of the set the shards to visit now.

        Args:
            room: What may be asked for; what is planned is promised in it.
        """
        visits: list[Visit] = []
        had_deep = False
        for shard in self._in_turn():
            allowed = min(room.free_for(shard.queue), MOST_A_CALL)
            if allowed <= 0:
                continue
            deep = self._deep[shard]
            if deep and had_deep:
                continue
            count = min(allowed, _FEW)
            if deep:
                count = allowed - min(allowed // 2, self._woken(shard.queue) * _FEW)
                had_deep = True
            elif len(self._deep) == 1:
                count = allowed
            del self._deep[shard]
            visits.append(Visit(shard, count))
            room.promise(shard.queue, count)
            self._passed[shard.queue] = self._passed.get(shard.queue, 0.0) + count / self._weights.get(
                shard.queue, 1
            )
        return visits

    def _woken(self, queue: str) -> int:
        """How many shards of a queue that are still to be visited are not deep."""
        return sum(shard.queue == queue for shard, deep in self._deep.items() if not deep)

    def _in_turn(self) -> list[ShardKeys]:
        shards = list(self._deep)
        if len(shards) == 1:
            return shards
        queues = {shard.queue for shard in shards}
        if len(queues) > 1:
            # A queue that slept saves up no more than a batch.
            for queue in queues:
                self._passed[queue] = max(self._passed.get(queue, self._level), self._level - _SAVED)
            shards.sort(key=lambda shard: self._passed[shard.queue])
            self._level = max(self._level, self._passed[shards[0].queue])
        return shards
