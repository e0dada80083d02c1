"""One socket to one Redis server: commands go out in order, replies come back in order, many callers share it.

A command is sent at most once, whatever happens: nothing here retries. A caller that is cancelled leaves its place in
the line, so that its late reply is read and dropped and everybody behind it gets their own. When the socket is lost, each
caller gets the replies that were read, and the reason why there are no more.

Silence is counted in turns of the event loop, not by the clock alone: a loop that was blocked for longer than the timeout
reads the answer that waited for it, and does not take its own absence for the server's.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

import hiredis

Command = tuple[str | bytes | int | float, ...]

_TICKS = 4


class Refusal(Exception):  # noqa: N818 -- a reply, kept as a value
    """An error reply, as the server sent it."""

    @property
    def message(self) -> str:
        return str(self)

    @property
    def code(self) -> str:
        """The first word: `NOSCRIPT`, `MOVED`, `ERR`, …"""
        return str(self).partition(" ")[0]


class _GarbledError(Exception):
    """What came over the socket is not RESP."""


class Wire(Protocol):
    """What the rest of the package needs of a line to a server; `SocketWire` and the in-process one have it.

    Attributes:
        name: The server, for people.
        loaded: The SHA-1 of every script that was loaded over this wire.
        lost: Why there is no connection any more; None while there is one.
        on_message: Receives what arrives without having been asked for (pub/sub).
        on_lost: Called once, when the connection is lost or closed.
    """

    name: str
    loaded: set[str]
    lost: str | None
    on_message: Callable[[list[Any]], None] | None
    on_lost: Callable[[], None] | None

    def send(self, commands: Sequence[Command]) -> asyncio.Future[list[Any]]:
        """Send commands; the result holds their replies, fewer if the connection was lost before the last."""
        ...

    def check(self, command: Command) -> None:
        """Raise what `send` would raise for an argument that cannot be written: TypeError or UnicodeError."""
        ...

    def drop(self, why: str) -> None:
        """Close at once; whoever waits gets what was read so far."""
        ...

    async def close(self) -> None:
        """Close and wait until the socket is gone."""
        ...


class _Batch:
    """Commands that were sent together."""

    __slots__ = ("future", "replies", "want")

    def __init__(self, future: asyncio.Future[list[Any]], want: int) -> None:
        self.future, self.want = future, want
        self.replies: list[Any] = []


class SocketWire(asyncio.Protocol):
    """A `Wire` over a socket. Made by `capelin.connection.dial.dial`, which logs in first.

    Args:
        name: The server, for people.
        silence: Seconds without a byte from the server, while it owes a reply, after which the connection counts as lost.
    """

    def __init__(self, *, name: str, silence: float) -> None:
        self.name, self.silence = name, silence
        self.loaded: set[str] = set()
        self.lost: str | None = None
        self.on_message: Callable[[list[Any]], None] | None = None
        self.on_lost: Callable[[], None] | None = None
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._owed: deque[_Batch] = deque()
        self._out: list[bytes] = []
        self._reader = hiredis.Reader(protocolError=_GarbledError, replyError=Refusal, notEnoughData=...)
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self._tick: asyncio.TimerHandle | None = None
        self._heard = False
        self._unsent = 0
        self._silent_ticks = 0

    def __repr__(self) -> str:
        return f"<SocketWire {self.name}{f' lost: {self.lost}' if self.lost else ''}>"

    def send(self, commands: Sequence[Command]) -> asyncio.Future[list[Any]]:
        """As `Wire.send`.

        Raises:
            TypeError, UnicodeError: For an argument that cannot be written; nothing was sent.
        """
        data = pack(commands)
        future: asyncio.Future[list[Any]] = self._loop.create_future()
        if self.lost is not None or self._transport is None or not commands:
            future.set_result([])
            return future
        owed = self._owed
        if owed:
            # Replies are under way: what else is sent in this turn of the loop goes out in one write.
            if not self._out:
                self._loop.call_soon(self._flush)
            self._out.append(data)
        else:
            self._transport.write(data)
            if self._tick is None:
                self._watch()
        owed.append(_Batch(future, len(commands)))
        return future

    def check(self, command: Command) -> None:
        hiredis.pack_command(command)

    def drop(self, why: str) -> None:
        self._lose(why)
        if self._transport is not None:
            self._transport.abort()

    async def close(self) -> None:
        self._lose("the connection was closed")
        if self._transport is not None:
            self._transport.close()
            await asyncio.wait([self._gone], timeout=1)
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._heard = True
        reader, owed = self._reader, self._owed
        reader.feed(data)
        try:
            while (reply := reader.gets()) is not ...:
                if not owed or (self.on_message is not None and _is_push(reply)):
                    self._unasked(reply)
                    continue
                batch = owed[0]
                batch.replies.append(reply)
                if len(batch.replies) == batch.want:
                    owed.popleft()
                    if not batch.future.done():
                        batch.future.set_result(batch.replies)
        except _GarbledError as error:
            self.drop(f"it does not speak Redis's protocol: {error}")

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose(f"the connection broke: {exc}" if exc else "the server closed the connection")
        if not self._gone.done():
            self._gone.set_result(None)

    def _flush(self) -> None:
        if self._out and self._transport is not None:
            self._transport.write(b"".join(self._out))
        self._out.clear()

    def _unasked(self, reply: Any) -> None:
        if isinstance(reply, list) and self.on_message is not None:
            self.on_message(cast(list[Any], reply))
        elif isinstance(reply, Refusal):
            self.drop(reply.message)

    def _lose(self, why: str) -> None:
        if self.lost is not None:
            return
        self.lost = why
        self._out.clear()
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None
        owed = list(self._owed)
        self._owed.clear()
        for batch in owed:
            if not batch.future.done():
                batch.future.set_result(batch.replies)
        if self.on_lost is not None:
            self.on_lost()

    def _watch(self) -> None:
        self._heard, self._silent_ticks = False, -1
        self._tick = self._loop.call_later(self.silence / _TICKS, self._ticked)

    def _ticked(self) -> None:
        self._tick = None
        if not self._owed:
            return
        unsent = self._transport.get_write_buffer_size() if self._transport is not None else 0
        if self._heard or 0 < unsent < self._unsent:
            self._silent_ticks = -1
        self._heard, self._unsent = False, unsent
        self._silent_ticks += 1
        if self._silent_ticks >= _TICKS:
            self.drop(f"no answer within {self.silence:g} s")
            return
        self._tick = self._loop.call_later(self.silence / _TICKS, self._ticked)


def _is_push(reply: Any) -> bool:
    return reply.__class__ is list and reply and reply[0] == b"message"


def pack(commands: Sequence[Command]) -> bytes:
    """Commands as they go over the socket.

    Raises:
        TypeError, UnicodeError: For an argument that cannot be written.
    """
    if len(commands) == 1:
        return hiredis.pack_command(commands[0])
    return b"".join([hiredis.pack_command(command) for command in commands])
