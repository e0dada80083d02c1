"""What this worker owns: the shards whose lease it holds. Written by the heartbeat, read by the event loop.

Ownership decides only who waits on a shard, so a reader may be a moment behind: every transition is safe
from any worker.
"""

from capelin.keys import ShardKeys


class Ownership:
    """Owned shards with the epoch of each lease."""

    def __init__(self) -> None:
        self._epochs: dict[ShardKeys, int] = {}
        self._idle_others = 0

    def owns(self, shard: ShardKeys) -> bool:
        return shard in self._epochs

    def epoch(self, shard: ShardKeys) -> int | None:
        return self._epochs.get(shard)

    @property
    def shards(self) -> list[ShardKeys]:
        """A snapshot."""
        return list(self._epochs)

    @property
    def idle_others(self) -> int:
        """Other members that had free slots at the last renewal."""
        return self._idle_others

    def gained(self, shard: ShardKeys, epoch: int) -> None:
        self._epochs[shard] = epoch

    def lost(self, shard: ShardKeys) -> None:
        self._epochs.pop(shard, None)

    def saw_idle(self, others: int) -> None:
        self._idle_others = others
