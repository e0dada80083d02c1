"""`Connection`: what the rest of capelin sees of Redis, whichever kind it is."""

import asyncio
import os
from collections.abc import AsyncGenerator, Sequence
from typing import Any, TypeVar

from capelin.connection.cluster import ClusterNetwork
from capelin.connection.delivery import Errand
from capelin.connection.dial import Dialler, refused
from capelin.connection.network import Network, OneServer, find_master
from capelin.connection.popping import Popper, stream_entries
from capelin.connection.subscribing import Subscriber, Subscription
from capelin.connection.urls import Kind, Target, parse_url
from capelin.connection.wire import Command, Refusal, Wire
from capelin.errors import ConfigurationError, InvalidOption, Unreachable
from capelin.lua.call import Call

T = TypeVar("T")


class Connection:
    """A connection to Redis, bound to the event loop and the process it is first used in.

    Nothing is sent twice: what fails with `Unreachable` may or may not have run, and the caller decides. Any number of
    coroutines may use one connection at once; a caller that is cancelled disturbs nobody. After an outage the next call
    connects anew. It closes itself when its event loop ends in the usual way (`asyncio.run`).

    Attributes:
        url: The URL as it may be printed; passwords are `***`.
        kind: `redis`, `cluster`, `sentinel` or `memory`.
        socket_timeout: Seconds of silence, while a reply is owed, after which the connection counts as lost.
    """

    def __init__(self, target: Target, *, socket_timeout: float, connect_timeout: float) -> None:
        self.url: str = target.url
        self.kind: Kind = target.kind
        self.socket_timeout = socket_timeout
        self._connect_timeout = connect_timeout
        self._target = target
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = 0
        self._closed = False
        self._readers: dict[str, Wire] = {}

    def __repr__(self) -> str:
        return f"<Connection {self.url}{' closed' if self._closed else ''}>"

    async def run(self, call: Call[T]) -> T:
        """Run one script.

        Raises:
            Unreachable: No reply was read; the script may or may not have run.
            RedisRefused: Redis answered with an error.
        """
        [result] = await self.run_many((call,))
        if isinstance(result, Exception):
            raise result
        return result  # type: ignore[no-any-return] # pyright: ignore[reportReturnType]

    async def run_many(self, calls: Sequence[Call[Any]]) -> list[Any]:
        """Run scripts in one pipeline (one for each node in a Cluster).

        Returns:
            For each call, in order, its parsed reply, or the exception that `run` would raise. Calls to one server run in
            the order given, except those that a server turned away and that are sent again (`NOSCRIPT` after a
            `SCRIPT FLUSH`, slots that move).
        """
        network = self._network()
        errands = [
            Errand(
                ("EVALSHA", call.script.sha, len(call.keys), *call.keys, *call.args),
                key=call.keys[0] if call.keys else None,
                script=call.script,
            )
            for call in calls
        ]
        replies = await network.carry(errands)
        for place, reply in enumerate(replies):
            if reply.__class__ is Refusal:
                replies[place] = refused(self.url, network.name, reply, calls[place].script.name)
            elif not isinstance(reply, Exception):
                try:
                    replies[place] = calls[place].parse(reply)
                except Exception as error:  # noqa: BLE001 -- one reply that cannot be read spares the others
                    replies[place] = error
        return replies

    async def command(self, *args: str | bytes | int | float, key: str | None = None) -> Any:
        """One plain command; the raw reply (RESP2: bytes, int, None, lists).

        Args:
            args: The command and its arguments.
            key: What routes it in a Cluster; the first argument when left out.

        Raises:
            Unreachable, RedisRefused: As `run`.
        """
        [reply] = await self._plain([args], key)
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def commands(self, commands: Sequence[Command]) -> list[Any]:
        """Plain commands in one pipeline, each routed by its first argument; a raw reply or an exception for each."""
        return await self._plain(commands, None)

    async def on_masters(self, *args: str | bytes | int | float) -> dict[str, Any]:
        """One plain command on every master (`SCAN`, `INFO`, `DBSIZE`): replies by the master's name.

        Raises:
            Unreachable, RedisRefused: As `run`, for the first that fails.
        """
        network = self._network()
        replies: dict[str, Any] = {}
        for master in await network.masters():
            replies[master] = await self.on_master(master, *args)
        return replies

    async def on_master(self, master: str, *args: str | bytes | int | float) -> Any:
        """One plain command on one master, by the name that `on_masters` gives it (a cursor belongs to its server)."""
        network = self._network()
        [reply] = await network.carry_to(master, [Errand(args)])
        if reply.__class__ is Refusal:
            raise refused(self.url, master, reply)
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def pop(self, keys: Sequence[str], timeout: float) -> str | None:  # noqa: ASYNC109 -- it is the server's
        """Wait until one of these lists has an element, take its first, and say which list it was.

        Args:
            keys: The lists.
            timeout: Seconds to wait, above 0 and below `socket_timeout`.

        Returns:
            The key, or None if there was nothing in time (or earlier, while a slot is on its way to another node).

        Raises:
            Unreachable, RedisRefused: As `run`. An element that was popped for a caller that is gone is given to the next
                call or pushed back.
        """
        self._check_block(timeout)
        self._network()
        return await self._popper.pop(keys, timeout)

    def subscribe(self, channel: str) -> Subscription:
        """Listen to a channel: `async with connection.subscribe(channel) as messages: async for message in messages`."""
        self._network()
        return Subscription(channel, self._subscriber)

    async def read_stream(
        self, key: str, last_id: str, block: float, count: int = 100
    ) -> list[tuple[str, dict[str, str]]]:
        """Entries of a stream after `last_id`; waits up to `block` seconds for the first.

        Raises:
            Unreachable, RedisRefused: As `run`.
        """
        self._check_block(block)
        network = self._network()
        wire = self._readers.pop(key, None)
        if wire is None or wire.lost is not None:
            wire = await network.open(key)
        try:
            replies = await wire.send([("XREAD", "COUNT", count, "BLOCK", max(1, int(block * 1000)), "STREAMS", key, last_id)])
        except BaseException:
            wire.drop("its reader was cancelled")
            raise
        if not replies:
            network.doubt()
            raise Unreachable(url=self.url, cause=f"{wire.name}: {wire.lost}")
        reply = replies[0]
        if isinstance(reply, Refusal) and reply.code in {"MOVED", "ASK", "TRYAGAIN"} and self.kind == "cluster":
            network.learn(reply)
            await wire.close()
            raise Unreachable(url=self.url, cause=f"{wire.name}: {reply.message}")
        if key in self._readers or self._closed:
            await wire.close()
        else:
            self._readers[key] = wire
        if isinstance(reply, Refusal):
            raise refused(self.url, wire.name, reply)
        return stream_entries(reply)

    async def close(self) -> None:
        """Close every socket. Calls under way fail with `Unreachable`; calling it again does nothing."""
        if self._closed:
            return
        self._closed = True
        if self._loop is None or self._pid != os.getpid() or self._loop is not asyncio.get_running_loop():
            return
        await self._popper.close()
        await self._subscriber.close()
        for wire in self._readers.values():
            await wire.close()
        self._readers.clear()
        await self._opened.close()
        await self._guard.aclose()

    async def _plain(self, commands: Sequence[Command], key: str | None) -> list[Any]:
        network = self._network()
        errands = [
            Errand(command, key=key if key is not None else str(command[1]) if len(command) > 1 else None)
            for command in commands
        ]
        replies = await network.carry(errands)
        for place, reply in enumerate(replies):
            if reply.__class__ is Refusal:
                replies[place] = refused(self.url, network.name, reply)
        return replies

    def _check_block(self, seconds: float) -> None:
        if not 0 < seconds < self.socket_timeout:
            raise InvalidOption(
                option="timeout", value=seconds, why=f"it must be above 0 and below socket_timeout={self.socket_timeout:g}"
            )

    def _network(self) -> Network:
        """The servers; opens the books at the first use, refuses another loop or process afterwards."""
        loop = asyncio.get_running_loop()
        if self._closed:
            raise ConfigurationError(f"the connection to {self.url} was closed; make a new one")
        if self._loop is None:
            self._loop, self._pid = loop, os.getpid()
            self._opened = self._make_network()
            self._popper = Popper(self._opened, url=self.url)
            self._subscriber = Subscriber(self._opened, url=self.url, interval=self.socket_timeout)
            self._guard = self._close_with_loop()
            loop.create_task(anext(self._guard))  # noqa: RUF006
        elif self._loop is not loop:
            raise ConfigurationError(f"the connection to {self.url} belongs to another event loop; make one for this loop")
        elif self._pid != os.getpid():
            raise ConfigurationError(f"the connection to {self.url} belongs to the parent process; make one after the fork")
        return self._opened

    def _make_network(self) -> Network:
        target = self._target
        if self.kind == "memory":
            from capelin.connection import memory

            memory.server(target.service)

            async def memory_wire() -> Wire:
                return memory.MemoryWire(target.service)

            return OneServer(memory_wire, url=self.url, name=self.url)
        data = self._dialler(target)
        if self.kind == "cluster":
            return ClusterNetwork(data, seeds=target.addresses, url=self.url, patience=self.socket_timeout)
        if self.kind == "sentinel":
            ask = Dialler(
                url=self.url,
                login=target.sentinel_login,
                db=0,
                client_name=target.client_name,
                tls=target.tls,
                connect_timeout=self._connect_timeout,
                silence=self.socket_timeout,
            )
            return OneServer(
                lambda: find_master(target.addresses, target.service, ask=ask, data=data, url=self.url),
                url=self.url,
                name=target.service,
            )
        return OneServer(lambda: data.open(target.addresses[0]), url=self.url, name=str(target.addresses[0]))

    def _dialler(self, target: Target) -> Dialler:
        return Dialler(
            url=self.url,
            login=target.login,
            db=target.db,
            client_name=target.client_name,
            tls=target.tls,
            connect_timeout=self._connect_timeout,
            silence=self.socket_timeout,
        )

    async def _close_with_loop(self) -> AsyncGenerator[None, None]:
        """Event loops end their async generators before they close: the last moment at which sockets can be closed."""
        try:
            yield
        finally:
            await self.close()


def connect(url: str, *, socket_timeout: float = 5.0, connect_timeout: float | None = None) -> Connection:
    """A connection to what the URL names. Lazy: nothing touches the network until it is used.

    Args:
        url: `redis://`, `rediss://`, `unix://`, `redis+cluster://`, `redis+sentinel://` or `memory://`.
        socket_timeout: Seconds; must lie above every blocking time (`pop`, `read_stream`).
        connect_timeout: Seconds for opening a socket and logging in; `socket_timeout` when left out.

    Raises:
        InvalidURL: The URL cannot be understood.
        InvalidOption: A timeout is not above 0.

    >>> connect("redis://localhost:6379/0")
    <Connection redis://localhost:6379/0>
    """
    target = parse_url(url)
    connect_timeout = socket_timeout if connect_timeout is None else connect_timeout
    for name, seconds in (("socket_timeout", socket_timeout), ("connect_timeout", connect_timeout)):
        if not seconds > 0:
            raise InvalidOption(option=name, value=seconds, why="it must be above 0 seconds")
    return Connection(target, socket_timeout=socket_timeout, connect_timeout=connect_timeout)

