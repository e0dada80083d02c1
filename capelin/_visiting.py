"""One request with a key on its way through a queue that was cut anew: from shard to shard, as each answers.

``_sending`` does the same for many at once.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple

from capelin.ids import JobId
from capelin.lua import Submitted


class Stop(NamedTuple):
    """A shard on the way. One that is only asked writes nothing if the key is free there."""

    shard: int
    only_asked: bool


class Arrived(NamedTuple):
    """Where a request's way ended.

    Attributes:
        shard: The shard that answered last.
        verdict: What it said; ``free`` when all that were only asked said so; None: it is full.
        detail: What goes with that.
        past: Loans of the key that were found over.
    """

    shard: int
    verdict: Submitted | None
    detail: str
    past: tuple[str, ...]


Send = Callable[[Stop, tuple[str, ...]], Awaitable[list[tuple[Submitted, str]] | None]]
"""Sends the request to a shard, with loans that are over; returns as ``lua.enqueue``."""


def borrower_of(loan: str) -> JobId:
    """Return the job that a loan was made to."""
    return JobId.parse(loan.rpartition("#")[0])


async def visit(stops: Iterable[Stop], send: Send, past: tuple[str, ...] = ()) -> Arrived:
    """Go along until a shard decides.

    Args:
        stops: The way.
        send: Sends.
        past: Loans of the key that were found over before.

    Raises:
        Unreachable, RedisRefused: What ``send`` raises.
    """
    ahead = list(stops)
    here = Stop(0, only_asked=True)
    while ahead:
        here = ahead[0]
        reply = await send(here, past)
        if reply is None:
            return Arrived(here.shard, None, "", past)
        [(verdict, detail)] = reply
        if verdict is Submitted.FREE:
            ahead.pop(0)
        elif verdict is Submitted.AWAY:
            past = (*past, detail)
            ahead.insert(0, Stop(borrower_of(detail).shard, only_asked=True))
        else:
            return Arrived(here.shard, verdict, detail, past)
    return Arrived(here.shard, Submitted.FREE, "", past)
