"""Waiting for the end of a job, without a poll for each waiter.

All waiters of a client share one socket, and one subscription a job. Who waits subscribes first, then marks
the job `waited` and reads its status, so that an end between the two is seen. What was published while the
socket was down is gone: therefore every job is read again after a reconnect, and all of them every 5 s, in
one pipeline.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from capelin import lua
from capelin._patience import Patience
from capelin.connection import Connection
from capelin.errors import Unreachable
from capelin.keys import ShardKeys
from capelin.lua import Watched

REREAD_SECONDS = 5.0
_MOST_A_PIPELINE = 500
_ENDED = frozenset({"completed", "failed", "cancelled"})


class _Wait:
    """A job that is waited for, by one or more."""

    def __init__(self, shard: ShardKeys, uid: str) -> None:
        self.shard, self.uid = shard, uid
        self.channel = shard.result_channel(uid)
        self.ended: asyncio.Future[Watched | None] = asyncio.get_running_loop().create_future()
        self.waiters = 0
        self.task: asyncio.Task[None] | None = None

    def settle(self, reply: Any) -> None:
        """Take in what `watch` replied."""
        if self.ended.done() or isinstance(reply, Unreachable):
            return
        if isinstance(reply, Exception):
            self.ended.set_exception(reply)
            self.ended.exception()  # the last waiter may have gone
        elif reply is None or reply.status in _ENDED:
            self.ended.set_result(reply)


class Ends:
    """Ends of jobs, for one client.

    Args:
        connection: Where.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._waits: dict[str, _Wait] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._rereading: asyncio.Task[None] | None = None

    async def wait(self, shard: ShardKeys, uid: str) -> Watched | None:
        """Wait until a job has ended; through outages, for as long as the caller likes.

        Returns:
            Its end; None when there is no record.

        Raises:
            RedisRefused: Redis answered with an error.
        """
        channel = shard.result_channel(uid)
        wait = self._waits.get(channel)
        if wait is None:
            wait = self._waits[channel] = _Wait(shard, uid)
            wait.task = asyncio.get_running_loop().create_task(self._follow(wait))
            self._set_timer()
        wait.waiters += 1
        try:
            return await asyncio.shield(wait.ended)
        finally:
            wait.waiters -= 1
            if not wait.waiters:
                self._forget(wait)

    async def look(self, shard: ShardKeys, uid: str) -> Watched | None:
        """Read how a job stands now."""
        return await self._connection.run(lua.watch(shard, uid=uid))

    async def close(self) -> None:
        """End every wait; who waits gets CancelledError."""
        tasks = [wait.task for wait in self._waits.values() if wait.task is not None]
        if self._rereading is not None:
            tasks.append(self._rereading)
        for wait in list(self._waits.values()):
            wait.ended.cancel()
            self._forget(wait)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _forget(self, wait: _Wait) -> None:
        if self._waits.get(wait.channel) is wait:
            del self._waits[wait.channel]
        if wait.task is not None:
            wait.task.cancel()
        if not self._waits and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _follow(self, wait: _Wait) -> None:
        patience = Patience()
        while not wait.ended.done():
            try:
                async with self._connection.subscribe(wait.channel) as messages:
                    # A look that is not answered has not marked the job either: all over again.
                    wait.settle(await self.look(wait.shard, wait.uid))
                    patience = Patience()
                    while not wait.ended.done():
                        await anext(messages)
                        wait.settle(await self.look(wait.shard, wait.uid))
            except Unreachable:
                await patience.pause()
            except Exception as error:  # noqa: BLE001 -- whoever waits gets it
                wait.settle(error)

    async def _look_at(self, waits: Sequence[_Wait]) -> None:
        replies = await self._connection.run_many([lua.watch(wait.shard, uid=wait.uid) for wait in waits])
        for wait, reply in zip(waits, replies, strict=True):
            wait.settle(reply)

    def _set_timer(self) -> None:
        if self._timer is None and self._waits:
            self._timer = asyncio.get_running_loop().call_later(REREAD_SECONDS, self._begin_rereading)

    def _begin_rereading(self) -> None:
        self._timer = None
        if self._rereading is None:
            self._rereading = asyncio.get_running_loop().create_task(self._reread())

    async def _reread(self) -> None:
        try:
            waits = list(self._waits.values())
            for begin in range(0, len(waits), _MOST_A_PIPELINE):
                await self._look_at(waits[begin : begin + _MOST_A_PIPELINE])
        finally:
            self._rereading = None
            self._set_timer()
