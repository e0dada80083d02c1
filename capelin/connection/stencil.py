"""A call that is packed once but for two arguments of each of its rows, and filled in whenever it is sent.

Enqueueing from one line of code, a program sends the same two dozen values again and again; all but a job's
uid and its arguments are those of the job before.
"""

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from capelin.connection.wire import pack
from capelin.lua.call import Call

T = TypeVar("T")

# No value that a call repeats holds a NUL: names cannot, and JSON escapes it.
_FIRST, _SECOND = "\0first", "\0second"


class Stencil(Generic[T]):
    """A packed call with two holes in each of its rows.

    Args:
        make: Makes the call with two texts, which stand in its one row once each, in this order.
        parse: Reads the reply of a call that was filled in.

    Raises:
        ValueError: They do not.

    Example:
        def call(uid, args):
            return lua.enqueue(shard, jobs=[NewJob(uid, "send", digest, args)], ...)

        stencil = Stencil(call, lua.read_enqueued)
        await connection.run(stencil.fill(new_uid(), '[["a@b.c"],{}]'))
    """

    __slots__ = ("_after", "_before", "_between", "_call", "_fixed", "_one", "_size", "_width")

    def __init__(self, make: Callable[[str, str], Call[Any]], parse: Callable[[Any], T]) -> None:
        call = make(_FIRST, _SECOND)
        self._width = width = len(call.script.group)
        self._size = len(call.command) - width
        self._before, rest = _body(call.command[self._size :]).split(_bulk(_FIRST))
        self._between, self._after = rest.split(_bulk(_SECOND))
        self._fixed = _body(call.command[: self._size])
        self._one = f"*{self._size + width}\r\n{self._fixed}{self._before}"
        self._call: Call[T] = Call(call.script, call.keys, (), parse)

    def fill(self, first: str, second: str) -> Call[T]:
        """Return the call with these texts.

        Raises:
            UnicodeEncodeError: One of them cannot be written as UTF-8.
        """
        packed = (
            f"{self._one}${_length(first)}\r\n{first}\r\n"
            f"{self._between}${_length(second)}\r\n{second}\r\n{self._after}"
        )
        return self._call.as_packed(packed.encode())

    def fill_rows(self, firsts: Sequence[str], seconds: Sequence[str]) -> Call[T]:
        """Return the call with as many rows, one for each pair of these texts.

        Raises:
            UnicodeEncodeError: One of them cannot be written as UTF-8.
        """
        before, between, after = self._before, self._between, self._after
        rows = "".join(
            [
                f"{before}${_length(one)}\r\n{one}\r\n{between}${_length(two)}\r\n{two}\r\n{after}"
                for one, two in zip(firsts, seconds, strict=True)
            ]
        )
        count = self._size + self._width * len(firsts)
        return self._call.as_packed(f"*{count}\r\n{self._fixed}{rows}".encode())


def _length(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _body(values: Sequence[Any]) -> str:
    """Values as they go over the socket, without the line that says how many they are."""
    return pack([tuple(values)]).decode().partition("\r\n")[2]


def _bulk(text: str) -> str:
    return f"${_length(text)}\r\n{text}\r\n"
