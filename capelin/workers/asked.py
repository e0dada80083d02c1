"""Takes on their way, and the slots that are promised to what they may bring."""

import asyncio
from collections.abc import Iterable

from capelin.keys import ShardKeys
from capelin.workers.ready import Visit
from capelin.workers.slots import Slots


class Asked:
    """What a worker has asked for and has no answer to.

    Attributes:
        shards: How many takes are on their way to each shard. The heartbeat's thread reads it.
        count: How many slots are promised to them.
    """

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self.shards: dict[ShardKeys, int] = {}
        self.count = 0
        self._settled = asyncio.Event()
        self._settled.set()

    def begin(self, visits: Iterable[Visit]) -> None:
        """These were sent; their slots were promised when they were planned."""
        shards = self.shards
        for visit in visits:
            self.count += visit.count
            shards[visit.shard] = shards.get(visit.shard, 0) + 1
        if self.count:
            self._settled.clear()

    def answered(self, visits: Iterable[Visit]) -> None:
        """They were answered, or never will be: their slots are free for what they brought, or for others."""
        shards = self.shards
        for visit in visits:
            self.count -= visit.count
            if shards[visit.shard] > 1:
                shards[visit.shard] -= 1
            else:
                del shards[visit.shard]
            self._slots.redeem(visit.shard.queue, visit.count)
        if not self.count:
            self._settled.set()

    async def settled(self) -> None:
        """Wait until none is on its way."""
        await self._settled.wait()
