"""Peers whose workers are programs of their own: started as their documentation says, watched from outside.

The adapter's process only starts the program and hears from its jobs (``reports.py``).
"""

import asyncio
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from benchmarks.adapter import Adapter
from benchmarks.work import Work

URL_VARIABLE = "CAPELIN_BENCHMARK_URL"
"""Where the program's module finds Redis: it is imported before anybody could tell it."""

_GRACE = 5.0


class Program(Adapter, ABC):
    """An adapter of a system that has a program for its workers."""

    @abstractmethod
    def command(self, work: Work) -> Sequence[str]:
        """Return the program's name and arguments, for jobs that do such work."""
        ...

    async def work(self, url: str, work: Work) -> None:
        """As in ``Adapter``."""
        name, *arguments = self.command(work)
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).parent / name),
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            env={**os.environ, URL_VARIABLE: url, "PYTHONPATH": str(Path.cwd())},
        )
        try:
            status = await process.wait()
            raise RuntimeError(f"{name} ended with status {status}")
        finally:
            await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), _GRACE)
    except TimeoutError:
        process.kill()
        await process.wait()
