"""The network between workers and Redis: relays that can cut connections, and cut off single processes.

Each Redis server stands behind a relay with a port of its own, and tells clients that port. A relay passes
bytes on and understands none of them. Whose connection one is follows from who holds its socket, which the
system knows; so a Cluster or a Sentinel, which tell everybody the same addresses, can be cut off from one
worker alone.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterable
from types import TracebackType
from typing import Any, Self, TypeVar

import psutil

from tests.support.ports import LOOPBACK, free_port

T = TypeVar("T")
_CHUNK = 65_536


def sockets_of(pid: int) -> set[int]:
    """The local ports of a process's connections; none if it is gone."""
    with contextlib.suppress(psutil.Error):
        return {found.laddr.port for found in psutil.Process(pid).net_connections("tcp")}
    return set()


class _Link:
    """One connection through a relay."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.peer: int = writer.get_extra_info("peername")[1]
        self.passing = asyncio.Event()
        self._upstream: asyncio.StreamWriter | None = None

    async def run(self, target: int) -> None:
        try:
            await self.passing.wait()
            reader, self._upstream = await asyncio.open_connection(LOOPBACK, target)
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
            network.cut_off(worker.pid)
            network.heal()
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="network", daemon=True)
        self._links: dict[_Link, asyncio.Task[None]] = {}
        self._servers: list[asyncio.Server] = []
        # The network's loop alone touches these.
        self._away: set[int] = set()
        self._all_away = False

    def before(self, target: int) -> int:
        """A new relay before a server's port; returns the relay's."""
        return self._call(self._listen(target))

    def cut(self, pids: Iterable[int] | None = None) -> int:
        """Drop the connections of some processes, or all; returns how many."""
        return self._call(self._cut(None if pids is None else set(pids)))

    def cut_off(self, pid: int | None = None) -> None:
        """Pass nothing from or to a process any more, or anybody; its connections stay open."""
        self._call(self._cut_off(pid))

    def heal(self, pid: int | None = None) -> None:
        """End `cut_off`: what was held back flows."""
        self._call(self._heal(pid))

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
            link = _Link(reader, writer)
            task = asyncio.current_task()
            if task is None:
                raise RuntimeError("connections are served by tasks")
            self._links[link] = task
            if not (self._all_away or link.peer in self._held_ports()):
                link.passing.set()
            try:
                with contextlib.suppress(asyncio.CancelledError):
                    await link.run(target)
            finally:
                del self._links[link]

        return serve

    def _held_ports(self) -> set[int]:
        return set[int]().union(*(sockets_of(pid) for pid in self._away))

    async def _cut(self, pids: set[int] | None) -> int:
        ports = None if pids is None else set[int]().union(*(sockets_of(pid) for pid in pids))
        chosen = [link for link in self._links if ports is None or link.peer in ports]
        for link in chosen:
            link.abort()
            self._links[link].cancel()
        return len(chosen)

    async def _cut_off(self, pid: int | None) -> None:
        if pid is None:
            self._all_away = True
        else:
            self._away.add(pid)
        self._sort()

    async def _heal(self, pid: int | None) -> None:
        if pid is None:
            self._all_away = False
            self._away.clear()
        else:
            self._away.discard(pid)
        self._sort()

    def _sort(self) -> None:
        held = self._held_ports()
        for link in self._links:
            if self._all_away or link.peer in held:
                link.passing.clear()
            else:
                link.passing.set()

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
