"""A TCP proxy that stands between a client and a Redis server and breaks things on demand.

It understands where a command and a reply begin and end, so that a fault hits exactly what a test names: the
reply of one script is read from the server, which has therefore carried it out, and never reaches the client.
The proxy runs on a loop and a thread of its own: a test that blocks its event loop does not block it.
"""

import asyncio
import contextlib
import errno
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

from tests.support.ports import LOOPBACK, free_port
from tests.support.resp import read_frame
from tests.support.waiting import wait_until_sync

T = TypeVar("T")
Predicate = Callable[[bytes], bool]


def mentions(*words: str | bytes) -> Predicate:
    """A predicate for a command in which all these words occur, in any case: `mentions("EVALSHA", sha)`."""
    wanted = [(word if isinstance(word, bytes) else word.encode()).lower() for word in words]
    return lambda request: all(word in request.lower() for word in wanted)


@dataclass(eq=False, kw_only=True)
class Fault:
    """A fault that has been ordered. `hits` grows as connections fall to it.

    Attributes:
        predicate: asked with the bytes of one whole command.
        before: cut before the server sees the command, not after it has answered.
        times: how many commands it hits; None for all of them until `lift`.
    """

    predicate: Predicate
    before: bool
    times: int | None
    requests: list[bytes] = field(default_factory=list[bytes])
    hits: int = 0
    _lifted: bool = False

    def lift(self) -> None:
        """No further command is hit."""
        self._lifted = True

    def wait_for(self, hits: int = 1, *, timeout: float = 20) -> None:
        """Return once `hits` connections are cut; async code waits with `wait_until` instead."""
        wait_until_sync(lambda: self.hits >= hits, description=f"{hits} cuts by the proxy", timeout=timeout)

    def takes(self, request: bytes) -> bool:
        """Whether this command is to be hit; says yes `times` times."""
        if self._lifted or (self.times is not None and len(self.requests) >= self.times):
            return False
        if not self.predicate(request):
            return False
        self.requests.append(request)
        return True


class _Link:
    """One client's connection and its twin to the server."""

    def __init__(
        self, proxy: "RedisProxy", reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._proxy = proxy
        self._client, self._to_client = reader, writer
        self._to_server: asyncio.StreamWriter | None = None
        # What each outstanding reply is subject to, in the order of the commands.
        self._awaited: deque[Fault | None] = deque()
        self._tasks: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        try:
            server, self._to_server = await asyncio.open_connection(*self._proxy.target)
        except OSError:
            self.abort()
            return
        self._tasks = [
            asyncio.ensure_future(self._requests(self._to_server)),
            asyncio.ensure_future(self._replies(server)),
        ]
        try:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self.abort()

    def abort(self) -> None:
        """Drop both sides at once, as a network does: no goodbye, buffered bytes lost."""
        for writer in (self._to_client, self._to_server):
            if writer is not None:
                writer.transport.abort()

    def _hit(self, fault: Fault) -> None:
        # In this order: whoever waits for the hit finds the connection gone.
        self.abort()
        fault.hits += 1

    async def _requests(self, server: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                request = await read_frame(self._client)
                self._proxy.count_command(request)
                fault = self._proxy.fault_for(request)
                if fault is not None and fault.before:
                    self._hit(fault)
                    return
                await self._proxy.requests_pass.wait()
                self._awaited.append(fault)
                server.write(request)
                await server.drain()

    async def _replies(self, server: asyncio.StreamReader) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                reply = await read_frame(server)
                await self._proxy.replies_pass.wait()
                # Pushes (RESP3) answer no command; a RESP2 subscriber's messages come unasked.
                pushed = reply.startswith(b">") or not self._awaited
                fault = None if pushed else self._awaited.popleft()
                if fault is not None:
                    self._hit(fault)
                    return
                self._to_client.write(reply)
                await self._to_client.drain()


class RedisProxy:
    """Listens on a free port of loopback and passes everything on to `target_url`, until told otherwise.

    Example:
        with RedisProxy(server.url) as proxy:
            fault = proxy.cut_reply_after(mentions("EVALSHA", sha))
            ...                       # a client of proxy.url sends it, and loses its connection
            await wait_until(lambda: fault.hits == 1, description="the reply to be cut")
    """

    def __init__(self, target_url: str) -> None:
        parts = urlsplit(target_url)
        if parts.hostname is None or parts.port is None:
            raise ValueError(f"{target_url!r} names no host and port")
        self.target = (parts.hostname, parts.port)
        self._path = parts.path
        self._faults: list[Fault] = []
        self._links: dict[_Link, asyncio.Task[None]] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="redis-proxy", daemon=True)
        self._server: asyncio.Server | None = None
        # The proxy's loop alone touches these.
        self.requests_pass, self.replies_pass = asyncio.Event(), asyncio.Event()
        self.port = 0
        self.accepted = 0
        self.commands = 0

    @property
    def url(self) -> str:
        """`redis://127.0.0.1:<port of the proxy>/0`."""
        return f"redis://{LOOPBACK}:{self.port}{self._path or '/0'}"

    @property
    def connections(self) -> int:
        """How many client connections are open now."""
        return len(self._links)

    def start(self) -> Self:
        """Begin to listen."""
        self._thread.start()
        self._call(self._listen())
        return self

    def stop(self) -> None:
        """Drop everything and end the thread."""
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut_reply_after(self, predicate: Predicate, *, times: int | None = 1) -> Fault:
        """Let the server carry out the next `times` matching commands, and cut instead of replying.

        Replies to commands sent earlier on the same connection still pass; those of later ones are lost too.
        """
        return self._order(Fault(predicate=predicate, before=False, times=times))

    def cut_before(self, predicate: Predicate, *, times: int | None = 1) -> Fault:
        """Drop the connection on the next `times` matching commands; the server never sees them."""
        return self._order(Fault(predicate=predicate, before=True, times=times))

    def refuse(self) -> None:
        """Refuse new connections, as a server that is down does, and drop those that exist."""
        self._call(self._stop_listening())
        self.drop_all()

    def accept(self) -> None:
        """End `refuse` and `blackhole`: connections are accepted, and what was held back flows."""
        self._call(self._listen())

    def blackhole(self, *, requests_pass: bool = False) -> None:
        """Accept connections and never answer, until `accept`: a network that swallows packets.

        Args:
            requests_pass: the server still gets and carries out requests; only replies are held back.
        """
        self._call(self._hold(requests_pass=requests_pass))

    def drop_all(self) -> None:
        """Drop every open connection now; new ones are served."""
        self._call(self._drop())

    def count_command(self, _request: bytes) -> None:
        """For the links: one more command came from a client."""
        self.commands += 1

    def fault_for(self, request: bytes) -> Fault | None:
        """For the links: the fault, if any, that this command falls to."""
        return next((fault for fault in self._faults if fault.takes(request)), None)

    def _order(self, fault: Fault) -> Fault:
        self._faults.append(fault)
        return fault

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout=20)

    async def _listen(self) -> None:
        self.requests_pass.set()
        self.replies_pass.set()
        while self._server is None:
            port = self.port or free_port()
            try:
                self._server = await asyncio.start_server(self._serve, LOOPBACK, port, limit=2**26)
            except OSError as error:
                # Somebody was quicker. The port that clients already know cannot be changed any more.
                if self.port or error.errno != errno.EADDRINUSE:
                    raise
            else:
                self.port = port

    async def _stop_listening(self) -> None:
        server, self._server = self._server, None
        if server is None:
            return
        for listening in server.sockets:
            self._loop.remove_reader(listening.fileno())
        # What was accepted a moment ago becomes a connection in the loop's next turn. To a server that is
        # closed by then it cannot be attached, and nobody would ever close it.
        await asyncio.sleep(0)
        server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        link = _Link(self, reader, writer)
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("connections are served by tasks")
        self._links[link] = task
        try:
            with contextlib.suppress(asyncio.CancelledError):  # dropped: asyncio would log it as a failure
                await link.run()
        finally:
            del self._links[link]

    async def _hold(self, *, requests_pass: bool) -> None:
        self.replies_pass.clear()
        if not requests_pass:
            self.requests_pass.clear()

    async def _drop(self) -> None:
        tasks = list(self._links.values())
        for link in list(self._links):
            link.abort()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _close(self) -> None:
        await self._stop_listening()
        while True:
            await self._drop()
            # A connection that was accepted a moment ago is a link only some turns of the loop later.
            others = asyncio.all_tasks() - {asyncio.current_task()}
            if not others:
                return
            await asyncio.wait(others, timeout=0.05)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
