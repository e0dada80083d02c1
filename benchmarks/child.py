"""A system's process, seen from the runner: asked one thing at a time."""

import contextlib
import json
import os
import signal
import subprocess
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_ROOT = Path(__file__).parent.parent
_SLACK = 30.0
_GRACE = 12.0


class ChildFailed(Exception):
    """A system's process failed or ended; the message says which, and what it said."""


class Child:
    """A process that runs one of ``benchmarks.systems``.

    Args:
        python: The interpreter.
        module: What it runs.

    Example:
        with Child(python, "benchmarks.systems.bare_loop") as child:
            child.ask("open", url=url)
    """

    def __init__(self, python: Path, module: str) -> None:
        self.module = module
        self._process = subprocess.Popen(  # noqa: S603 -- our own words
            [str(python), "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=_ROOT,
            process_group=0,  # what it started ends with it, whatever happens
        )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def ask(self, do: str, *, within: float = 120.0, **arguments: Any) -> dict[str, Any]:
        """Give a command and return its answer.

        Args:
            do: The command.
            within: Seconds after which the process counts as hung.
            arguments: The command's.

        Raises:
            ChildFailed: It went wrong.
        """
        process = self._process
        if process.stdin is None or process.stdout is None:
            raise ChildFailed(f"{self.module} has no pipes")
        watchdog = threading.Timer(within + _SLACK, process.kill)
        watchdog.start()
        try:
            process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            watchdog.cancel()
        if not line:
            raise ChildFailed(f"{self.module} ended in the middle of {do!r}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ChildFailed(f"{self.module} failed in {do!r}: {answer['error']}")
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process = self._process
        if kind is None:
            self.ask("stop", within=15.0)
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(timeout=_GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        with contextlib.suppress(ProcessLookupError):  # as it should be: nothing is left of its group
            os.killpg(process.pid, signal.SIGKILL)
        if process.stdout is not None:
            process.stdout.close()


@contextmanager
def connected(python: Path, module: str, url: str, **settings: Any) -> Generator[Child]:
    """Give a process that is connected to Redis, and end it.

    Args:
        python: The interpreter.
        module: What it runs.
        url: Where Redis is.
        settings: The system's own.
    """
    with Child(python, module) as child:
        child.ask("open", url=url, settings=settings)
        yield child
