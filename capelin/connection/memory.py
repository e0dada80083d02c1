"""`memory://`: an in-process Redis (fakeredis) behind the same `Wire` as a real one.

The one module that imports fakeredis, and only when a `memory://` URL is used. Servers are shared by name
within the process, so that a client and a worker in one test see the same data.
"""

import asyncio
import importlib.util
import threading
from typing import Any

import redis.exceptions as theirs

from capelin.connection import clocks
from capelin.connection.refusals import Refusal
from capelin.connection.wire import Wire
from capelin.errors import ConfigurationError, Unreachable

_MISSING = "memory:// needs the extra `embedded` ({}): pip install 'capelin[embedded]'"

_servers: dict[str, Any] = {}
_servers_lock = threading.Lock()

# redis-py takes the code off the messages of these errors.
_CODES: tuple[tuple[type[Exception], str], ...] = (
    (theirs.NoScriptError, "NOSCRIPT"),
    (theirs.ReadOnlyError, "READONLY"),
    (theirs.NoPermissionError, "NOPERM"),
    (theirs.OutOfMemoryError, "OOM"),
)
# The event loop itself does not keep tasks alive, and a wire that was dropped is kept by nobody.
_running: set[asyncio.Task[None]] = set()

_LOST = (theirs.ConnectionError, theirs.TimeoutError, OSError)


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
    clocks.forget_clock(name)


class MemoryWire(Wire):
    """A `Wire` to an in-process server."""

    def __init__(self, name: str) -> None:
        from fakeredis.aioredis import FakeRedis

        super().__init__(f"memory://{name}")
        self._server = name
        # RESP3, redis-py 8's default, would hand scripts maps where a server hands them arrays.
        client: Any = FakeRedis(server=server(name), protocol=2, decode_responses=False)
        self._connection: Any = client.connection_pool.make_connection()
        self._unwritten: asyncio.Queue[bytes] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Connect.

        Raises:
            Unreachable: The server plays dead.
        """
        try:
            await self._connection.connect()
        except _LOST as error:
            self.drop(str(error))
            raise Unreachable(url=self.name, cause=str(error)) from error
        self._tasks = [self._loop.create_task(work()) for work in (self._send_all, self._receive_all)]
        for task in self._tasks:
            _running.add(task)
            task.add_done_callback(_running.discard)

    async def close(self) -> None:
        """As `Wire.close`."""
        self.drop("the connection was closed")
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._connection.disconnect()

    def _write(self, data: bytes) -> None:
        self._unwritten.put_nowait(data)

    def _cut(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _send_all(self) -> None:
        clocks.serving.set(self._server)  # commands run in this task
        try:
            while not self._over():
                await self._connection.send_packed_command(await self._unwritten.get())
        except _LOST as error:
            self.drop(str(error) or "the server is down")

    async def _receive_all(self) -> None:
        try:
            while not self._over():
                self._received(await self._reply())
        except _LOST as error:
            self.drop(str(error) or "the server is down")

    def _over(self) -> bool:
        """Whether to end: on Python 3.11 a cancellation can get lost in the library's use of `wait_for`."""
        task = asyncio.current_task()
        return self.lost is not None or (task is not None and task.cancelling() > 0)

    async def _reply(self) -> Any:
        try:
            return await self._connection.read_response(disable_decoding=True)
        except theirs.ResponseError as error:
            text = str(error)
            for kind, code in _CODES:
                if isinstance(error, kind) and not text.startswith(code):
                    return Refusal(f"{code} {text}")
            return Refusal(text)
