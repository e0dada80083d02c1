"""What the checks look at: read once, shared by all of them, and never more than O(queues x shards).

Each reading is made when the first check asks for it. One that fails does so for those who asked, and for
nobody else. Shards and servers that do not answer are kept apart from those that do, so that a broken one
does not hide what the others say.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from capelin.admin.access import CALLS_AT_ONCE, Access
from capelin.admin.doctor.readings import Bounds, Fleet, Queues, Servers, Shards
from capelin.admin.doctor.words import read_info
from capelin.admin.fleet import read_fleet
from capelin.connection.urls import parse_url
from capelin.errors import CapelinError, RedisRefused, Unreachable
from capelin.keys import ShardKeys
from capelin.lua.looking import Survey, survey
from capelin.lua.replies import text
from capelin.schedule_book import ScheduleBook, ScheduleInfo
from capelin.settings import SCHEMA

T = TypeVar("T")
Argument = str | bytes | int | float


class Patient:
    """What is examined.

    Args:
        access: The way to Redis.
        bounds: What is too much.
        clock: This machine's clock, seconds since the epoch.
        user: Whose rights to look at; None for those of the URL's user.

    Attributes:
        db: The database of the URL.
        login: The user of the URL, or None.
        up: The servers that answered the greeting; whoever is missing is the business of one check.
    """

    def __init__(
        self,
        access: Access,
        *,
        bounds: Bounds | None = None,
        clock: Callable[[], float] = time.time,
        user: str | None = None,
    ) -> None:
        self.access = access
        target = parse_url(access.connection.url)
        self.db, self.login, self.user = target.db, target.login.username, user
        self.bounds = bounds or Bounds()
        self.clock = clock
        self.connection, self.keys = access.connection, access.keys
        self.up: list[str] = []
        self.book = ScheduleBook(access.connection, access.keys, access.settings)
        self._readings: dict[str, asyncio.Task[Any]] = {}

    async def close(self) -> None:
        """End what is still being read."""
        for task in self._readings.values():
            task.cancel()
        await asyncio.gather(*self._readings.values(), return_exceptions=True)

    async def greet(self) -> None:
        """See who is there.

        Raises:
            Unreachable, RedisRefused: Nobody is, or we are not let in.
        """
        gone: list[str] = []
        for master in await self.masters():
            try:
                await self.on(master, "PING")
            except Unreachable as error:
                gone.append(error.cause)
                continue
            except RedisRefused as refused:
                if not refused.message.startswith("NOPERM"):
                    raise
            self.up.append(master)
        if not self.up:
            raise Unreachable(url=self.connection.url, cause="; ".join(gone) or "no server holds data")

    async def masters(self) -> list[str]:
        """Return the servers that hold data."""
        return await self._once("masters", self.connection.masters)

    async def servers(self) -> Servers:
        """Return what ``INFO`` says.

        Raises:
            Unreachable: No server answers.
            RedisRefused: A server refuses it.
        """
        return await self._once("servers", self._read_servers)

    async def queues(self) -> Queues:
        """Return the queues, those too that this release cannot read."""
        return await self._once("queues", self._read_queues)

    async def shards(self) -> Shards:
        """Return how every shard stands."""
        return await self._once("shards", self._read_shards)

    async def fleet(self) -> Fleet:
        """Return the members."""
        return await self._once("fleet", self._read_fleet)

    async def schedules(self) -> list[ScheduleInfo]:
        """Return every schedule."""
        return await self._once("schedules", self.book.ls)

    async def on(self, master: str, *words: Argument) -> Any:
        """Run a command on one server; raises as ``Connection.command``."""
        return await self.connection.command_on(master, *words)

    async def config(self, master: str, *names: str) -> dict[str, str]:
        """Return what a server is configured with; names that it does not know are left out.

        Raises:
            RedisRefused: It may not be asked; many hosted ones may not.
        """
        found: dict[str, str] = {}
        for name in names:
            flat = [text(word) for word in await self.on(master, "CONFIG", "GET", name)]
            found.update(zip(flat[::2], flat[1::2], strict=True))
        return found

    async def look_again(self, shards: Sequence[ShardKeys]) -> dict[ShardKeys, Survey]:
        """Return how these shards stand a moment later: what was passing then is over."""
        if not shards:
            return {}
        await asyncio.sleep(self.bounds.again)
        return dict((await self._survey(shards)).found)

    async def _once(self, name: str, read: Callable[[], Awaitable[T]]) -> T:
        task = self._readings.get(name)
        if task is None:

            async def reading() -> T:
                return await read()

            task = self._readings[name] = asyncio.create_task(reading())
        # A check whose time is over is cancelled; what it waits for is read on, for the others.
        return await asyncio.shield(task)

    async def _read_servers(self) -> Servers:
        masters = await self.masters()
        answers = await asyncio.gather(*(self.on(one, "INFO") for one in masters), return_exceptions=True)
        infos: dict[str, Mapping[str, str]] = {}
        silent: dict[str, str] = {}
        for master, answer in zip(masters, answers, strict=True):
            if isinstance(answer, Unreachable):
                silent[master] = answer.cause
            elif isinstance(answer, BaseException):
                raise answer
            else:
                infos[master] = read_info(text(answer))
        if not infos:
            raise Unreachable(url=self.connection.url, cause="; ".join(silent.values()))
        return Servers(infos=infos, silent=silent)

    async def _read_queues(self) -> Queues:
        names = sorted(text(name) for name in await self.connection.command("SMEMBERS", self.keys.queues))
        asked = [("HMGET", self.keys.queue_meta(name), "shards", "schema", "reach") for name in names]
        shards: dict[str, int] = {}
        newer: dict[str, int] = {}
        broken: dict[str, str] = {}
        replies = await self.connection.commands(asked) if asked else []
        for name, reply in zip(names, replies, strict=True):
            if isinstance(reply, Exception):
                broken[name] = str(reply)
                continue
            try:
                count, schema, reach = (None if value is None else int(value) for value in reply)
            except ValueError:
                broken[name] = "its number of shards cannot be read"
                continue
            if schema is not None and schema > SCHEMA:
                newer[name] = schema
            elif count is not None:  # else it was named a moment ago, and is about to be laid out
                shards[name] = count if reach is None else reach
        return Queues(shards=shards, newer=newer, broken=broken)

    async def _read_shards(self) -> Shards:
        layouts = (await self.queues()).shards
        return await self._survey(
            [self.keys.shard(queue, shard) for queue, count in layouts.items() for shard in range(count)]
        )

    async def _survey(self, shards: Sequence[ShardKeys]) -> Shards:
        found: dict[ShardKeys, Survey] = {}
        lost: dict[ShardKeys, str] = {}
        for begin in range(0, len(shards), CALLS_AT_ONCE):
            some = shards[begin : begin + CALLS_AT_ONCE]
            for shard, reply in zip(
                some, await self.connection.run_many([survey(one) for one in some]), strict=True
            ):
                if isinstance(reply, CapelinError):
                    lost[shard] = reply.cause if isinstance(reply, Unreachable) else str(reply)
                elif isinstance(reply, Exception):
                    lost[shard] = f"its keys cannot be read: {reply!r}"
                else:
                    found[shard] = reply
        return Shards(found=found, lost=lost)

    async def _read_fleet(self) -> Fleet:
        now = await self.book.now()
        members = await read_fleet(self.access)
        names = await self.connection.command("HKEYS", self.keys.fleet_members)
        unreadable = sorted({text(name) for name in names} - {"#version"} - set(members))
        return Fleet(now=now, members=members, unreadable=unreadable)
