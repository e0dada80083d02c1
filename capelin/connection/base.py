"""`Connection`: what the rest of capelin sees of Redis, whichever kind it is."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from capelin.connection.books import Books, open_network
from capelin.connection.confirming import Confirmed, Wish
from capelin.connection.delivery import Plain
from capelin.connection.pipeline import Pipeline, read_reply
from capelin.connection.popping import Handle
from capelin.connection.refusals import Refusal, to_error
from capelin.connection.subscribing import Subscription
from capelin.connection.urls import Kind, Target, parse_url
from capelin.connection.wire import Argument, Command
from capelin.errors import ConfigurationError, InvalidOption
from capelin.lua.call import Call

T = TypeVar("T")


class Connection:
    """A connection to Redis, bound to the event loop and the process in which it is first used.

    Nothing is sent twice: what fails with `Unreachable` may or may not have run, and the caller decides. Any
    number of coroutines may use one connection at once, and one that is cancelled disturbs no other. After an
    outage the next call connects anew. When its event loop ends as `asyncio.run` ends it, the connection
    closes itself.

    Attributes:
        url: The URL as it may be printed; passwords are `***`.
        kind: `redis`, `cluster`, `sentinel` or `memory`.
        socket_timeout: Seconds of silence, while a reply is owed, after which a server counts as lost.
        connect_timeout: Seconds for opening a socket and logging in.
        patience: Seconds for which a call is sent again that a Cluster turned away since its slot moves.

    Example:
        connection = connect("redis://localhost:6379/0")
        reply = await connection.run(call)
    """

    def __init__(
        self, target: Target, *, socket_timeout: float, connect_timeout: float, patience: float
    ) -> None:
        self.url: str = target.url
        self.kind: Kind = target.kind
        self.socket_timeout = socket_timeout
        self.connect_timeout = connect_timeout
        self.patience = patience
        self._target = target
        self._books: Books | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"<Connection {self.url}{' closed' if self._closed else ''}>"

    async def run(self, call: Call[T]) -> T:
        """Run one script.

        Raises:
            Unreachable: No reply was read; the script may or may not have run.
            RedisRefused: Redis answered with an error.
        """
        [reply] = await Pipeline(self._open().network, (call,), url=self.url).replies()
        if isinstance(reply, Exception):
            raise reply
        result: T = reply
        return result

    async def run_many(self, calls: Sequence[Call[Any]]) -> list[Any]:
        """Run scripts in one pipeline, or one for each node of a Cluster.

        Returns:
            For each call, in order, its parsed reply or the exception that `run` would raise. Calls to one
            server run in the order given, except those that it turned away without running them, which are
            sent again (`NOSCRIPT` after a `SCRIPT FLUSH`, slots that move).
        """
        return await self.begin(calls).replies() if calls else []

    async def run_in_turn(self, calls: Iterable[Call[Any]]) -> list[Any]:
        """Run scripts whose calls take time to make: each is on its way while the next is made.

        Returns:
            As `run_many`. With no open connection, and in a Cluster, they go out together when all are made.
        """
        network = self._open().network
        under_way: list[Pipeline] = []
        rest: list[Call[Any]] = []
        for call in calls:
            pipeline = None if rest else Pipeline(network, (call,), url=self.url)
            if pipeline is None or not pipeline.sent:
                rest.append(call)
                continue
            under_way.append(pipeline)
            await asyncio.sleep(0)  # what a turn of the loop sends goes out at its end
        replies: list[Any] = []
        for pipeline in under_way:
            replies += await pipeline.replies()
        return [*replies, *await self.run_many(rest)]

    def begin(self, calls: Sequence[Call[Any]]) -> Pipeline:
        """Send scripts in one pipeline, at once if the connection is open.

        Returns:
            The pipeline, whose `replies()` are what `run_many` returns.

        Raises:
            ConfigurationError: The connection was closed, or belongs to another event loop or process.
        """
        return Pipeline(self._open().network, calls, url=self.url)

    async def run_confirmed(self, calls: Sequence[Call[Any]], wish: Wish) -> list[Any]:
        """Run scripts, and wait until there are copies of what they wrote, once for each server.

        What else is sent over this connection meanwhile waits behind: use one of its own for it.

        Returns:
            For each call, in order, its parsed reply with the copies that there are (`Confirmed`), or the
            exception that `run` would raise. `Unreachable` also says that nobody can tell any more. In
            process, where there is nothing to lose a copy of, the wish is granted.
        """
        network = self._open().network
        if self.kind == "memory":
            replies = await self.run_many(calls)
            return [
                reply if isinstance(reply, Exception) else Confirmed(reply, wish.granted) for reply in replies
            ]
        results: list[Any] = []
        for call, raw in zip(calls, await network.carry(calls, wish=wish), strict=True):
            reply, copies = raw if isinstance(raw, Confirmed) else (raw, None)
            value = read_reply(call, reply, url=self.url, server=network.name)
            results.append(
                value if copies is None or isinstance(value, Exception) else Confirmed(value, copies)
            )
        return results

    async def command(self, *args: Argument, key: str | None = None) -> Any:
        """Run one plain command.

        Args:
            args: The command and its arguments.
            key: Routes it in a Cluster; the first argument if left out.

        Returns:
            The raw reply: bytes, int, None, or a list of these (maps as flat lists).

        Raises:
            Unreachable, RedisRefused: As `run`.
        """
        [reply] = await self._plain([args], key)
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def commands(self, commands: Sequence[Command]) -> list[Any]:
        """Run plain commands in one pipeline, each routed by its first argument.

        Returns:
            For each, in order, its raw reply or the exception that `command` would raise.
        """
        return await self._plain(commands, None)

    async def masters(self) -> list[str]:
        """Names of the servers that hold data: one, or the masters of a Cluster.

        Raises:
            Unreachable, RedisRefused: As `run`.
        """
        return await self._open().network.masters()

    async def command_on(self, master: str, *args: Argument) -> Any:
        """Run one plain command on one of `masters` (`SCAN` with its cursor, `INFO`, `DBSIZE`).

        Raises:
            Unreachable, RedisRefused: As `run`.
        """
        [reply] = await self._open().network.carry_to(master, [Plain(args)])
        if isinstance(reply, Refusal):
            raise to_error(reply, url=self.url, server=master)
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def pop(self, keys: Sequence[str], timeout: float, *, handle: Handle | None = None) -> str | None:
        """Wait until one of these lists has an element, and take the first.

        An element that is popped for a caller who is gone by then goes to the next call, or back to its list.

        Args:
            keys: The lists. Without any, nothing can come and the whole time passes.
            timeout: Seconds to wait: above 0 and below `socket_timeout`.
            handle: Told of the list as soon as the reply is read. When it returns a future, the element is
                dealt with, and once that is done, this waits on for the rest of the time.

        Returns:
            The list that had it. None if there was nothing in time; or earlier, when another call took over
            (there is one at a time) or a slot is on its way to another node. Look for what you wait for, and
            call again.

        Raises:
            Unreachable, RedisRefused: As `run`; in a Cluster only when no other node had an element in time.
            InvalidOption: The timeout is out of its range.
        """
        self._check_blocking(timeout)
        books = self._open()
        if not keys:
            await asyncio.sleep(timeout)
            return None
        return await books.popper.pop(keys, timeout, handle=handle)

    async def read_stream(
        self, key: str, last_id: str, block: float, count: int = 100
    ) -> list[tuple[str, dict[str, str]]]:
        """Read a stream after `last_id`, and wait for the first entry if there is none.

        Args:
            key: The stream.
            last_id: The id of the last entry that was read; `0` for the beginning, `$` for what comes from
                now on.
            block: Seconds to wait: above 0 and below `socket_timeout`.
            count: At most so many entries.

        Returns:
            Ids and fields; empty if nothing came in time.

        Raises:
            Unreachable, RedisRefused: As `run`.
            InvalidOption: `block` is out of its range.
        """
        self._check_blocking(block)
        return await self._open().reader.read(key, last_id, block=block, count=count)

    def subscribe(self, channel: str) -> Subscription:
        """Listen to a channel; see `Subscription`. In a Cluster too, whatever anybody publishes arrives."""
        return Subscription(channel, self._open().subscriber)

    async def close(self) -> None:
        """Close every socket. Calls under way end with `Unreachable`; closing twice does nothing."""
        books, self._books, self._closed = self._books, None, True
        if books is not None and books.usable_here:
            await books.close()

    async def _plain(self, commands: Sequence[Command], key: str | None) -> list[Any]:
        network = self._open().network
        if not commands:
            return []
        errands = [Plain(command, key=_route(command) if key is None else key) for command in commands]
        replies = await network.carry(errands)
        for place, reply in enumerate(replies):
            if reply.__class__ is Refusal:
                key = errands[place].key
                replies[place] = to_error(
                    reply, url=self.url, server=network.name, keys=() if key is None else (str(key),)
                )
        return replies

    def _check_blocking(self, seconds: float) -> None:
        if not 0 < seconds < self.socket_timeout:
            raise InvalidOption(
                option="timeout",
                value=seconds,
                why=f"a blocking time is above 0 and below socket_timeout, {self.socket_timeout:g} s",
            )

    def _open(self) -> Books:
        books = self._books
        if books is not None:
            if books.usable_here:
                return books
            raise ConfigurationError(
                f"the connection to {self.url} was opened in another event loop or process; "
                "make one with connect() in each of them"
            )
        if self._closed:
            raise ConfigurationError(
                f"the connection to {self.url} was closed; make a new one with connect()"
            )
        network = open_network(
            self._target,
            socket_timeout=self.socket_timeout,
            connect_timeout=self.connect_timeout,
            patience=self.patience,
        )
        self._books = books = Books(network, url=self.url, interval=self.socket_timeout, at_end=self.close)
        return books


def _route(command: Command) -> str | None:
    if len(command) == 1:
        return None
    word = command[1]
    return word.decode(errors="replace") if isinstance(word, bytes) else str(word)


def connect(
    url: str,
    *,
    socket_timeout: float = 5.0,
    connect_timeout: float | None = None,
    patience: float | None = None,
) -> Connection:
    """A connection to what the URL names. Nothing touches the network until it is used.

    Args:
        url: `redis://`, `rediss://`, `unix://`, `redis+cluster://`, `redis+sentinel://` or `memory://`.
        socket_timeout: Seconds; above every blocking time (`pop`, `read_stream`).
        connect_timeout: Seconds for opening a socket and logging in; `socket_timeout` if left out.
        patience: Seconds for which a call is sent again that a Cluster turned away since its slot moves;
            `socket_timeout` if left out. All calls of a pipeline wait for the slowest one: with 0, none waits
            for a slot that moves, and the caller sends that one again.

    Raises:
        InvalidURL: The URL cannot be understood.
        InvalidOption: A timeout is not above 0.

    >>> connect("redis://:secret@localhost:6379/0")
    <Connection redis://:***@localhost:6379/0>
    """
    target = parse_url(url)
    connect_timeout = socket_timeout if connect_timeout is None else connect_timeout
    for option, seconds in (("socket_timeout", socket_timeout), ("connect_timeout", connect_timeout)):
        if not seconds > 0:
            raise InvalidOption(option=option, value=seconds, why="it must be above 0 seconds")
    return Connection(
        target,
        socket_timeout=socket_timeout,
        connect_timeout=connect_timeout,
        patience=socket_timeout if patience is None else patience,
    )
