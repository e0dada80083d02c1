"""The least of a Redis client: blocking, without retries, and in no way related to the code under test.

Tests ask the server what really happened. Were they to ask through the library that capelin uses, with its
retries and its pools, a mistake there could hide itself. Speaks RESP2; reads whole RESP3 frames for those
who only pass them on.
"""

import asyncio
import socket
from types import TracebackType
from typing import Self, TypeAlias, cast

Reply: TypeAlias = "str | int | list[Reply] | None"


class RespError(Exception):
    """The server answered with an error; its text is the message."""


def encode(*words: str | bytes | float) -> bytes:
    """One command as the array of bulk strings that goes over the wire."""
    out = [b"*%d\r\n" % len(words)]
    for word in words:
        raw = word if isinstance(word, bytes) else str(word).encode(errors="surrogateescape")
        out.append(b"$%d\r\n%s\r\n" % (len(raw), raw))
    return b"".join(out)


class Connection:
    """One connection. `with Connection(port) as redis: redis("GET", "x")` gives text, int, list or None.

    Bytes that are not UTF-8 come with surrogate escapes: nothing is lost and nothing raises.
    """

    def __init__(self, port: int, *, host: str = "127.0.0.1", timeout: float = 10) -> None:
        self._socket = socket.create_connection((host, port), timeout)
        self._file = self._socket.makefile("rb")

    def __call__(self, *words: str | bytes | float) -> Reply:
        """Send one command, return its reply; `RespError` for an error, `OSError` for a broken connection."""
        self.send(*words)
        return self.read()

    def pipeline(self, *commands: tuple[str | bytes | float, ...]) -> list[Reply]:
        """Send all at once; the replies in order."""
        self._socket.sendall(b"".join(encode(*words) for words in commands))
        return [self.read() for _ in commands]

    def send(self, *words: str | bytes | float) -> None:
        """Send a command whose reply is read later, if ever."""
        self._socket.sendall(encode(*words))

    def read(self) -> Reply:
        """The next reply."""
        line = self._file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionResetError("the server closed the connection")
        kind, rest = line[:1], line[1:-2].decode(errors="surrogateescape")
        match kind:
            case b"+":
                return rest
            case b":":
                return int(rest)
            case b"-":
                raise RespError(rest)
            case b"$":
                return self._bulk(int(rest))
            case b"*":
                return [self._element() for _ in range(int(rest))] if int(rest) >= 0 else None
            case _:
                raise RespError(f"no RESP2 reply begins with {line!r}")

    def _element(self) -> Reply:
        # An error inside an array (EXEC) is an element like the others.
        try:
            return self.read()
        except RespError as error:
            return f"-{error}"

    def _bulk(self, length: int) -> Reply:
        if length < 0:
            return None
        raw = self._file.read(length + 2)
        if len(raw) < length + 2:
            raise ConnectionResetError("the server closed the connection")
        return raw[:-2].decode(errors="surrogateescape")

    def settimeout(self, seconds: float | None) -> None:
        """How long one read may take."""
        self._socket.settimeout(seconds)

    def close(self) -> None:
        """Close at once; a thread that is reading gets the end of the stream."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it was closed from the other side
        finally:
            self._file.close()
            self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def texts(reply: Reply) -> list[str]:
    """A reply that is a list of strings, as one."""
    if not isinstance(reply, list) or not all(isinstance(item, str) for item in reply):
        raise TypeError(f"not a list of strings: {reply!r}")
    return cast(list[str], reply)


def parse_info(reply: Reply) -> dict[str, str]:
    """The reply of INFO or CLUSTER INFO: field to value."""
    pairs = (line.split(":", 1) for line in str(reply).splitlines() if ":" in line)
    return {name: value.strip() for name, value in pairs}


_AGGREGATES = {b"*": 1, b"~": 1, b">": 1, b"%": 2, b"|": 2}
_BULKS = b"$!="


async def read_frame(reader: asyncio.StreamReader) -> bytes:
    """One whole RESP2 or RESP3 frame (a command or a reply), as it came.

    Raises:
        asyncio.IncompleteReadError: the stream ended.
    """
    line = await reader.readuntil(b"\r\n")
    parts, kind = [line], line[:1]
    if kind in _BULKS and int(line[1:]) >= 0:
        parts.append(await reader.readexactly(int(line[1:]) + 2))
    elif kind in _AGGREGATES:
        parts.extend([await read_frame(reader) for _ in range(max(int(line[1:]), 0) * _AGGREGATES[kind])])
    if kind == b"|":  # attributes stand before the reply that they describe
        parts.append(await read_frame(reader))
    return b"".join(parts)
