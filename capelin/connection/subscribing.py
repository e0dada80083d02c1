"""Pub/sub over one shared wire: a thousand waiters for results cost one socket, not a thousand."""

import asyncio
from types import TracebackType
from typing import Any, Self

from capelin.connection.dial import refused
from capelin.connection.network import Network
from capelin.connection.wire import Refusal, Wire
from capelin.errors import Unreachable


class Subscription:
    """Messages of one channel, from the moment the `async with` was entered.

    >>> async def first(connection):
    ...     async with connection.subscribe("news") as messages:
    ...         return await anext(messages)

    Raises:
        Unreachable: On entering, or from the iteration when the connection was lost: what was published meanwhile is
            gone. Enter a new one.
    """

    def __init__(self, channel: str, subscriber: "Subscriber") -> None:
        self.channel = channel
        self._subscriber = subscriber
        self._queue: asyncio.Queue[bytes | Exception] = asyncio.Queue()
        self._ended: Exception | None = None

    async def __aenter__(self) -> Self:
        await self._subscriber.add(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._subscriber.remove(self)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._ended is not None and self._queue.empty():
            raise self._ended
        message = await self._queue.get()
        if isinstance(message, Exception):
            self._ended = message
            raise message
        return message

    def put(self, message: bytes | Exception) -> None:
        self._queue.put_nowait(message)


class Subscriber:
    """The subscriptions of one connection."""

    def __init__(self, network: Network, *, url: str, interval: float) -> None:
        self._network, self._url, self._interval = network, url, interval
        self._lock = asyncio.Lock()
        self._wire: Wire | None = None
        self._members: dict[str, set[Subscription]] = {}
        self._confirmed: dict[str, asyncio.Future[list[Any]]] = {}
        self._beat: asyncio.TimerHandle | None = None

    async def add(self, subscription: Subscription) -> None:
        async with self._lock:
            wire = self._wire
            if wire is None or wire.lost is not None:
                wire = self._wire = await self._open()
        channel = subscription.channel
        if channel not in self._members:
            self._members[channel] = set()
            self._confirmed[channel] = wire.send([("SUBSCRIBE", channel)])
        self._members[channel].add(subscription)
        try:
            replies = await asyncio.shield(self._confirmed[channel])
        except BaseException:
            self.remove(subscription)
            raise
        if not replies or isinstance(replies[0], Refusal):
            self.remove(subscription)
            if replies:
                raise refused(self._url, wire.name, replies[0])
            raise Unreachable(url=self._url, cause=f"{wire.name}: {wire.lost}")
        self._schedule()

    def remove(self, subscription: Subscription) -> None:
        members = self._members.get(subscription.channel)
        if members is None:
            return
        members.discard(subscription)
        if not members:
            del self._members[subscription.channel]
            self._confirmed.pop(subscription.channel, None)
            if self._wire is not None and self._wire.lost is None:
                self._wire.send([("UNSUBSCRIBE", subscription.channel)])

    async def close(self) -> None:
        if self._beat is not None:
            self._beat.cancel()
        if self._wire is not None:
            await self._wire.close()

    async def _open(self) -> Wire:
        wire = await self._network.open(None)
        wire.on_message = self._received
        wire.on_lost = lambda: self._lost(wire)
        return wire

    def _received(self, message: list[Any]) -> None:
        if message[0] != b"message":
            return
        for subscription in tuple(self._members.get(message[1].decode(), ())):
            subscription.put(message[2])

    def _lost(self, wire: Wire) -> None:
        if wire is not self._wire:
            return
        members, self._members = self._members, {}
        self._confirmed.clear()
        for group in members.values():
            for subscription in group:
                subscription.put(Unreachable(url=self._url, cause=f"{wire.name}: {wire.lost}"))

    def _schedule(self) -> None:
        if self._beat is None:
            self._beat = asyncio.get_running_loop().call_later(self._interval, self._ping)

    def _ping(self) -> None:
        """A peer that vanished without a word owes this reply, and the wire's silence is noticed."""
        self._beat = None
        if self._members and self._wire is not None and self._wire.lost is None:
            self._wire.send([("PING",)])
            self._schedule()
