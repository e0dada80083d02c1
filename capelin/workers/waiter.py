"""Waits for work without polling: one `BLPOP` over the wake lists of the owned shards.

A token says that something appeared in a shard whose owner had left a note that it waits. After a token, a
timeout or a reconnection the owner takes again, so that a token that died with a connection costs one wait.
"""

import asyncio
from collections.abc import Callable

import structlog

from capelin.connection import Connection
from capelin.errors import CapelinError
from capelin.keys import ShardKeys
from capelin.workers.backoff import Backoff
from capelin.workers.ownership import Ownership

log = structlog.get_logger("capelin.worker")


class Waiter:
    """The wait of one worker.

    Args:
        notify: Told of each shard to take from.
        block: The longest wait, seconds.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        ownership: Ownership,
        notify: Callable[[ShardKeys], None],
        block: float,
    ) -> None:
        self._connection = connection
        self._ownership = ownership
        self._notify = notify
        self._block = block
        self._changed = asyncio.Event()

    def changed(self) -> None:
        """Ownership changed: wait on the right lists."""
        self._changed.set()

    async def run(self) -> None:
        """Wait until cancelled."""
        backoff = Backoff()
        while True:
            self._changed.clear()
            shards = {shard.wake: shard for shard in self._ownership.shards}
            if not shards:
                await self._changed.wait()
                continue
            pop = asyncio.ensure_future(self._connection.pop(list(shards), self._block))
            change = asyncio.ensure_future(self._changed.wait())
            try:
                await asyncio.wait([pop, change], return_when=asyncio.FIRST_COMPLETED)
            finally:
                change.cancel()
                if not pop.done():
                    # The connection keeps the wait or pushes back what it pops.
                    pop.cancel()
            if not pop.done():
                await asyncio.wait([pop])
            if pop.cancelled():
                continue
            error = pop.exception()
            if error is not None:
                if not isinstance(error, CapelinError):
                    raise error
                log.warning("waiting for work failed; trying again", error=str(error))
                await backoff.sleep()
                self._take_all(shards)
                continue
            backoff.reset()
            key = pop.result()
            if key is None:
                self._take_all(shards)
            elif self._ownership.owns(shards[key]):
                self._notify(shards[key])
            else:
                await self._push_back(key)

    async def _push_back(self, key: str) -> None:
        """A token of a shard that is somebody else's by now."""
        try:
            await self._connection.command("LPUSH", key, "1", key=key)
        except CapelinError as error:
            # The new owner took when it became the owner, and looks again when its wait is over.
            log.warning("a wake token could not be pushed back", error=str(error))

    def _take_all(self, shards: dict[str, ShardKeys]) -> None:
        for shard in shards.values():
            if self._ownership.owns(shard):
                self._notify(shard)
