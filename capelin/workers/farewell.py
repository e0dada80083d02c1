"""The last word of a worker: nothing of it stays behind, neither its name nor starts it never heard of."""

from collections.abc import Iterable, Mapping, Sequence

import structlog

from capelin import lua
from capelin.connection import Connection
from capelin.keys import ShardKeys
from capelin.lua import OutcomeKind, OutcomeRow, RunningRow
from capelin.workers.limits import Limits

log = structlog.get_logger("capelin.worker")


class Farewell:
    """Takes one worker off its shards.

    Args:
        worker: Its id.
        layouts: Number of shards by queue.
    """

    def __init__(self, limits: Limits, layouts: Mapping[str, int], *, worker: str) -> None:
        self._limits = limits
        self._layouts = layouts
        self._worker = worker

    async def sign_off(
        self,
        connection: Connection,
        shards: Sequence[ShardKeys],
        running: Mapping[ShardKeys, Sequence[RunningRow]],
    ) -> None:
        """Remove stakes and consumers where nothing is pending.

        What is pending and not in ``running`` was delivered in a reply that was never read: it is handed
        back. Call this when no take is on its way.

        Raises:
            Unreachable, RedisRefused: The fleet finds out by itself, when the stakes end.
        """
        for shard in await self._leave(connection, shards):
            renewed = await connection.run(
                lua.renew(
                    shard,
                    worker=self._worker,
                    ttl=self._limits.ttl,
                    epoch=None,
                    staked=False,
                    running=running.get(shard, ()),
                )
            )
            if renewed.unknown:
                await self.hand_back(connection, shard, renewed.unknown)
                await self._leave(connection, [shard])

    async def hand_back(
        self, connection: Connection, shard: ShardKeys, starts: Iterable[tuple[str, int]]
    ) -> None:
        """Hand back starts (uid and token) that this process never began."""
        rows = [OutcomeRow(uid, token, OutcomeKind.RETURN.value) for uid, token in starts]
        limits = self._limits
        await connection.run(
            lua.finish(
                shard,
                worker=self._worker,
                resend_window=limits.resend_window,
                default_retention=limits.default_retention,
                most_finished=limits.most_finished(self._layouts.get(shard.queue, 1)),
                outcomes=rows,
            )
        )
        log.info("starts whose delivery was lost are handed back", shard=str(shard), jobs=len(rows))

    async def _leave(self, connection: Connection, shards: Sequence[ShardKeys]) -> list[ShardKeys]:
        """Return the shards where something is pending."""
        replies = await connection.run_many([lua.leave(shard, worker=self._worker) for shard in shards])
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return [shard for shard, gone in zip(shards, replies, strict=True) if not gone]
