"""What is left of a queue's older layouts, and its end. Keeps guarantees 1 and 7 when a queue is cut anew.

``docs/resharding.md`` argues why no client, worker or operator, however late, can break them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from capelin import lua
from capelin.connection import Connection
from capelin.errors import InvalidJobId, Unreachable
from capelin.ids import JobId, new_uid
from capelin.keys import Keys, ShardKeys
from capelin.lua import Call, Home, Layout, Loan, NewJob, Sealed, Submitted
from capelin.settings import SCHEMA

T = TypeVar("T")

MOST_SHARDS = 1024
"""Into so many a queue may be cut."""
ASKS_ONLY = 0
"""The version to seal with that seals nothing."""
_CALLS_AT_ONCE = 200
_LOANS_AT_ONCE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What is left of a queue's older layouts.

    Attributes:
        layout: The layout, what is over struck off.
        live: Jobs that have not ended, in shards that it has no more.
        ended: Jobs that have, and can still be asked for, in shards that it has no more.
        keys: Dedupe keys that jobs hold in homes of older layouts, at least.
        window_seconds: For how long the last window of such a key holds.
        lent: Keys that were lent to jobs that run again in another shard.
    """

    layout: Layout
    live: int
    ended: int
    keys: int
    window_seconds: float
    lent: int


def left_of(layout: Layout, sealed: Sequence[Sealed]) -> Left:
    """Return what is left of older layouts, as a queue's shards tell."""
    beyond = sealed[layout.shards :]
    held = [
        each
        for home, taken in _taken_under(layout)
        for shard in sealed[: home.shards]
        for version, each in shard.keys.items()
        if version in taken
    ]
    return Left(
        layout=layout,
        live=sum(shard.live for shard in beyond),
        ended=sum(shard.ended for shard in beyond),
        keys=sum(each.by_jobs for each in held),
        window_seconds=max((each.window for each in held), default=0) / 1000,
        lent=sum(shard.lent for shard in sealed),
    )


async def seal_all(
    connection: Connection, keys: Keys, queue: str, layout: Layout, *, version: int
) -> list[Sealed]:
    """Have every shard that there is or was hear of a version; 0 asks only.

    Raises:
        Unreachable, RedisRefused: Some may not have heard.
    """
    count = max(layout.reach, *(home.shards for home in layout.homes), layout.shards)
    return await _run(
        connection, [lua.seal(keys.shard(queue, number), layout=version) for number in range(count)]
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Unnamed:
    """A shard that a queue's layout does not name, but that was used under another one.

    Attributes:
        shard: Which.
        heard: The newest version of which it has heard.
        told: What it tells; None if that cannot be read.
    """

    shard: ShardKeys
    heard: int
    told: Sealed | None


async def unnamed_shards(connection: Connection, keys: Keys, queue: str, *, reach: int) -> list[Unnamed]:
    """Find the shards beyond a layout's reach that were used under another one.

    Some were left empty by a reshard. But a Redis that forgot a reshard names fewer shards than there were,
    too, and nobody who knows more need be left but a client that placed a job there, or not even that. Its
    request had the shard hear of the layout, which is what is asked for: of 1,024 shards in a millisecond of
    Redis's time.

    Raises:
        Unreachable: There may be more.
    """
    beyond = [keys.shard(queue, number) for number in range(reach, MOST_SHARDS)]
    heard: dict[ShardKeys, int] = {}
    for some in _parts(beyond):
        replies = await connection.commands([("HGET", shard.meta, "layout") for shard in some])
        for shard, reply in zip(some, _unless_unreachable(replies), strict=True):
            if isinstance(reply, bytes) and reply.isdigit():
                heard[shard] = int(reply)
    told = await seal_each(connection, list(heard), version=ASKS_ONLY)
    return [Unnamed(shard=shard, heard=version, told=told[shard]) for shard, version in heard.items()]


async def seal_each(
    connection: Connection, shards: Sequence[ShardKeys], *, version: int
) -> dict[ShardKeys, Sealed | None]:
    """Have those that can be read hear of a version, and return what they tell; None for the others.

    Raises:
        Unreachable: Some may not have heard.
    """
    told: dict[ShardKeys, Sealed | None] = {}
    for some in _parts(shards):
        replies = await connection.run_many([lua.seal(shard, layout=version) for shard in some])
        answers = zip(some, _unless_unreachable(replies), strict=True)
        told |= {shard: sealed if isinstance(sealed, Sealed) else None for shard, sealed in answers}
    return told


def _unless_unreachable(replies: Sequence[object]) -> Sequence[object]:
    for reply in replies:
        if isinstance(reply, Unreachable):
            raise reply
    return replies


async def settle(connection: Connection, keys: Keys, queue: str, layout: Layout) -> Left:
    """Seal every shard, and strike off what is over. Anybody may, at any time, as often as they like.

    Raises:
        Unreachable, RedisRefused: It may be done in part.
    """
    sealed = await seal_all(connection, keys, queue, layout, version=layout.version)
    for number, shard in enumerate(sealed):
        if shard.lent:
            sealed[number] = await _call_in(connection, keys.shard(queue, number), layout)
    homes = homes_held(layout, sealed)
    reach = reach_of(sealed)
    newest = max(shard.heard for shard in sealed)
    if newest > layout.version:  # it was cut anew meanwhile, or Redis has lost what a shard has heard of
        after = await connection.run(
            lua.open_queue(keys, queue, shards=layout.shards, schema=SCHEMA, floor=newest)
        )
    else:
        call = lua.queue_settle(keys, queue, homes, layout=layout.version, reach=reach, looked=len(sealed))
        _, after = await connection.run(call)
    return replace(left_of(layout, sealed), layout=after)


def reach_of(sealed: Sequence[Sealed]) -> int:
    """Return how many of a queue's shards are to be served, since they hold something, as they tell."""
    return max((number + 1 for number, shard in enumerate(sealed) if not shard.empty), default=0)


def homes_held(layout: Layout, sealed: Sequence[Sealed]) -> list[Home]:
    """Return the older layouts of which keys may still be held, as a queue's shards tell."""
    return [
        home
        for home, taken in _taken_under(layout)
        if any(
            shard.lent or any(version in taken for version in shard.keys) for shard in sealed[: home.shards]
        )
    ]


def _taken_under(layout: Layout) -> Iterator[tuple[Home, range]]:
    """Give each older layout with the versions under which keys may have been taken at its homes.

    These are more than its own where Redis has lost a version, and another was written for it: the next that
    is listed stands for it, or the last one.
    """
    first = 1
    for number, home in enumerate(layout.homes, 1):
        last = layout.version - 1 if number == len(layout.homes) else home.version
        yield home, range(first, last + 1)
        first = home.version + 1


async def _call_in(connection: Connection, shard: ShardKeys, layout: Layout) -> Sealed:
    """Ask about the loans of a shard, and strike off those that are over."""
    lent = await connection.run(lua.loans(shard, limit=_LOANS_AT_ONCE))
    homes = [(loan, job) for loan in lent if (job := _borrower(loan)) is not None]
    replies = await _run(connection, [_question(shard, layout, loan, job) for loan, job in homes])
    over = [loan for loan in lent if _borrower(loan) is None] + [
        loan
        for (loan, _), reply in zip(homes, replies, strict=True)
        if reply is not None and reply[0][0] is Submitted.FREE
    ]
    if over:
        await connection.run(lua.loans(shard, limit=1, over=over))
    return await connection.run(lua.seal(shard, layout=layout.version))


def _borrower(loan: Loan) -> JobId | None:
    """Return the job that a key was lent to; None for what is no loan, since something else wrote it."""
    try:
        return JobId.parse(loan.loan.rpartition("#")[0])
    except InvalidJobId:
        return None


def _question(
    home: ShardKeys, layout: Layout, loan: Loan, job: JobId
) -> Call[list[tuple[Submitted, str]] | None]:
    """Ask the shard of a job that a key was lent to whether the key is free there."""
    task, _, key = loan.key.partition(":")
    row = NewJob(new_uid(), task, unique_key=key, extra=f'{{"past":"{loan.loan}"}}')
    return lua.enqueue(
        home._replace(shard=job.shard),
        most=None,
        resend_window=1,
        layout=layout.version,
        question=True,
        jobs=[row],
    )


async def _run(connection: Connection, calls: Sequence[Call[T]]) -> list[T]:
    replies: list[T] = []
    for some in _parts(calls):
        found: list[Any] = await connection.run_many(some)
        for reply in found:
            if isinstance(reply, Exception):
                raise reply
        replies += found
    return replies


def _parts(many: Sequence[T]) -> Iterator[Sequence[T]]:
    for begin in range(0, len(many), _CALLS_AT_ONCE):
        yield many[begin : begin + _CALLS_AT_ONCE]
