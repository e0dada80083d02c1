"""Finds jobs in shards that no layout names, and has them served.

A reshard that Redis forgot (a failover lost it) leaves such shards where a client had read the new layout and
placed jobs by it. A worker that knew the layout looks before it leaves its shards (`Territory`); this is for
when none did. Whoever owns a queue's first shard does it, so that one does.
"""

import time
from collections.abc import Callable, Collection

import structlog

from capelin import lua
from capelin.connection import Connection
from capelin.errors import CapelinError
from capelin.keys import Keys, ShardKeys
from capelin.lua import Layout
from capelin.resharding import seal_each, unnamed_shards
from capelin.settings import SCHEMA
from capelin.workers.territory import Territory

log = structlog.get_logger("capelin.worker")

EVERY = 60.0
"""Seconds between two looks at a queue."""
SOON = 10.0
"""Seconds after which to look for the first time, and where a layout is another one: for so long a client may
go by what it knew.
"""


class Strays:
    """What one worker looks for, in one queue a round: the one that is due for longest.

    Args:
        keys: The namespace.
        territory: Its shards.
        clock: Monotonic seconds.
    """

    def __init__(
        self, keys: Keys, territory: Territory, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._keys, self._territory, self._clock = keys, territory, clock
        self._not_before = 0.0
        self._next_at: dict[str, float] = {}
        self._versions: dict[str, int] = {}

    async def run(self, connection: Connection, owned: Collection[ShardKeys]) -> bool:
        """Look, if it is time; return whether other shards are to be served now."""
        now = self._clock()
        due = [
            (at, queue)
            for queue, layout in self._territory.layouts.items()
            if (at := self._due(queue, layout, now)) <= now and self._keys.shard(queue, 0) in owned
        ]
        if not due or now < self._not_before:
            return False
        _, queue = min(due)
        reach = self._territory.reach[queue]
        try:
            await self._look(connection, queue)
        except CapelinError as error:
            # A server that does not answer costs a round its patience: not every round, nor for every queue.
            self._not_before = self._next_at[queue] = now + SOON
            log.debug("shards that no layout names could not be looked at", queue=queue, error=str(error))
        else:
            self._next_at[queue] = now + EVERY
            self._versions[queue] = self._territory.layouts[queue].version
        return self._territory.reach[queue] != reach

    def _due(self, queue: str, layout: Layout, now: float) -> float:
        at = self._next_at.setdefault(queue, now + SOON)  # a worker that lives for seconds has no time for it
        if self._versions.setdefault(queue, layout.version) != layout.version:
            self._versions[queue] = layout.version
            at = self._next_at[queue] = min(at, now + SOON)
        return at

    async def _look(self, connection: Connection, queue: str) -> None:
        layout = await self._open(connection, queue, floor=1)
        found = await unnamed_shards(connection, self._keys, queue, reach=self._territory.reach[queue])
        newest = max((one.heard for one in found), default=0)
        holding = [(one, one.told) for one in found if one.told is not None and not one.told.empty]
        if holding:
            shards = [one.shard.shard for one, _ in holding]
            log.warning("shards that no layout names hold jobs; they are served", queue=queue, shards=shards)
        if unread := [str(one.shard) for one in found if one.told is None]:
            log.warning("shards that no layout names cannot be read; what is there waits", shards=unread)
        if any(one.heard == layout.version and (told.live or told.ended) for one, told in holding):
            newest = max(newest, layout.version + 1)  # placed by another layout that had the same version
        if holding or newest > layout.version:
            held = max((one.shard.shard for one, _ in holding), default=-1) + 1
            layout = await self._open(connection, queue, floor=newest, held=held)
        # From here on nothing comes to them by a layout that was lost.
        behind = [one.shard for one in found if one.heard < layout.version]
        await seal_each(connection, behind, version=layout.version)

    async def _open(self, connection: Connection, queue: str, *, floor: int, held: int = 0) -> Layout:
        known = self._territory.layouts[queue]
        call = lua.open_queue(
            self._keys,
            queue,
            shards=known.shards,
            schema=SCHEMA,
            floor=max(known.version, floor),
            held=held,
        )
        layout = await connection.run(call)
        if layout.reach >= self._territory.reach[queue]:
            self._territory.saw(queue, layout)
        else:
            self._territory.look_soon()
        return layout
