"""`memory://`: an in-process Redis (fakeredis) behind the same `Wire` as a real one.

The one module that imports fakeredis, and only when a `memory://` URL is used. Servers are shared by name within the
process, so that a worker and a client in one test see the same data.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import redis.exceptions

from capelin.connection.wire import Command, Refusal, pack
from capelin.errors import ConfigurationError

_servers: dict[str, Any] = {}
_servers_lock = threading.Lock()

# redis-py takes the code off the messages of these errors.
_CODES: tuple[tuple[type[Exception], str], ...] = (
    (redis.exceptions.NoScriptError, "NOSCRIPT"),
    (redis.exceptions.ReadOnlyError, "READONLY"),
    (redis.exceptions.NoPermissionError, "NOPERM"),
    (redis.exceptions.OutOfMemoryError, "OOM"),
)


def server(name: str) -> Any:
    """The `fakeredis.FakeServer` of this name, made when first asked for.

    Raises:
        ConfigurationError: The `embedded` extra is not installed.
    """
    try:
        import fakeredis
        import lupa  # noqa: F401 # pyright: ignore[reportUnusedImport] -- fakeredis runs no script without it
    except ImportError as error:
        raise ConfigurationError(
            f"memory:// needs the extra `embedded` ({error}): pip install 'capelin[embedded]'"
        ) from error
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
        import fakeredis.aioredis

        self.name = f"memory://{name}"
        self.loaded: set[str] = set()
        self.lost: str | None = None
        self.on_message: Callable[[list[Any]], None] | None = None
        self.on_lost: Callable[[], None] | None = None
        self._client: Any = fakeredis.aioredis.FakeRedis(server=server(name), protocol=2, decode_responses=False)
        self._client.response_callbacks.clear()
        self._pubsub: Any = None
        self._loop = asyncio.get_running_loop()
        self._queue: deque[tuple[asyncio.Future[list[Any]], Sequence[Command]]] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._listener: asyncio.Task[None] | None = None

    def check(self, command: Command) -> None:
        pack([command])

    def send(self, commands: Sequence[Command]) -> asyncio.Future[list[Any]]:
        pack(commands)  # refuses what a socket would refuse
        future: asyncio.Future[list[Any]] = self._loop.create_future()
        if self.lost is not None or not commands:
            future.set_result([])
            return future
        self._queue.append((future, commands))
        if self._worker is None:
            self._worker = self._loop.create_task(self._work())
        return future

    def drop(self, why: str) -> None:
        if self.lost is not None:
            return
        self.lost = why
        for task in (self._worker, self._listener):
            if task is not None:
                task.cancel()
        queue = list(self._queue)
        self._queue.clear()
        for future, _ in queue:
            if not future.done():
                future.set_result([])
        if self.on_lost is not None:
            self.on_lost()

    async def close(self) -> None:
        self.drop("the connection was closed")
        tasks = [task for task in (self._worker, self._listener) if task is not None]
        if tasks:
            await asyncio.wait(tasks)
        if self._pubsub is not None:
            await self._pubsub.aclose()
        await self._client.aclose()
        await self._client.connection_pool.disconnect()

    async def _work(self) -> None:
        replies: list[Any] = []
        while self._queue:
            future, commands = self._queue[0]
            replies = []
            try:
                for command in commands:
                    replies.append(await self._run(command))
            except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError) as error:
                self._worker = None
                self._answer(future, replies)
                self.drop(str(error) or "the server is down")
                return
            except asyncio.CancelledError:
                self._answer(future, replies)
                raise
            self._queue.popleft()
            self._answer(future, replies)
        self._worker = None

    @staticmethod
    def _answer(future: asyncio.Future[list[Any]], replies: list[Any]) -> None:
        if not future.done():
            future.set_result(replies)

    async def _run(self, command: Command) -> Any:
        name = str(command[0]).upper()
        if name in {"SUBSCRIBE", "UNSUBSCRIBE"}:
            return await self._subscribe(name, *map(str, command[1:]))
        try:
            return await self._client.execute_command(*command)
        except redis.exceptions.ResponseError as error:
            for kind, code in _CODES:
                if isinstance(error, kind) and not str(error).startswith(code):
                    return Refusal(f"{code} {error}")
            return Refusal(str(error))

    async def _subscribe(self, name: str, *channels: str) -> None:
        if self._pubsub is None:
            self._pubsub = self._client.pubsub()
        if name == "SUBSCRIBE":
            await self._pubsub.subscribe(*channels)
        else:
            await self._pubsub.unsubscribe(*channels)
        if self._listener is None and name == "SUBSCRIBE":
            self._listener = self._loop.create_task(self._listen())

    async def _listen(self) -> None:
        while self.lost is None:
            message = await self._pubsub.get_message(ignore_subscribe_messages=True, timeout=None)
            if message is not None and self.on_message is not None:
                self.on_message([b"message", message["channel"], message["data"]])
