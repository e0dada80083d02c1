"""Waits for work without polling: one `BLPOP` over the wake lists of the owned shards.

A token says that something appeared in a shard whose owner had left a note that it waits. After a token, a
timeout or a reconnection the owner takes again, so that a token that died with a connection costs one wait.

An idle worker waits on when that take is answered, which leaves the next note: till then it has nothing to do
but to start what the take brings. A busy one waits on at once, or its shards would stand in line for it, each
for a round trip and a take.
"""

import asyncio
from collections.abc import Callable

import structlog

from capelin._backoff import Backoff
from capelin.connection import Connection
from capelin.errors import CapelinError
from capelin.keys import ShardKeys
from capelin.workers.ownership import Ownership

log = structlog.get_logger("capelin.worker")


class Waiter:
    """The wait of one worker.

    Args:
        notify: Told of each shard to take from.
        woken: Told of one that a token came from, in the callback that read it; returns when to wait on.
        block: The longest wait, seconds.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        ownership: Ownership,
        notify: Callable[[ShardKeys], None],
        woken: Callable[[ShardKeys], asyncio.Future[None]],
        block: float,
    ) -> None:
        self._connection = connection
        self._ownership = ownership
        self._notify = notify
        self._woken = woken
        self._block = block
        self._changed = asyncio.Event()
        self._shards: dict[str, ShardKeys] = {}
        self._cut_short: Callable[[], object] | None = None

    def changed(self) -> None:
        """Ownership changed: wait on the right lists."""
        self._changed.set()
        if self._cut_short is not None:
            self._cut_short()

    async def run(self) -> None:
        """Wait until cancelled."""
        backoff = Backoff()
        while True:
            self._changed.clear()
            self._shards = shards = {shard.wake: shard for shard in self._ownership.shards}
            if not shards:
                await self._changed.wait()
                continue
            try:
                key = await self._pop(list(shards))
            except CapelinError as error:
                log.warning("waiting for work failed; trying again", error=str(error))
                await backoff.sleep()
                self._take_all()
                continue
            backoff.reset()
            if self._changed.is_set() and key is None:
                continue
            if key is None:
                self._take_all()
            elif self._handle(key) is None:
                await self._push_back(key)

    async def _pop(self, keys: list[str]) -> str | None:
        """One wait, cut short when ownership changes; the connection loses nothing it pops meanwhile."""
        pop = asyncio.ensure_future(self._connection.pop(keys, self._block, handle=self._handle))
        self._cut_short = pop.cancel
        try:
            return await pop
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not pop.cancelled() or (task is not None and task.cancelling()):
                pop.cancel()
                raise
            return None
        finally:
            self._cut_short = None

    def _handle(self, key: str) -> asyncio.Future[None] | None:
        shard = self._shards.get(key)
        return self._woken(shard) if shard is not None and self._ownership.owns(shard) else None

    async def _push_back(self, key: str) -> None:
        """A token of a shard that is somebody else's by now."""
        try:
            await self._connection.command("LPUSH", key, "1", key=key)
        except CapelinError as error:
            # The new owner took when it became the owner, and looks again when its wait is over.
            log.warning("a wake token could not be pushed back", error=str(error))

    def _take_all(self) -> None:
        for shard in self._shards.values():
            if self._ownership.owns(shard):
                self._notify(shard)
