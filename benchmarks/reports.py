"""Starts of jobs that other processes tell: those that a worker's process started, or a program of a system.

They write to a named pipe, whose path they inherit. A record is shorter than what a pipe takes in one piece,
so that those of several processes never mix. Standard library only.
"""

import asyncio
import os
import struct
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

_RECORD = struct.Struct("=qq")
_VARIABLE = "CAPELIN_BENCHMARK_REPORTS"
_READ = 1 << 16

_descriptor: int | None = None


def tell(number: int) -> None:
    """Tell the process that listens that a job begins.

    Raises:
        RuntimeError: Nobody listens: the job runs in a process that is no worker's.
    """
    global _descriptor  # noqa: PLW0603 -- opened once a process, at its first job
    moment = time.monotonic_ns()
    if _descriptor is None:
        path = os.environ.get(_VARIABLE)
        if path is None:
            raise RuntimeError(f"job {number} runs in a process that is no worker's")
        _descriptor = os.open(path, os.O_WRONLY)
    os.write(_descriptor, _RECORD.pack(number, moment))


class Listener:
    """Hears what other processes tell.

    Args:
        heard: Called with a job's number and the moment of its start.
    """

    def __init__(self, heard: Callable[[int, int], None]) -> None:
        self._heard = heard
        self._folder = Path(tempfile.mkdtemp(prefix="capelin-benchmark-"))
        self._path = self._folder / "reports"
        os.mkfifo(self._path)
        # For writing too: else it would be at its end whenever the last writer has gone.
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_NONBLOCK)
        self._rest = b""
        os.environ[_VARIABLE] = str(self._path)
        asyncio.get_running_loop().add_reader(self._descriptor, self._read)

    def _read(self) -> None:
        got = self._rest + os.read(self._descriptor, _READ)
        whole = len(got) - len(got) % _RECORD.size
        self._rest = got[whole:]
        for number, moment in _RECORD.iter_unpack(got[:whole]):
            self._heard(number, moment)

    def close(self) -> None:
        """Stop listening."""
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)
        os.environ.pop(_VARIABLE, None)
        self._path.unlink()
        self._folder.rmdir()
