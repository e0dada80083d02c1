"""How queues are cut into shards: read once for each queue, since every job's place depends on it.

A queue may be cut anew while this process goes on: a shard refuses what was placed by an older layout, and
the layout is read again then.
"""

import asyncio
import math
import time
from collections.abc import Iterable
from typing import Any

from capelin import lua
from capelin.connection import Connection
from capelin.errors import UnsupportedSchema
from capelin.keys import Keys
from capelin.lua import Layout
from capelin.settings import SCHEMA, Settings

LOOK_AGAIN = 10.0
"""Seconds after which a layout is read again that names older ones: once they are over, nobody asks there."""


class Queues:
    """The layouts that one client knows.

    Args:
        connection: Where.
        keys: The namespace.
        settings: ``shards`` holds for a queue that nobody used before.

    Attributes:
        known: The layouts that were read.
    """

    def __init__(self, connection: Connection, keys: Keys, settings: Settings) -> None:
        self._connection, self._keys, self._settings = connection, keys, settings
        self._floors: dict[str, int] = {}
        self._look_again_at = math.inf
        self.known: dict[str, Layout] = {}

    async def open(self, queues: Iterable[str]) -> dict[str, Layout]:
        """Return layouts, reading those that are not known yet and writing those of new queues.

        Raises:
            UnsupportedSchema: A newer major version of capelin wrote one of the queues.
            Unreachable, RedisRefused: One could not be read.
        """
        wanted = dict.fromkeys(queues)
        if missing := [queue for queue in wanted if queue not in self.known]:
            await self._read(missing)
        return {queue: self.known[queue] for queue in wanted}

    def forget_unsettled(self) -> None:
        """Have layouts that name older ones read again, if that was not done for a while."""
        if time.monotonic() >= self._look_again_at:
            self._look_again_at = math.inf
            for queue in [queue for queue, layout in self.known.items() if layout.homes]:
                del self.known[queue]

    def moved(self, queue: str, version: int) -> None:
        """A shard knows a layout of that version: have the queue's read again if ours is older."""
        self._floors[queue] = max(version, self._floors.get(queue, 1))
        if (layout := self.known.get(queue)) is not None and layout.version < version:
            del self.known[queue]

    async def _read(self, queues: list[str]) -> None:
        calls = [
            lua.open_queue(
                self._keys,
                queue,
                shards=self._settings.shards,
                schema=SCHEMA,
                floor=self._floors.get(queue, 1),
            )
            for queue in queues
        ]
        replies: list[Any]
        # The name is noted first or at the same time: a queue that has jobs is on the list.
        replies, noted = await asyncio.gather(
            self._connection.run_many(calls),
            self._connection.commands([("SADD", self._keys.queues, *queues)]),
        )
        for reply in (*noted, *replies):
            if isinstance(reply, Exception):
                raise reply
        for queue, layout in zip(queues, replies, strict=True):
            if layout.schema > SCHEMA:
                raise UnsupportedSchema(queue=queue, found=layout.schema, supported=SCHEMA)
            self.known[queue] = layout
            self._floors[queue] = max(layout.version, self._floors.get(queue, 1))
            if layout.homes:
                self._look_again_at = min(self._look_again_at, time.monotonic() + LOOK_AGAIN)
