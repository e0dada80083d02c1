"""Pub/sub over one shared wire: a thousand waiters for results cost one socket, not a thousand."""

import asyncio
from types import TracebackType
from typing import Any, Self

from capelin.connection.network import Line, Network
from capelin.connection.refusals import Refusal, to_error
from capelin.connection.wire import Wire
from capelin.errors import Unreachable


class Subscription:
    """Messages of one channel from the moment the `async with` is entered, as an async iterator of bytes.

    Raises:
        Unreachable: On entering, or from the iteration once the connection was lost: what is published until
            a new subscription is entered is not seen.

    Example:
        async with connection.subscribe("news") as messages:
            async for message in messages: ...
    """

    def __init__(self, channel: str, subscriber: "Subscriber") -> None:
        self.channel = channel
        self._subscriber = subscriber
        self._arrived: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._end: Unreachable | None = None

    async def __aenter__(self) -> Self:
        await self._subscriber.add(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._subscriber.remove(self)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._end is not None and self._arrived.empty():
            raise self._end
        message = await self._arrived.get()
        if message is None:
            raise self._end or StopAsyncIteration
        return message

    def arrived(self, message: bytes) -> None:
        """Called by the subscriber."""
        self._arrived.put_nowait(message)

    def ended(self, error: Unreachable) -> None:
        """Called by the subscriber when the connection is lost."""
        self._end = error
        self._arrived.put_nowait(None)


class _Channel:
    """A channel that is subscribed to on the server's side."""

    def __init__(self, confirmed: asyncio.Future[list[Any]]) -> None:
        self.confirmed = confirmed
        self.members: dict[Subscription, None] = {}


class Subscriber:
    """The subscriptions of one connection.

    Args:
        network: Opens the wire.
        url: The URL as it may be printed.
        interval: Seconds between signs of life; a server that vanished is noticed by the one that it owes.
    """

    def __init__(self, network: Network, *, url: str, interval: float) -> None:
        self._network, self._url, self._interval = network, url, interval
        self._line = Line(self._open, url=url)
        self._channels: dict[str, _Channel] = {}
        self._beat: asyncio.TimerHandle | None = None

    async def add(self, subscription: Subscription) -> None:
        """Return when the server has confirmed the subscription.

        Raises:
            Unreachable, RedisRefused: It has not.
        """
        wire = await self._line.get()
        name = subscription.channel
        channel = self._channels.get(name)
        if channel is None:
            channel = self._channels[name] = _Channel(wire.send([("SUBSCRIBE", name)]))
        channel.members[subscription] = None
        try:
            replies = await asyncio.shield(channel.confirmed)
        except BaseException:
            self.remove(subscription)
            raise
        reply = replies[0] if replies else None
        if wire.lost is not None or isinstance(reply, Refusal):
            self.remove(subscription)
            if isinstance(reply, Refusal):
                raise to_error(reply, url=self._url, server=wire.name)
            raise Unreachable(url=self._url, cause=f"{wire.name}: {wire.lost}")
        if self._beat is None:
            self._beat = asyncio.get_running_loop().call_later(self._interval, self._show_life)

    def remove(self, subscription: Subscription) -> None:
        """The last of a channel ends it on the server too."""
        channel = self._channels.get(subscription.channel)
        if channel is None or subscription not in channel.members:
            return
        del channel.members[subscription]
        if not channel.members:
            del self._channels[subscription.channel]
            if (wire := self._line.up) is not None:
                wire.send([("UNSUBSCRIBE", subscription.channel)])

    async def close(self) -> None:
        """Close the wire; whoever iterates gets `Unreachable`."""
        if self._beat is not None:
            self._beat.cancel()
        await self._line.close()

    async def _open(self) -> Wire:
        wire = await self._network.open(None)
        wire.on_message = self._deliver
        wire.on_lost = lambda: self._lost(wire)
        if wire.lost is not None:
            raise Unreachable(url=self._url, cause=f"{wire.name}: {wire.lost}")
        return wire

    def _deliver(self, message: list[Any]) -> None:
        channel = self._channels.get(message[1].decode())
        for subscription in channel.members if channel is not None else ():
            subscription.arrived(message[2])

    def _lost(self, wire: Wire) -> None:
        channels, self._channels = self._channels, {}
        self._network.doubt()
        for channel in channels.values():
            for subscription in channel.members:
                subscription.ended(Unreachable(url=self._url, cause=f"{wire.name}: {wire.lost}"))

    def _show_life(self) -> None:
        self._beat = None
        if self._channels and (wire := self._line.up) is not None:
            wire.send([("PING",)])
            self._beat = asyncio.get_running_loop().call_later(self._interval, self._show_life)
