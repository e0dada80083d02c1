"""The network between workers and Redis: relays that can cut connections, and cut off single processes.

Each Redis server stands behind a relay with a port of its own, and tells clients that port. A relay passes
bytes on and understands none of them but one word: the name that a client gives itself when it connects. So a
single worker can be cut off from a Cluster or a Sentinel, which tell everybody the same addresses.
"""

import asyncio
import contextlib
import re
import threading
from collections.abc import Callable, Collection, Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

from tests.support.ports import LOOPBACK, free_port

T = TypeVar("T")
_CHUNK = 65_536
_NAME = re.compile(rb"SETNAME\r\n\$\d+\r\n([^\r]+)")


class _Link:
    """One connection through a relay."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, passes: Callable[[str], bool]
    ) -> None:
        self._reader, self._writer, self._passes = reader, writer, passes
        self.name = ""
        self.passing = asyncio.Event()
        self._upstream: asyncio.StreamWriter | None = None

    def sort(self) -> None:
        """Let pass, or hold back, as the network says."""
        if self._passes(self.name):
            self.passing.set()
        else:
            self.passing.clear()

    async def run(self, target: int) -> None:
        try:
            first = await self._reader.read(_CHUNK)
            if found := _NAME.search(first):
                self.name = found[1].decode()
            self.sort()
            await self.passing.wait()
            reader, self._upstream = await asyncio.open_connection(LOOPBACK, target)
            self._upstream.write(first)
            pumps = [
                asyncio.ensure_future(self._pump(self._reader, self._upstream)),
                asyncio.ensure_future(self._pump(reader, self._writer)),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                # A side that has gone takes the other with it, though not while nothing passes.
                await self.passing.wait()
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        except OSError:
            pass  # the server is down: the client sees its connection end
        finally:
            self.abort()

    def abort(self) -> None:
        """End both sides at once; what is on its way is lost."""
        for writer in (self._writer, self._upstream):
            if writer is not None:
                writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(_CHUNK):
                await self.passing.wait()
                writer.write(chunk)
                await writer.drain()


class Network:
    """All relays, on a loop and in a thread of their own.

    Example:
        with Network() as network:
            port = network.before(server.port)
            network.cut_off(worker.name)
            network.heal()
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="network", daemon=True)
        self._links: dict[_Link, asyncio.Task[None]] = {}
        self._servers: list[asyncio.Server] = []
        # The network's loop alone touches these.
        self._away: set[str] = set()
        self._all_away = False

    def before(self, target: int) -> int:
        """A new relay before a server's port; returns the relay's."""
        return self._call(self._listen(target))

    def cut(self, names: Collection[str] | None = None) -> int:
        """Drop the connections of some clients, or all; returns how many."""
        return self._call(self._cut(names))

    def cut_off(self, name: str | None = None) -> None:
        """Pass nothing from or to a client any more, or anybody; its connections stay open."""
        self._call(self._cut_off(name))

    def heal(self, name: str | None = None) -> None:
        """End `cut_off`: what was held back flows."""
        self._call(self._heal(name))

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout=30)

    async def _listen(self, target: int) -> int:
        for _ in range(100):
            port = free_port()
            with contextlib.suppress(OSError):
                self._servers.append(await asyncio.start_server(self._serving(target), LOOPBACK, port))
                return port
        raise RuntimeError("no port is free for a relay")

    def _serving(self, target: int) -> Callable[..., Coroutine[Any, Any, None]]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            link = _Link(reader, writer, passes=self._passes)
            task = asyncio.current_task()
            if task is None:
                raise RuntimeError("connections are served by tasks")
            self._links[link] = task
            try:
                with contextlib.suppress(asyncio.CancelledError):
                    await link.run(target)
            finally:
                del self._links[link]

        return serve

    def _passes(self, name: str) -> bool:
        return not (self._all_away or name in self._away)

    async def _cut(self, names: Collection[str] | None) -> int:
        chosen = [link for link in self._links if names is None or link.name in names]
        for link in chosen:
            link.abort()
            self._links[link].cancel()
        return len(chosen)

    async def _cut_off(self, name: str | None) -> None:
        if name is None:
            self._all_away = True
        else:
            self._away.add(name)
        self._sort()

    async def _heal(self, name: str | None) -> None:
        if name is None:
            self._all_away = False
            self._away.clear()
        else:
            self._away.discard(name)
        self._sort()

    def _sort(self) -> None:
        for link in self._links:
            link.sort()

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        for task in list(self._links.values()):
            task.cancel()
        await asyncio.gather(*self._links.values(), return_exceptions=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
