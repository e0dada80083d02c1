"""`memory://`: an in-process Redis (fakeredis) behind the same `Wire` as a real one.

The one module that imports fakeredis, and only when a `memory://` URL is used. Servers are shared by name
within the process, so that a client and a worker in one test see the same data.
"""

import asyncio
import importlib.util
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import redis.exceptions as theirs

from capelin.connection.refusals import Refusal
from capelin.connection.wire import Command, pack
from capelin.errors import ConfigurationError

_MISSING = "memory:// needs the extra `embedded` ({}): pip install 'capelin[embedded]'"

_servers: dict[str, Any] = {}
_servers_lock = threading.Lock()

# redis-py takes the code off the messages of these errors.
_CODES: tuple[tuple[type[Exception], str], ...] = (
    (theirs.NoScriptError, "NOSCRIPT"),
    (theirs.ReadOnlyError, "READONLY"),
    (theirs.NoPermissionError, "NOPERM"),
    (theirs.OutOfMemoryError, "OOM"),
    (theirs.BusyLoadingError, "LOADING"),
)


def server(name: str) -> Any:
    """The `fakeredis.FakeServer` of this name, made when first asked for.

    Raises:
        ConfigurationError: The `embedded` extra is not installed.
    """
    try:
        import fakeredis
    except ImportError as error:
        raise ConfigurationError(_MISSING.format(error)) from error
    if importlib.util.find_spec("lupa") is None:  # with it, fakeredis runs scripts
        raise ConfigurationError(_MISSING.format("No module named 'lupa'"))
    with _servers_lock:
        if name not in _servers:
            _servers[name] = fakeredis.FakeServer(version=(7,))
        return _servers[name]


def forget(name: str) -> None:
    """Drop the server of this name and all its data; the next connection starts with an empty one."""
    with _servers_lock:
        _servers.pop(name, None)


class MemoryWire:
    """A `Wire` to an in-process server."""

    def __init__(self, name: str) -> None:
        from fakeredis.aioredis import FakeRedis

        self.name = f"memory://{name}"
        self.loaded: set[str] = set()
        self.lost: str | None = None
        self.on_message: Callable[[list[Any]], None] | None = None
        self.on_lost: Callable[[], None] | None = None
        # RESP3, redis-py 8's default, would hand scripts maps where a server hands them arrays.
        self._client: Any = FakeRedis(server=server(name), protocol=2, decode_responses=False)
        self._client.response_callbacks.clear()
        self._pubsub: Any = self._client.pubsub()
        self._loop = asyncio.get_running_loop()
        self._queue: deque[tuple[asyncio.Future[list[Any]], Sequence[Command]]] = deque()
        self._sender: asyncio.Task[None] | None = None
        self._listener: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<MemoryWire {self.name}{f' lost: {self.lost}' if self.lost else ''}>"

    def send(self, commands: Sequence[Command]) -> asyncio.Future[list[Any]]:
        """As `Wire.send`."""
        pack(commands)  # refuses what a socket would refuse
        future: asyncio.Future[list[Any]] = self._loop.create_future()
        if self.lost is not None or not commands:
            future.set_result([])
            return future
        self._queue.append((future, commands))
        if self._sender is None:
            self._sender = self._loop.create_task(self._send_queue())
        return future

    def drop(self, why: str) -> None:
        """As `Wire.drop`."""
        if self.lost is not None:
            return
        self.lost = why
        for task in (self._sender, self._listener):
            if task is not None:
                task.cancel()
        waiting = list(self._queue)
        self._queue.clear()
        for future, _ in waiting:
            _end(future, [])
        if self.on_lost is not None:
            self.on_lost()

    async def close(self) -> None:
        """As `Wire.close`."""
        self.drop("the connection was closed")
        tasks = [task for task in (self._sender, self._listener) if task is not None]
        if tasks:
            await asyncio.wait(tasks)
        await self._pubsub.aclose()
        await self._client.aclose()

    async def _send_queue(self) -> None:
        while self._queue:
            future, commands = self._queue[0]
            replies: list[Any] = []
            try:
                for command in commands:
                    reply = await self._reply_to(command)
                    replies.append(reply)
            except (theirs.ConnectionError, theirs.TimeoutError) as error:
                _end(future, replies)
                self._sender = None
                self.drop(str(error) or "the server is down")
                return
            except asyncio.CancelledError:
                _end(future, replies)
                raise
            self._queue.popleft()
            _end(future, replies)
        self._sender = None

    async def _reply_to(self, command: Command) -> Any:
        name = str(command[0]).upper()
        try:
            if name == "SUBSCRIBE":
                return await self._subscribe(str(command[1]))
            if name == "UNSUBSCRIBE":
                return await self._pubsub.unsubscribe(str(command[1]))
            return await self._client.execute_command(*command)
        except theirs.ResponseError as error:
            text = str(error)
            for kind, code in _CODES:
                if isinstance(error, kind) and not text.startswith(code):
                    return Refusal(f"{code} {text}")
            return Refusal(text)

    async def _subscribe(self, channel: str) -> None:
        await self._pubsub.subscribe(channel)
        if self._listener is None:
            self._listener = self._loop.create_task(self._listen())

    async def _listen(self) -> None:
        while True:
            message = await self._pubsub.get_message(ignore_subscribe_messages=True, timeout=None)
            if message is not None and self.on_message is not None:
                self.on_message([b"message", message["channel"], message["data"]])


def _end(future: asyncio.Future[list[Any]], replies: list[Any]) -> None:
    if not future.done():
        future.set_result(replies)
