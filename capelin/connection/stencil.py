"""A call that is packed once but for two of its arguments, and filled in each time that it is sent.

Enqueueing one job at a time, a program sends the same two dozen values again and again; all but the job's uid
and its arguments are those of the call before.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

from capelin.connection.wire import pack
from capelin.lua.call import Call

T = TypeVar("T")

# No value that a call repeats holds a NUL: names cannot, and JSON escapes it.
_FIRST, _SECOND = "\0first", "\0second"


class Stencil(Generic[T]):
    """A packed call with two holes.

    Args:
        make: Makes the call with two texts, which stand in it once each, in this order.

    Raises:
        ValueError: They do not.

    Example:
        stencil = Stencil(lambda uid, args: lua.enqueue(shard, jobs=[NewJob(uid, "send", digest, args)], ...))
        await connection.run(stencil.fill(new_uid(), '[["a@b.c"],{}]'))
    """

    __slots__ = ("_after", "_before", "_between", "_call")

    def __init__(self, make: Callable[[str, str], Call[T]]) -> None:
        self._call = call = make(_FIRST, _SECOND)
        packed = pack([call.command])
        self._before, rest = packed.split(_bulk(_FIRST))
        self._between, self._after = rest.split(_bulk(_SECOND))

    def fill(self, first: str, second: str) -> Call[T]:
        """Return the call with these texts.

        Raises:
            UnicodeEncodeError: One of them cannot be written as UTF-8.
        """
        one, two = first.encode(), second.encode()
        packed = b"%b$%d\r\n%b\r\n%b$%d\r\n%b\r\n%b" % (
            self._before,
            len(one),
            one,
            self._between,
            len(two),
            two,
            self._after,
        )
        return self._call.as_packed(packed)


def _bulk(text: str) -> bytes:
    data = text.encode()
    return b"$%d\r\n%b\r\n" % (len(data), data)
