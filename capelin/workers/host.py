"""Where the heartbeat runs: in a thread of its own, where a blocked event loop cannot stop it, or on the
worker's own loop when Redis is in this very process (`memory://`) and there is nothing to outlive.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable

import structlog

from capelin.connection import Connection
from capelin.errors import CapelinError
from capelin.workers.beside import Beside
from capelin.workers.heartbeat import Heartbeat

log = structlog.get_logger("capelin.worker")

_PATIENCE = 5.0
"""Seconds for the heartbeat to end."""

Step = Callable[[Connection], Awaitable[None]]


class Host(ABC):
    """Runs a heartbeat until it is stopped."""

    @abstractmethod
    async def start(self, heartbeat: Heartbeat) -> None: ...

    @abstractmethod
    def poke(self) -> None:
        """Have it do a round now."""

    @abstractmethod
    async def call(self, step: Step) -> None:
        """Run something on the heartbeat's loop, with its connection."""

    @abstractmethod
    async def stop(self) -> None: ...


class LocalHost(Host):
    """Runs it on the worker's own event loop."""

    def __init__(self, connect: Callable[[], Connection], on_death: Callable[[BaseException], None]) -> None:
        self._connect = connect
        self._on_death = on_death
        self._heartbeat: Heartbeat
        self._connection: Connection
        self._task: asyncio.Task[None]

    async def start(self, heartbeat: Heartbeat) -> None:
        self._heartbeat = heartbeat
        self._connection = self._connect()
        self._task = asyncio.create_task(heartbeat.run(self._connection), name="capelin heartbeat")
        self._task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_death(error)

    def poke(self) -> None:
        self._heartbeat.poke()

    async def call(self, step: Step) -> None:
        await step(self._connection)

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])
        await self._connection.close()


class ThreadHost(Host):
    """Runs it in a thread with an event loop and a connection of its own."""

    def __init__(self, connect: Callable[[], Connection], on_death: Callable[[BaseException], None]) -> None:
        self._connect = connect
        self._on_death = on_death
        self._thread: Beside | None = None
        self._heartbeat: Heartbeat
        self._connection: Connection
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event

    async def start(self, heartbeat: Heartbeat) -> None:
        self._heartbeat = heartbeat
        started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        worker_loop = asyncio.get_running_loop()

        async def main() -> None:
            self._loop = asyncio.get_running_loop()
            self._stop = asyncio.Event()
            self._connection = self._connect()
            worker_loop.call_soon_threadsafe(started.set_result, None)
            beating = asyncio.create_task(heartbeat.run(self._connection))
            stopping = asyncio.create_task(self._stop.wait())
            await asyncio.wait([beating, stopping], return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if beating.done() and (error := beating.exception()) is not None:
                worker_loop.call_soon_threadsafe(self._on_death, error)
            beating.cancel()
            await asyncio.wait([beating])
            await self._connection.close()

        self._thread = Beside(main, name="capelin heartbeat")
        self._thread.start()
        await started

    def poke(self) -> None:
        self._loop.call_soon_threadsafe(self._heartbeat.poke)

    async def call(self, step: Step) -> None:
        async def run() -> None:
            await step(self._connection)

        running = run()
        try:
            future = asyncio.run_coroutine_threadsafe(running, self._loop)
        except RuntimeError as error:  # its loop is closed: it died of a bug, and the worker is ending
            running.close()
            raise CapelinError("the heartbeat has ended") from error
        await asyncio.wrap_future(future)

    async def stop(self) -> None:
        if self._thread is None or not self._thread.alive:
            return
        self._loop.call_soon_threadsafe(self._stop.set)
        await self._thread.ended(patience=_PATIENCE)
