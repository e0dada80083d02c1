"""``capelin dev``: one worker process that is started anew when code changes.

The worker is stopped as a deploy would stop it, so what it runs is finished or handed back, and goes on in
the new code.
"""

import asyncio
import signal
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import structlog

from capelin.workers.child import WorkerProcess

log = structlog.get_logger("capelin.dev")

_UNWIND = 10.0
_MOST_NAMED = 3


class Reloader:
    """Keeps one worker process running on the newest code.

    One that ends by itself (code that cannot be imported, say) is started again at the next change.

    Args:
        command: Words that start a worker.
        folder: Where changes of Python files are looked for, with all folders in it.

    Example:
        status = await Reloader(this_command(["worker", "tasks:app"]), folder=Path()).run()  # until stop()
    """

    def __init__(self, command: Sequence[str], *, folder: Path) -> None:
        self._command = list(command)
        self._folder = folder.resolve()
        self._stopping = asyncio.Event()
        self._changed = asyncio.Event()
        self._worker: WorkerProcess | None = None

    def stop(self) -> None:
        """End the worker cleanly; a second call has it hand back what still runs at once."""
        self._stopping.set()
        if self._worker is not None:
            self._worker.send(signal.SIGTERM)

    async def run(self) -> int:
        """Keep the worker running until stopped; returns the exit status."""
        watching = asyncio.create_task(self._watch())
        try:
            while not self._stopping.is_set():
                self._changed.clear()
                await self._run_once()
                if not await self._until_changed():
                    break
            return 0
        finally:
            watching.cancel()
            await asyncio.wait([watching])
            if self._worker is not None:
                self._worker.send(signal.SIGKILL)

    async def _run_once(self) -> None:
        """Run the worker until it ends, by itself or since something changed."""
        self._worker = worker = await WorkerProcess.start(self._command)
        ending = asyncio.create_task(worker.wait())
        interrupting = [asyncio.create_task(event.wait()) for event in (self._changed, self._stopping)]
        try:
            await asyncio.wait([ending, *interrupting], return_when=asyncio.FIRST_COMPLETED)
            if ending.done():
                if not self._stopping.is_set():
                    log.warning("the worker ended; waiting for a change of the code", status=ending.result())
                return
            worker.send(signal.SIGTERM)
            done, _ = await asyncio.wait([ending], timeout=worker.grace + _UNWIND)
            if not done:
                log.error("the worker does not end; it is killed", pid=worker.pid)
                worker.send(signal.SIGKILL)
            await ending
        finally:
            for task in (ending, *interrupting):
                task.cancel()

    async def _until_changed(self) -> bool:
        waiting = [asyncio.create_task(event.wait()) for event in (self._changed, self._stopping)]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
        return not self._stopping.is_set()

    async def _watch(self) -> None:
        async for names in changed_files(self._folder):
            log.info("the code changed; the worker starts anew", files=names)
            self._changed.set()


async def changed_files(folder: Path) -> AsyncGenerator[str]:
    """Name Python files in a folder as they change, a few words each time."""
    # Its annotation names trio, which need not be installed.
    from watchfiles import PythonFilter, awatch  # pyright: ignore[reportUnknownVariableType]

    async for changes in awatch(folder, watch_filter=PythonFilter(), step=100, raise_interrupt=False):
        paths = sorted({Path(path) for _, path in changes})
        names = [
            str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path) for path in paths
        ]
        more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        yield ", ".join(names[:_MOST_NAMED]) + more
