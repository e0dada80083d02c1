"""How queues are cut into shards: read once for each queue, since every job's place depends on it."""

import asyncio
from collections.abc import Iterable
from typing import Any

from capelin import lua
from capelin.connection import Connection
from capelin.errors import UnsupportedSchema
from capelin.keys import Keys
from capelin.lua import Layout
from capelin.settings import SCHEMA, Settings


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

    async def _read(self, queues: list[str]) -> None:
        calls = [
            lua.open_queue(self._keys, queue, shards=self._settings.shards, schema=SCHEMA) for queue in queues
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
