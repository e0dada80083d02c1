"""``--processes N``: starts worker processes, replaces those that die, and ends them all together.

It runs no jobs and imports no app: what it must survive is the code that its children run.
"""

import asyncio
import signal
from collections.abc import Mapping, Sequence
from typing import Final

import structlog

from capelin._backoff import Backoff
from capelin.workers.child import WorkerProcess

log = structlog.get_logger("capelin.supervisor")

WRONG_INPUT: Final = 2
"""The exit status of a child whose command line, app or settings cannot be used as they are."""

_CLEAN: Final = (0, -signal.SIGTERM)
"""Exit statuses of a child that was told to stop: a SIGTERM kills one that had not begun to listen to it."""


class Supervisor:
    """Keeps worker processes running.

    A child that dies is replaced: at once if it had lived for a while, more and more slowly while its
    successors die young, too. The first child goes ahead: when it cannot use what was typed, the others need
    not say so.

    Args:
        command: Words that start a worker; ``--supervised FD`` is added to them.
        processes: How many.
        burst: Children end by themselves when nothing is left to do.
        linked: Whether they can be asked; see ``WorkerProcess.link``.
        settled_after: A child that lived so many seconds is replaced at once when it dies.
        unwind: Seconds that a child has to end beyond its grace time, before it is killed.

    Example:
        supervisor = Supervisor(["capelin", "worker", "tasks:app"], processes=4)
        status = await supervisor.run()  # until supervisor.stop()
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        processes: int,
        burst: bool = False,
        linked: bool = False,
        settled_after: float = 10.0,
        unwind: float = 30.0,
    ) -> None:
        self._command = list(command)
        self._processes = processes
        self._burst = burst
        self._linked = linked
        self._settled_after = settled_after
        self._unwind = unwind
        self._stopping = asyncio.Event()
        self._first_loaded = asyncio.Event()
        self._children: dict[int, WorkerProcess] = {}
        self._status = 0

    @property
    def children(self) -> Mapping[int, WorkerProcess]:
        """Those that live, by place."""
        return self._children

    def stop(self) -> None:
        """End every child cleanly; a second call has them hand back what still runs at once."""
        if not self._stopping.is_set():
            log.info("the workers are told to stop", workers=len(self._children))
        self._stopping.set()
        for child in self._children.values():
            child.send(signal.SIGTERM)

    async def run(self) -> int:
        """Keep the children running until stopped; returns the exit status, 0 when each ended cleanly."""
        places = [asyncio.create_task(self._keep(place)) for place in range(self._processes)]
        try:
            await asyncio.gather(*places)
        finally:
            for task in places:
                task.cancel()
            await asyncio.wait(places)
            for child in self._children.values():
                child.send(signal.SIGKILL)
        return self._status

    async def _keep(self, place: int) -> None:
        """Keep one place filled."""
        if place > 0 and not await self._unless_stopped(self._first_loaded):
            return
        loop = asyncio.get_running_loop()
        backoff = Backoff(first=0.5, most=30.0)
        while not self._stopping.is_set():
            began = loop.time()
            child = await self._start(place)
            status = await self._until_ended(place, child)
            if self._is_over(status):
                return
            if loop.time() - began >= self._settled_after:
                backoff.reset()
                pause = 0.0
            else:
                pause = backoff.step()
            log.warning(
                "a worker process ended; it is replaced",
                place=place,
                pid=child.pid,
                cause=_cause(status),
                pause=round(pause, 1),
            )
            await self._unless_stopped(asyncio.Event(), within=pause)

    async def _start(self, place: int) -> WorkerProcess:
        child = await WorkerProcess.start(self._command, linked=self._linked)
        self._children[place] = child
        log.info("worker process started", place=place, pid=child.pid)
        if self._stopping.is_set():  # meanwhile
            child.send(signal.SIGTERM)
        return child

    async def _until_ended(self, place: int, child: WorkerProcess) -> int:
        ending = asyncio.create_task(child.wait())
        loading = asyncio.create_task(child.loaded.wait())
        loading.add_done_callback(self._note_loaded)
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait([ending, stopping], return_when=asyncio.FIRST_COMPLETED)
            done, _ = await asyncio.wait([ending], timeout=child.grace + self._unwind)
            if not done:
                log.error("a worker process does not end; it is killed", place=place, pid=child.pid)
                child.send(signal.SIGKILL)
            return await ending
        finally:
            for task in (ending, loading, stopping):
                task.cancel()
            if child.ended:
                self._children.pop(place, None)

    def _note_loaded(self, loading: "asyncio.Task[bool]") -> None:
        if not loading.cancelled():
            self._first_loaded.set()

    def _is_over(self, status: int) -> bool:
        """Whether a place whose child ended with this status stays empty."""
        if self._stopping.is_set():
            if status not in _CLEAN and not self._status:
                self._status = 1
            return True
        if status == WRONG_INPUT and not self._first_loaded.is_set():
            self._status = WRONG_INPUT
            self._stopping.set()
            return True
        return self._burst and status == 0

    async def _unless_stopped(self, event: asyncio.Event, *, within: float | None = None) -> bool:
        """Wait for an event, or for a while; False when the supervisor was told to stop first."""
        tasks = [asyncio.create_task(event.wait()), asyncio.create_task(self._stopping.wait())]
        try:
            await asyncio.wait(tasks, timeout=within, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
        return not self._stopping.is_set()


def _cause(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
