"""Worker processes as their parent sees them, and their parent as they see it.

Each holds one end of a socket pair. Over it the child says that what was typed can be used, and notices that
its parent is gone, even after a SIGKILL: no worker is left behind unattended.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Final

import structlog

from capelin.workers.link import Link

log = structlog.get_logger("capelin.supervisor")

_LONGEST_MESSAGE: Final = 64


def this_command(words: Sequence[str]) -> list[str]:
    """Return words that start this very capelin, in this very Python."""
    return [sys.executable, "-m", "capelin", *words]


class WorkerProcess:
    """A worker process that this one started.

    Attributes:
        pid: Its pid.
        grace: Seconds that its jobs have when it is told to stop; 0 until it has loaded its app.
        loaded: Set when it has.
        link: What it can be asked by, if it was started to be asked.
    """

    def __init__(
        self, process: asyncio.subprocess.Process, end: socket.socket, link: Link | None = None
    ) -> None:
        self._process, self._end, self.link = process, end, link
        self._began = time.monotonic()
        self.pid = process.pid
        self.grace = 0.0
        self.loaded = asyncio.Event()
        asyncio.get_running_loop().add_reader(end, self._read)

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        output: IO[bytes] | None = None,
        linked: bool = False,
    ) -> "WorkerProcess":
        """Start one.

        Args:
            command: Words of a ``capelin worker``; ``--supervised FD`` is added.
            env: Variables beside those of this process.
            output: Where it writes; where this process does, if left out.
            linked: Whether it can be asked; ``--reporting FD`` is added then.

        Raises:
            OSError: It could not be started.
        """
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        asking, answering = socket.socketpair() if linked else (None, None)
        words = [*command, "--supervised", str(theirs.fileno())]
        words += [] if answering is None else ["--reporting", str(answering.fileno())]
        passed = [end.fileno() for end in (theirs, answering) if end is not None]
        try:
            process = await asyncio.create_subprocess_exec(
                *words,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=None if env is None else {**os.environ, **env},
                pass_fds=passed,
                process_group=0,  # Ctrl-C reaches the parent alone, which passes it on once
            )
        except BaseException:
            ours.close()
            if asking is not None:
                asking.close()
            raise
        finally:
            theirs.close()
            if answering is not None:
                answering.close()
        return cls(process, ours, None if asking is None else Link(asking))

    @property
    def age(self) -> float:
        """Seconds since it was started."""
        return time.monotonic() - self._began

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self._process.returncode is not None

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if it has not ended."""
        if not self.ended:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def wait(self) -> int:
        """Wait for its end; returns its exit status, negative for the signal that killed it."""
        status = await self._process.wait()
        self._stop_reading()
        if self.link is not None:
            self.link.close()
        return status

    def _read(self) -> None:
        try:
            said = self._end.recv(_LONGEST_MESSAGE)
        except OSError:
            said = b""
        if said:
            with contextlib.suppress(ValueError):
                self.grace = float(said)
            self.loaded.set()
        else:
            self._stop_reading()

    def _stop_reading(self) -> None:
        if self._end.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._end)
            self._end.close()

    def __repr__(self) -> str:
        return f"<WorkerProcess {self.pid}{' ended' if self.ended else ''}>"


class Parent:
    """The parent of this process, which is a worker's.

    Args:
        descriptor: The number after ``--supervised``.

    Raises:
        OSError: It is no socket: nobody started this process so.
    """

    def __init__(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)
        self._end = socket.socket(fileno=descriptor)
        self._end.setblocking(False)

    def tell_loaded(self, *, grace: float) -> None:
        """Tell it that what was typed can be used, and the grace time of its jobs, in seconds."""
        with contextlib.suppress(OSError):  # it is gone, which `on_gone` notices
            self._end.send(str(grace).encode())

    def on_gone(self, stop: Callable[[], None]) -> None:
        """Have ``stop`` called, in the running loop, when the parent is gone."""
        loop = asyncio.get_running_loop()

        def read() -> None:
            loop.remove_reader(self._end)
            log.error("the supervisor is gone; this worker stops", pid=os.getpid())
            stop()

        loop.add_reader(self._end, read)
