"""How operators reach Redis, and which queues and shards there are."""

import difflib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from capelin._queues import Queues
from capelin.admin.torn import all_named, named
from capelin.connection import Connection, connect
from capelin.errors import CapelinError, InvalidName, RedisRefused, TornKey, UnsupportedSchema
from capelin.keys import Keys, ShardKeys
from capelin.lua import LAYOUT_FIELDS, Call, Layout
from capelin.lua.looking import Survey, survey
from capelin.lua.replies import text
from capelin.names import check_name
from capelin.replaying import Replaying
from capelin.settings import SCHEMA, Settings

T = TypeVar("T")

CALLS_AT_ONCE = 200
"""Calls in one pipeline, so that a large fleet's figures do not come as one burst."""


class NotThere(CapelinError, LookupError):
    """What was named does not exist in this Redis, under this prefix."""

    def __init__(
        self, *, what: str, name: str, known: Iterable[str] = (), unread: Iterable[str] = ()
    ) -> None:
        self.what, self.name, self.known = what, name, sorted(known)
        near = difflib.get_close_matches(name, self.known, n=1)
        if near:
            hint = f"did you mean {near[0]!r}?"
        elif self.known:
            hint = f"there are: {', '.join(self.known[:5])}{', …' if len(self.known) > 5 else ''}"  # noqa: PLR2004
        else:
            hint = f"there is no {what} at all; are --redis and --prefix right?"
        not_read = "".join(f"; not read: {why}" for why in unread)
        super().__init__(f"no {what} {name!r}; {hint}{not_read}")


class Access:
    """An operator's way to one Redis and one prefix.

    Attributes:
        connection: The connection; nothing is sent twice.
        keys: The namespace.
        settings: Limits that repairs need (retention, resend window).
        replaying: Runs dead jobs again.
    """

    def __init__(self, connection: Connection, keys: Keys, settings: Settings) -> None:
        self.connection, self.keys, self.settings = connection, keys, settings
        self.replaying = Replaying(connection, keys, Queues(connection, keys, settings))

    async def ask(self, calls: Sequence[Call[T]]) -> list[T]:
        """Run calls, some hundred at a time.

        Raises:
            Unreachable, RedisRefused: The first that failed.
        """
        return _sound(await self._replies(self.connection.run_many, calls))

    async def ask_each(self, calls: Sequence[Call[T]]) -> list[T | RedisRefused]:
        """Run calls as ``ask`` does; one that Redis refuses says so in its own place, and stops no other.

        Raises:
            Unreachable: Redis could not be asked.
        """
        return _sound(await self._replies(self.connection.run_many, calls), but=(RedisRefused,))

    async def commands(self, commands: Sequence[tuple[str | bytes | int | float, ...]]) -> list[Any]:
        """Run plain commands, some hundred at a time.

        Raises:
            Unreachable, RedisRefused: The first that failed.
        """
        return _sound(await self._replies(self.connection.commands, commands))

    async def each_command(
        self, commands: Sequence[tuple[str | bytes | int | float, ...]], torn: dict[str, str]
    ) -> list[Any]:
        """Run plain commands; None for what cannot be read, since something else lies there.

        Args:
            commands: The commands.
            torn: Takes what is wrong, by the key.

        Raises:
            Unreachable, RedisRefused: The first that failed otherwise.
        """
        replies = _sound(await self._replies(self.connection.commands, commands), but=(TornKey,))
        return [without_torn(reply, torn) for reply in replies]

    async def clock(self) -> int:
        """Redis's clock, ms."""
        seconds, micros = await self.connection.command("TIME")
        return int(seconds) * 1000 + int(micros) // 1000

    async def read_layouts(
        self, queue: str | None = None, *, broken: dict[str, Exception] | None = None
    ) -> Mapping[str, Layout]:
        """Return how each queue is cut, by name; only one queue's if it is named.

        Args:
            queue: Only this one.
            broken: Takes what cannot be read, by the name of the queue, instead of an error.

        Raises:
            NotThere: There is no queue of that name.
            UnsupportedSchema: A newer major version of capelin wrote it.
        """
        [members] = await self.commands([("SMEMBERS", self.keys.queues)])
        names: list[str] = []
        for name in sorted(map(text, members)):
            try:
                names.append(check_name("queue", name))
            except InvalidName as error:  # nobody can have used a queue of that name
                if broken is not None:
                    broken[name] = error
        wanted = names if queue is None else [name for name in names if name == queue]
        if queue is not None and not wanted:
            raise NotThere(what="queue", name=queue, known=names)
        metas = await self._replies(
            self.connection.commands,
            [("HMGET", self.keys.queue_meta(name), *LAYOUT_FIELDS) for name in wanted],
        )
        layouts: dict[str, Layout] = {}
        for name, meta in zip(wanted, metas, strict=True):
            try:
                layout = self._layout(name, _sound_one(meta))
                if layout is not None and layout.schema > SCHEMA:
                    raise UnsupportedSchema(queue=name, found=layout.schema, supported=SCHEMA)
            except CapelinError as error:
                if broken is None:
                    raise
                broken[name] = error
                continue
            if layout is not None:  # else it was named a moment ago, and is about to be laid out
                layouts[name] = layout
        return layouts

    def _layout(self, queue: str, fields: Sequence[bytes | None]) -> Layout | None:
        try:
            return Layout.of(fields)
        except ValueError as error:
            why = f"holds a layout that makes no sense ({error})"
            raise TornKey(key=self.keys.queue_meta(queue), why=why) from None

    async def layouts(
        self, queue: str | None = None, *, broken: dict[str, Exception] | None = None
    ) -> Mapping[str, int]:
        """Return how many shards of each queue may hold anything; arguments and errors as ``read_layouts``.

        A queue that was cut into fewer has more of them than it is cut into, until the others are empty.
        """
        found = await self.read_layouts(queue, broken=broken)
        return {name: layout.reach for name, layout in found.items()}

    async def shards(
        self, queue: str | None = None, *, broken: dict[str, Exception] | None = None
    ) -> list[ShardKeys]:
        """Return every shard, or those of one queue; arguments and errors as ``read_layouts``."""
        layouts = await self.layouts(queue, broken=broken)
        return [self.keys.shard(name, shard) for name, shards in layouts.items() for shard in range(shards)]

    async def surveys(self, queue: str | None = None) -> dict[ShardKeys, Survey]:
        """Return how each shard stands; the errors are those of ``layouts``."""
        shards = await self.shards(queue)
        return dict(zip(shards, await self.ask([survey(shard) for shard in shards]), strict=True))

    async def readable_surveys(
        self, queue: str | None = None
    ) -> tuple[dict[ShardKeys, Survey], Mapping[str, Exception]]:
        """Return how each shard stands that can be read, and by name the queues and shards that cannot.

        Raises:
            NotThere: There is no queue of that name.
            Unreachable, RedisRefused: Nothing can be read, and not since all of it is torn.
        """
        broken: dict[str, Exception] = {}
        shards = await self.shards(queue, broken=broken)
        replies = await self._replies(self.connection.run_many, [survey(shard) for shard in shards])
        found: dict[ShardKeys, Survey] = {}
        for shard, reply in zip(shards, replies, strict=True):
            if isinstance(reply, Exception):
                broken[str(shard)] = reply
            else:
                found[shard] = reply
        if not found:
            for error in broken.values():
                if not isinstance(error, (TornKey, InvalidName)):
                    raise error
        return found, broken

    async def _replies(
        self, run: Callable[[Sequence[Any]], Awaitable[list[Any]]], asked: Sequence[Any]
    ) -> list[Any]:
        """Return the reply to each, errors among them, some hundred at a time; torn keys are named."""
        replies: list[Any] = []
        for begin in range(0, len(asked), CALLS_AT_ONCE):
            replies += await all_named(self.connection, await run(asked[begin : begin + CALLS_AT_ONCE]))
        return replies


@asynccontextmanager
async def open_access(url: str, *, prefix: str, settings: Settings) -> AsyncGenerator[Access]:
    """Open an operator's way to Redis.

    Args:
        url: Where Redis is.
        prefix: What every key begins with.
        settings: Limits that repairs need.

    Raises:
        InvalidURL, InvalidName: What was given is not allowed.
        TornKey: Instead of the ``RedisRefused`` that leaves the block, if a torn key is the cause.

    Example:
        async with open_access("redis://localhost", prefix="capelin", settings=Settings()) as access:
            for queue in await list_queues(access):
                print(queue.queue, queue.waiting)
    """
    connection = connect(url, socket_timeout=settings.socket_timeout)
    try:
        yield Access(connection, Keys(prefix), settings)
    except RedisRefused as error:
        if (told := await named(connection, error)) is error:
            raise
        raise told from error
    finally:
        await connection.close()


def without_torn(reply: T | TornKey, torn: dict[str, str]) -> T | None:
    """Return a reply; None for what is torn, which is noted by its key."""
    if isinstance(reply, TornKey):
        torn[reply.key] = str(reply)
        return None
    return reply


def _sound_one(reply: Any) -> Any:
    if isinstance(reply, Exception):
        raise reply
    return reply


def _sound(replies: list[Any], *, but: tuple[type[Exception], ...] = ()) -> list[Any]:
    for reply in replies:
        if isinstance(reply, Exception) and not isinstance(reply, but):
            raise reply
    return replies
