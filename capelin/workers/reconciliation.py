"""Which shards a worker keeps a stake in, and which starts it holds there without knowing.

A take whose reply was lost may have started jobs. Its shard keeps a stake until renewals have brought them
home: what Redis holds running for this worker, and this worker did not know in two renewals running, is its
own, whatever the cause.
"""

import time
from collections import deque
from collections.abc import Callable

from capelin.keys import ShardKeys
from capelin.lua import Renewed

Unknown = list[tuple[str, int]]


class Reconciliation:
    """Keeps book of what renewals say about one worker's starts.

    Args:
        unanswered: Shards of takes that were not answered; the consumer appends, this removes.
        patience: Seconds for which a take that was not answered may still be carried out.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        unanswered: "deque[ShardKeys]",
        *,
        patience: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._unanswered = unanswered
        self._patience = patience
        self._clock = clock
        self._staked: dict[ShardKeys, None] = {}
        self._unsure: dict[ShardKeys, float] = {}
        self._unknown: dict[ShardKeys, Unknown] = {}

    def shards(self) -> list[ShardKeys]:
        """The shards to renew besides those that are owned or where something is known to run."""
        while self._unanswered:
            self._unsure[self._unanswered.popleft()] = self._clock() + self._patience
        return [*self._unsure, *self._staked]

    def unsure(self, shard: ShardKeys) -> bool:
        """Whether the shard needs a stake though nothing is known to run there."""
        return shard in self._unsure

    def read(self, shard: ShardKeys, renewed: Renewed) -> Unknown:
        """Read a renewal; returns the starts to adopt (uid and token), in Redis's order."""
        if renewed.pending:
            self._staked[shard] = None
        else:
            self._staked.pop(shard, None)
        if not renewed.unknown:
            self._unknown.pop(shard, None)
            until = self._unsure.get(shard)
            if until is not None and until < self._clock():
                del self._unsure[shard]
            return []
        before = self._unknown.get(shard, [])
        twice = [start for start in renewed.unknown if start in before]
        self._unknown[shard] = [start for start in renewed.unknown if start not in before]
        self._unsure[shard] = self._clock() + self._patience
        return twice
