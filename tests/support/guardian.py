"""The guardian: ends the processes of a test run when the run itself dies without a goodbye.

Fixtures end what they started when a test fails or Ctrl-C is pressed. Nothing in Python runs on SIGKILL, so
a small process of its own reads a pipe from the run: when the pipe closes, it kills what is still
registered. A pid counts only together with its start time, so that a number which the system has given to
somebody else is left alone.
"""

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterable
from typing import Final

import psutil


def _born(pid: int) -> str:
    """A process's start time as text, empty when it is gone."""
    try:
        return repr(psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return ""


class Guardian:
    """The run's side of the pipe; the process behind it starts with the first child that it is told of."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pipe: int | None = None

    def protect(self, pid: int) -> None:
        """Have `pid`, a child of ours, killed if this process dies first."""
        self._tell(f"+ {pid} {_born(pid)}")

    def release(self, pid: int) -> None:
        """Forget `pid`: it has ended and its number may be somebody else's soon."""
        self._tell(f"- {pid} -")

    def _tell(self, line: str) -> None:
        with self._lock:
            if self._pipe is None:
                self._pipe = _start()
            os.write(self._pipe, f"{line}\n".encode())


def _start() -> int:
    """Start the guardian and return the end of the pipe that it watches."""
    theirs, ours = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-I", __file__],
        stdin=theirs,
        start_new_session=True,  # Ctrl-C in the terminal is for the run, which then still cleans up itself
    )
    os.close(theirs)
    # It outlives every test by design and ends when the pipe closes: nobody is going to wait for it.
    process.returncode = 0
    return ours


guardian: Final = Guardian()


def _watch(lines: Iterable[str]) -> None:
    children: dict[int, str] = {}
    for line in lines:
        sign, number, born = line.split()
        if sign == "+":
            children[int(number)] = born
        else:
            children.pop(int(number), None)
    for pid, start in children.items():
        if start == _born(pid):
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                family = process.children(recursive=True)
                process.kill()
                for relative in family:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        relative.kill()


if __name__ == "__main__":
    _watch(sys.stdin)
