"""One socket to one Redis server: commands go out in order, replies come in in order, many callers share it.

A command is sent at most once, whatever happens: nothing here sends again. A caller that is cancelled leaves
its place in the line, so that its late reply is read and dropped and everybody behind it gets their own. When
the socket is lost, each caller gets the replies that were read, and the reason why there are no more.

Silence is counted in turns of the event loop, not by the clock alone: a loop that was blocked for longer than
the timeout reads the answer that waited for it, and does not take its own absence for the server's.
"""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import hiredis

from capelin.connection.refusals import Refusal

if TYPE_CHECKING:
    from capelin.connection.confirming import Confirmer

Argument = str | bytes | int | float
Command = tuple[Argument, ...]

_TICKS = 4  # how often silence is looked at within its limit

# hiredis's own annotation says that a command has exactly one word.
_pack = cast(Callable[[Command], bytes], hiredis.pack_command)  # pyright: ignore[reportUnknownMemberType]


class Wire(ABC):
    """A line to a server: `SocketWire`, or `MemoryWire` without a socket.

    Attributes:
        name: The server, for people.
        loaded: The SHA-1 of every script that was loaded over this wire.
        confirmers: Who asks over this wire how many copies there are, by the question.
        lost: Why there is no connection any more; None while there is one.
        on_message: Receives what is pushed to subscribers; must not raise.
        on_lost: Called once, when the connection is lost or closed; must not raise.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.loaded: set[str] = set()
        self.confirmers: dict[Command, Confirmer] = {}
        self.lost: str | None = None
        self.on_message: Callable[[list[Any]], None] | None = None
        self.on_lost: Callable[[], None] | None = None
        self._loop = asyncio.get_running_loop()
        self._owed: deque[_Batch] = deque()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}{f' lost: {self.lost}' if self.lost else ''}>"

    def send(
        self, commands: Sequence[Command | bytes], *, at_once: Callable[[list[Any]], None] | None = None
    ) -> asyncio.Future[list[Any]]:
        """Send commands; the result holds their replies, fewer if the connection was lost before the last.

        Args:
            commands: What to send.
            at_once: Told of the replies, if all are there, in the callback that reads the last one, before
                whoever awaits them; must not raise.

        Raises:
            TypeError, ValueError: For an argument that cannot be written; nothing was sent.
        """
        data = pack(commands)
        future: asyncio.Future[list[Any]] = self._loop.create_future()
        if self.lost is not None or not commands:
            future.set_result([])
        else:
            self._write(data)
            self._owed.append(_Batch(future, len(commands), at_once))
        return future

    def drop(self, why: str) -> None:
        """Close at once; whoever waits gets what was read so far."""
        if self.lost is not None:
            return
        self.lost = why
        self._cut()
        owed = list(self._owed)
        self._owed.clear()
        for batch in owed:
            batch.end()
        if self.on_lost is not None:
            self.on_lost()

    @abstractmethod
    async def close(self) -> None:
        """Close and wait until the connection is gone."""

    @abstractmethod
    def _write(self, data: bytes) -> None:
        """Put commands on their way, behind those before."""

    @abstractmethod
    def _cut(self) -> None:
        """End the connection at once."""

    def _received(self, reply: Any) -> None:
        """Hand a reply to the batch that it belongs to."""
        if self.on_message is not None and _is_message(reply):
            self.on_message(reply)
        elif self._owed:
            batch = self._owed[0]
            batch.replies.append(reply)
            if len(batch.replies) == batch.size:
                self._owed.popleft()
                if batch.at_once is not None:
                    batch.at_once(batch.replies)
                batch.end()
        else:
            self.drop(reply.message if isinstance(reply, Refusal) else "it sent what nobody asked for")


class SocketWire(Wire, asyncio.Protocol):
    """A `Wire` over a socket; a `Dialler` makes them and logs in.

    Args:
        name: The server, for people.
        silence: Seconds without a byte from the server, while it owes a reply, until it counts as lost.
    """

    def __init__(self, *, name: str, silence: float) -> None:
        super().__init__(name)
        self.silence = silence
        self._transport: asyncio.Transport | None = None
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self._unwritten: list[bytes] = []
        self._reader = hiredis.Reader(protocolError=_GarbledError, replyError=Refusal, notEnoughData=_MORE)
        self._tick: asyncio.TimerHandle | None = None
        self._heard = False
        self._silent_ticks = 0
        self._unsent = 0

    async def close(self) -> None:
        """As `Wire.close`."""
        self.drop("the connection was closed")
        if self._transport is not None:
            await asyncio.wait([self._gone])

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop when the socket is open."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Called by the event loop with what the server sent."""
        self._heard = True
        try:
            self._reader.feed(data)
            while self.lost is None and (reply := self._reader.gets()) is not _MORE:
                self._received(reply)
        except _GarbledError as error:
            self.drop(f"it does not speak the protocol of Redis: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop when the socket is gone."""
        self.drop(f"the connection broke: {exc}" if exc else "the server closed the connection")
        if not self._gone.done():
            self._gone.set_result(None)

    def listened(self) -> None:
        """Called by a timer several times within `silence`: has anything moved since the last time?"""
        self._tick = None
        if not self._owed or self._transport is None:
            return
        unsent = self._transport.get_write_buffer_size()
        if self._heard or unsent < self._unsent:
            self._silent_ticks = 0
        else:
            self._silent_ticks += 1
        self._heard, self._unsent = False, unsent
        if self._silent_ticks >= _TICKS:
            self.drop(f"no answer within {self.silence:g} s")
            return
        self._tick = self._loop.call_later(self.silence / _TICKS, self.listened)

    def _write(self, data: bytes) -> None:
        if self._transport is None:
            raise RuntimeError("a wire is used after it was dialled")
        if not self._owed:
            self._transport.write(data)
            if self._tick is None:
                self._heard, self._silent_ticks = True, 0
                self._tick = self._loop.call_later(self.silence / _TICKS, self.listened)
            return
        # A reply is under way: whatever else is sent in this turn of the loop goes out in one write.
        if not self._unwritten:
            self._loop.call_soon(self._flush)
        self._unwritten.append(data)

    def _flush(self) -> None:
        if self._unwritten and self._transport is not None:
            self._transport.write(b"".join(self._unwritten))
            self._unwritten.clear()

    def _cut(self) -> None:
        self._unwritten.clear()
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None
        if self._transport is not None:
            self._transport.abort()


def pack(commands: Sequence[Command | bytes]) -> bytes:
    """Commands as they go over the socket; those that are bytes were packed before.

    Raises:
        TypeError, ValueError: For an argument that cannot be written.
    """
    if len(commands) == 1:
        [command] = commands
        return command if isinstance(command, bytes) else _pack(command)
    return b"".join([command if isinstance(command, bytes) else _pack(command) for command in commands])


class _Batch:
    """Commands that were sent together, and the replies so far."""

    __slots__ = ("at_once", "future", "replies", "size")

    def __init__(
        self, future: asyncio.Future[list[Any]], size: int, at_once: Callable[[list[Any]], None] | None
    ) -> None:
        self.future, self.size, self.at_once = future, size, at_once
        self.replies: list[Any] = []

    def end(self) -> None:
        if not self.future.done():
            self.future.set_result(self.replies)


class _More:
    """What the reader says when it has no whole reply."""


class _GarbledError(Exception):
    """What came over the socket is not RESP."""


_MORE = _More()


def _is_message(reply: Any) -> bool:
    match reply:
        case [b"message", *_]:
            return True
        case _:
            return False
