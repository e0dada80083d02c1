"""Cut a queue into another number of shards, while clients enqueue and workers work."""

import contextlib
from dataclasses import dataclass, replace

from capelin import inbox, lua
from capelin.admin.access import Access, NotThere
from capelin.admin.fleet import read_fleet
from capelin.durations import milliseconds
from capelin.errors import CapelinError, InvalidOption, RedisRefused, Unreachable
from capelin.lua import Cut, Home, Layout
from capelin.resharding import (
    ASKS_ONLY,
    MOST_SHARDS,
    Left,
    homes_held,
    left_of,
    seal_all,
    settle,
    unnamed_shards,
)

MOST_OLDER = 8
"""Older layouts of which keys may be held: an enqueue with a key asks in each."""


class ReshardRefused(CapelinError):
    """Too many older layouts of the queue still hold keys."""

    def __init__(self, *, queue: str, homes: int) -> None:
        self.queue, self.homes = queue, homes
        super().__init__(
            f"queue {queue!r} was cut anew {homes} times, and jobs still hold dedupe keys under each of these"
            f" layouts; wait until some are over (capelin queues reshard {queue} shows them), then try again"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OldHome:
    """An older layout of which dedupe keys may still be held: an enqueue with a key asks there first.

    Attributes:
        version: Its number.
        shards: Into how many it cut the queue.
    """

    version: int
    shards: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Resharding:
    """How a queue is cut, and what is left of how it was.

    Attributes:
        before: Into how many shards it was cut before this call.
        shards: Into how many it is cut now, or would be (a dry run).
        layout: The number of the layout: one more each time.
        changed: Whether this call cut it anew, or would.
        reach: Shards that workers serve, since they may hold something; more than ``shards`` until those
            beyond are empty.
        older: Older layouts of which dedupe keys may be held.
        live: Jobs that have not ended, in shards beyond: they stay there, and run there.
        ended: Jobs that have, in shards beyond: there they are looked at, replayed and purged, by their ids.
        keys: Dedupe keys that jobs hold in older homes.
        window_seconds: For how long the last window of a key there holds.
        lent: Dedupe keys that are lent to jobs that run again in another shard.
    """

    queue: str
    before: int
    shards: int
    layout: int
    changed: bool
    reach: int
    older: tuple[OldHome, ...]
    live: int
    ended: int
    keys: int
    window_seconds: float
    lent: int

    @property
    def settled(self) -> bool:
        """Whether nothing is left of older layouts."""
        return not self.older and self.reach == self.shards


async def reshard_queue(access: Access, queue: str, shards: int) -> Resharding:
    """Cut a queue into another number of shards, while it is used; see ``docs/resharding.md``.

    What was interrupted is finished by repeating it, or by workers.

    Args:
        access: Where.
        queue: The queue.
        shards: From 1 to 1024.

    Returns:
        How it is cut now. Workers finish what is left.

    Raises:
        InvalidOption: The number is out of its range.
        NotThere: There is no queue of that name.
        ReshardRefused: Too many older layouts still hold keys.
        Unreachable, RedisRefused: It may be done in part; repeat it.

    Example:
        async with open_access("redis://localhost", prefix="capelin", settings=Settings()) as access:
            print(await reshard_queue(access, "emails", 32))
    """
    _check(shards)
    before = await _layout_of(access, queue)
    if before.homes:
        await settle(access.connection, access.keys, queue, before)  # there may be room for one more
    looked = await seal_all(access.connection, access.keys, queue, before, version=ASKS_ONLY)
    beyond = await unnamed_shards(access.connection, access.keys, queue, reach=before.reach)
    heard = [shard.heard for shard in looked] + [one.heard for one in beyond]
    await _pause_alike(access, queue, before, shards)
    verdict, after = await access.connection.run(
        lua.queue_reshard(
            access.keys,
            queue,
            shards=shards,
            most_homes=MOST_OLDER,
            remembered=milliseconds(max(access.settings.retention, access.settings.dlq_retention)),
            floor=max(heard),
        )
    )
    if verdict is Cut.MISSING:
        raise NotThere(what="queue", name=queue)
    if verdict is Cut.BUSY:
        raise ReshardRefused(queue=queue, homes=len(after.homes))
    if verdict is Cut.RESHARDED:
        await _tell_workers(access)
    left = await settle(access.connection, access.keys, queue, after)
    await _pause_alike(access, queue, before, shards)
    return _standing(queue, before.shards, left, changed=verdict is Cut.RESHARDED)


async def plan_reshard(access: Access, queue: str, shards: int | None = None) -> Resharding:
    """Return what ``reshard_queue`` would do, without doing it; raises as it does.

    Args:
        access: Where.
        queue: The queue.
        shards: From 1 to 1024; None to see what is left of older layouts.
    """
    layout = await _layout_of(access, queue)
    wanted = layout.shards if shards is None else shards
    _check(wanted)
    looked = await seal_all(access.connection, access.keys, queue, layout, version=ASKS_ONLY)
    if wanted == layout.shards:
        return _standing(queue, layout.shards, left_of(layout, looked), changed=False)
    if len(homes_held(layout, looked)) >= MOST_OLDER:
        raise ReshardRefused(queue=queue, homes=len(layout.homes))
    planned = replace(
        layout,
        shards=wanted,
        version=layout.version + 1,
        reach=max(layout.reach, wanted),
        homes=(*layout.homes, Home(layout.version, layout.shards)),
    )
    return _standing(queue, layout.shards, left_of(planned, looked), changed=True)


async def _layout_of(access: Access, queue: str) -> Layout:
    layout = (await access.read_layouts(queue)).get(queue)
    if layout is None:
        raise NotThere(what="queue", name=queue)
    return layout


def _check(shards: int) -> None:
    if not 1 <= shards <= MOST_SHARDS:
        raise InvalidOption(
            option="shards", value=shards, why=f"a queue is cut into 1 to {MOST_SHARDS} shards"
        )


def _standing(queue: str, before: int, left: Left, *, changed: bool) -> Resharding:
    layout = left.layout
    return Resharding(
        queue=queue,
        before=before,
        shards=layout.shards,
        layout=layout.version,
        changed=changed,
        reach=layout.reach,
        older=tuple(OldHome(version=home.version, shards=home.shards) for home in layout.homes),
        live=left.live,
        ended=left.ended,
        keys=left.keys,
        window_seconds=left.window_seconds,
        lent=left.lent,
    )


async def _pause_alike(access: Access, queue: str, before: Layout, shards: int) -> None:
    """Have new shards be paused if the queue is.

    Before they are used, and once more when they are: somebody may have paused or resumed it between.
    """
    new = [access.keys.shard(queue, number) for number in range(before.shards, shards)]
    said: bool | None = None
    while new and said is not (paused := await _is_paused(access, queue, before)):
        since = await access.clock()
        await access.ask([lua.pause(shard, since=since) if paused else lua.resume(shard) for shard in new])
        said = paused


async def _is_paused(access: Access, queue: str, layout: Layout) -> bool:
    shards = [access.keys.shard(queue, number) for number in range(layout.shards)]
    return all(await access.commands([("HEXISTS", shard.meta, "paused") for shard in shards]))


async def _tell_workers(access: Access) -> None:
    """Have workers read layouts at once; if that is lost, they do within seconds."""
    with contextlib.suppress(Unreachable, RedisRefused):
        members = await read_fleet(access)
        if members:
            await access.connection.command("HINCRBY", access.keys.fleet_members, "#version", 1)
            await inbox.post_many(
                access.connection, access.keys, members, inbox.Kind.FLEET, {"resharded": True}
            )
