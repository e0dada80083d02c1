"""The shards of the queues that a worker serves. A queue may be cut anew while the worker goes on.

Written by the heartbeat, read by the event loop; a reader may be a moment behind, as every transition is safe
from any worker.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import structlog

from capelin import lua
from capelin.connection import Connection
from capelin.errors import CapelinError
from capelin.keys import Keys, ShardKeys
from capelin.lua import Layout
from capelin.resharding import ASKS_ONLY, reach_of, seal_all
from capelin.settings import SCHEMA

log = structlog.get_logger("capelin.worker")

LOOK_AGAIN = 10.0
"""Seconds. Whoever cuts a queue anew tells the fleet; this is for when that was lost."""


class Territory:
    """What one worker serves.

    Args:
        keys: The namespace.
        layouts: How its queues are cut, by name.

    Attributes:
        reach: Shards that may hold anything, by queue: all of them are served.
        fewest: The number by which limits for a whole queue are divided, by queue.
    """

    def __init__(self, keys: Keys, layouts: Mapping[str, Layout]) -> None:
        self._keys = keys
        self._layouts = dict(layouts)
        self._look_at = time.monotonic() + LOOK_AGAIN
        self.reach = {queue: layout.reach for queue, layout in layouts.items()}
        self.fewest = {queue: layout.fewest for queue, layout in layouts.items()}
        self._shards = self._all_shards()

    @property
    def layouts(self) -> Mapping[str, Layout]:
        """How the queues are cut, as last read."""
        return self._layouts

    def shards(self) -> Sequence[ShardKeys]:
        """Every shard; the same sequence until one is more or less, since thieves ask many times a second."""
        return self._shards

    def _all_shards(self) -> Sequence[ShardKeys]:
        return tuple(
            self._keys.shard(queue, number) for queue, reach in self.reach.items() for number in range(reach)
        )

    def look_soon(self) -> None:
        """Something has changed: read the layouts in the next round."""
        self._look_at = 0.0

    async def look(self, connection: Connection) -> bool:
        """Read the layouts, if it is time; return whether other shards are to be served now."""
        if time.monotonic() < self._look_at:
            return False
        self._look_at = time.monotonic() + LOOK_AGAIN
        known = dict(self._layouts)
        replies = await connection.run_many(
            [
                # What we know is what is written again after a Redis has lost everything.
                lua.open_queue(self._keys, queue, shards=layout.shards, schema=SCHEMA, floor=layout.version)
                for queue, layout in known.items()
            ]
        )
        changed = False
        for queue, reply in zip(known, replies, strict=True):
            if isinstance(reply, Layout):
                layout = await self._with_what_is_held(connection, queue, reply)
                changed = self.saw(queue, layout) or changed
        return changed

    async def _with_what_is_held(self, connection: Connection, queue: str, layout: Layout) -> Layout:
        """Return a layout that names every shard which holds something.

        A shard is struck off when it is empty. But a Redis that lost the newest layout names fewer, too, and
        what lies in the others, perhaps on other nodes, is still there: whoever knows them looks before it
        leaves them.
        """
        before = self._layouts[queue]
        if layout.reach >= before.reach:
            return layout
        try:
            reach = reach_of(await seal_all(connection, self._keys, queue, before, version=ASKS_ONLY))
            if reach <= layout.reach:
                return layout
            log.warning("shards of a lost layout hold jobs; they are served", queue=queue, shards=reach)
            return await connection.run(
                lua.open_queue(
                    self._keys,
                    queue,
                    shards=layout.shards,
                    schema=SCHEMA,
                    floor=layout.version,
                    held=reach,
                )
            )
        except CapelinError:
            return replace(layout, reach=before.reach)  # nobody knows yet; it is looked at again

    def saw(self, queue: str, layout: Layout) -> bool:
        """Take over what was read; return whether other shards are to be served now."""
        before = self._layouts[queue]
        self._layouts[queue] = layout
        self.fewest[queue] = layout.fewest
        if layout.version != before.version:
            log.info("a queue was cut anew", queue=queue, before=before.shards, shards=layout.shards)
        if layout.reach == before.reach:
            return False
        self.reach[queue] = layout.reach
        self._shards = self._all_shards()
        return True
