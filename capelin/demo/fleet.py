"""The demo's workers: real processes, started with ``capelin worker`` as anybody would start them."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from capelin.demo.tasks import QUEUE, TICKS
from capelin.errors import ConfigurationError
from capelin.workers.child import WorkerProcess, this_command

LEASE_TTL: Final = 2.0
"""Seconds; the default of 6 would only make the reader wait longer for the same thing."""

_THREADS: Final = 4
_STARTING_SECONDS: Final = 60.0
_ENDING_SECONDS: Final = 15.0
_TAIL: Final = 600


class Fleet:
    """Running workers, by name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.workers: dict[str, WorkerProcess] = {}
        self.killed: str | None = None

    @property
    def alive(self) -> dict[str, WorkerProcess]:
        """Those that have not ended."""
        return {name: worker for name, worker in self.workers.items() if not worker.ended}

    async def start(self, name: str, *, url: str) -> None:
        """Start one, and wait until it has loaded its app.

        Raises:
            ConfigurationError: It ended at once.
        """
        words = ["worker", "capelin.demo.tasks:app", "--redis", url, "-q", QUEUE, "-q", TICKS, "--name", name]
        with self._output(name).open("wb") as output:
            worker = await WorkerProcess.start(
                this_command([*words, "--threads", str(_THREADS), "--grace", "5"]), env=_env(), output=output
            )
        self.workers[name] = worker
        loaded = asyncio.create_task(worker.loaded.wait())
        ended = asyncio.create_task(worker.wait())
        try:
            await asyncio.wait(
                [loaded, ended], timeout=_STARTING_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            if not loaded.done():
                raise ConfigurationError(f"{name} does not start: {self.last_words(name)}")
        finally:
            loaded.cancel()
            ended.cancel()

    @contextlib.contextmanager
    def frozen(self, name: str) -> Generator[None]:
        """Stop one where it stands for the length of the block, as if no CPU were left for it."""
        self.workers[name].send(signal.SIGSTOP)
        try:
            yield
        finally:
            self.workers[name].send(signal.SIGCONT)

    async def kill(self, name: str) -> None:
        """Kill one without a warning, and wait until it is dead."""
        self.killed = name
        self.workers[name].send(signal.SIGKILL)
        await self.workers[name].wait()

    async def stop(self) -> None:
        """End them all: cleanly, and with force what takes too long."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            left = list(self.alive.values())
            if not left:
                return
            for worker in left:
                worker.send(number)
            waiting = [asyncio.create_task(worker.wait()) for worker in left]
            await asyncio.wait(waiting, timeout=_ENDING_SECONDS)

    def last_words(self, name: str) -> str:
        """What a worker wrote last."""
        with contextlib.suppress(OSError):
            return self._output(name).read_text(errors="replace").strip()[-_TAIL:]
        return ""

    def _output(self, name: str) -> Path:
        return self._folder / f"{name}.log"


@asynccontextmanager
async def fleet_in(folder: Path) -> AsyncGenerator[Fleet]:
    """Hold workers that end with the block, whatever happens in it.

    Args:
        folder: Where they write what they have to say.
    """
    fleet = Fleet(folder)
    try:
        yield fleet
    finally:
        await fleet.stop()


def _env() -> Mapping[str, str]:
    return {"CAPELIN_LEASE_TTL": str(LEASE_TTL), "CAPELIN_LOG_LEVEL": "warning", "CAPELIN_LOG_FORMAT": "json"}
