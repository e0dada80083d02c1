"""``--processes N``: starts worker processes, replaces those that die, and ends them all together.

It runs no jobs and imports no app: what it must survive is the code that its children run. Each child holds
one end of a socket pair. Over it the child says that its app is loaded, and notices that the supervisor is
gone, even after a SIGKILL, so that no worker is left behind unattended.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from capelin.workers.backoff import Backoff

log = structlog.get_logger("capelin.supervisor")

WRONG_INPUT: Final = 2
"""The exit status of a child whose command line, app or settings cannot be used as they are."""

_UNWIND: Final = 30.0
_LONGEST_MESSAGE: Final = 64


class Supervisor:
    """Keeps worker processes running.

    A child that dies is replaced, at once at first and then more slowly for as long as its successors die
    young, too. The first child goes ahead: when it cannot use what was typed, the others need not say so.

    Args:
        command: Words that start a worker; ``--supervised FD`` is added to them.
        processes: How many.
        burst: Children end by themselves when nothing is left to do.
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
        settled_after: float = 10.0,
        unwind: float = _UNWIND,
    ) -> None:
        self._command = list(command)
        self._processes = processes
        self._unwind = unwind
        self._settled_after = settled_after
        self._burst = burst
        self._stopping = asyncio.Event()
        self._loaded = asyncio.Event()
        self._children: dict[int, _Child] = {}
        self._status = 0

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
        if place > 0 and not await self._first_has_loaded():
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
            await self._sleep(pause)

    async def _first_has_loaded(self) -> bool:
        loaded = asyncio.create_task(self._loaded.wait())
        stopped = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait([loaded, stopped], return_when=asyncio.FIRST_COMPLETED)
            return not self._stopping.is_set()
        finally:
            loaded.cancel()
            stopped.cancel()

    async def _start(self, place: int) -> "_Child":
        child = await _Child.start(self._command, on_loaded=self._loaded.set)
        self._children[place] = child
        log.info("worker process started", place=place, pid=child.pid)
        if self._stopping.is_set():  # meanwhile
            child.send(signal.SIGTERM)
        return child

    async def _until_ended(self, place: int, child: "_Child") -> int:
        ending = asyncio.create_task(child.wait())
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait([ending, stopping], return_when=asyncio.FIRST_COMPLETED)
            done, _ = await asyncio.wait([ending], timeout=child.grace + self._unwind)
            if not done:
                log.error("a worker process does not end; it is killed", place=place, pid=child.pid)
                child.send(signal.SIGKILL)
            return await ending
        finally:
            stopping.cancel()
            ending.cancel()
            if child.ended:
                self._children.pop(place, None)

    def _is_over(self, status: int) -> bool:
        """Whether a place whose child ended with this status stays empty."""
        if self._stopping.is_set():
            self._status = self._status or (1 if status else 0)
            return True
        if status == WRONG_INPUT and not self._loaded.is_set():
            self._status = WRONG_INPUT
            self._stopping.set()
            return True
        return self._burst and status == 0

    async def _sleep(self, seconds: float) -> None:
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait([stopping], timeout=seconds)
        stopping.cancel()


class _Child:
    """One child process and this end of its socket pair."""

    def __init__(
        self, process: asyncio.subprocess.Process, end: socket.socket, on_loaded: Callable[[], None]
    ) -> None:
        self._process, self._end, self._on_loaded = process, end, on_loaded
        self.pid = process.pid
        self.grace = 0.0  # nothing runs before it has loaded
        asyncio.get_running_loop().add_reader(end, self._read)

    @classmethod
    async def start(cls, command: Sequence[str], *, on_loaded: Callable[[], None]) -> "_Child":
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                "--supervised",
                str(theirs.fileno()),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                process_group=0,  # Ctrl-C reaches the supervisor alone, which passes it on once
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return cls(process, ours, on_loaded)

    @property
    def ended(self) -> bool:
        return self._process.returncode is not None

    def send(self, number: signal.Signals) -> None:
        if not self.ended:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def wait(self) -> int:
        """Return the exit status; negative for the signal that killed it."""
        status = await self._process.wait()
        asyncio.get_running_loop().remove_reader(self._end)
        self._end.close()
        return status

    def _read(self) -> None:
        asyncio.get_running_loop().remove_reader(self._end)
        try:
            self.grace = float(self._end.recv(_LONGEST_MESSAGE))
        except (OSError, ValueError):  # it died first
            return
        self._on_loaded()


class Supervised:
    """A child's end of the socket pair.

    Args:
        descriptor: The number after ``--supervised``.

    Raises:
        OSError: It is no socket: nobody supervises this process.
    """

    def __init__(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)  # noqa: FBT003 -- for the child's own children
        self._end = socket.socket(fileno=descriptor)
        self._end.setblocking(False)

    def loaded(self, *, grace: float) -> None:
        """Tell the supervisor that what was typed can be used, and the grace time of its jobs, in seconds."""
        with contextlib.suppress(OSError):  # it is gone, which `on_orphaned` notices
            self._end.send(str(grace).encode())

    def on_orphaned(self, stop: Callable[[], None]) -> None:
        """Have ``stop`` called, in the running loop, when the supervisor is gone."""
        loop = asyncio.get_running_loop()

        def read() -> None:
            loop.remove_reader(self._end)
            log.error("the supervisor is gone; this worker stops", pid=os.getpid())
            stop()

        loop.add_reader(self._end, read)


def this_command(words: Sequence[str]) -> list[str]:
    """Return words that start this very capelin, in this very Python."""
    return [sys.executable, "-m", "capelin", *words]


def _cause(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
