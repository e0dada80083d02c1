"""Real worker processes that a test starts, reads, freezes and kills; all end with the test.

Output is read by a thread as it comes, so a child never blocks on a full pipe and a wait sees a line at once.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import psutil

from tests.support.guardian import guardian
from tests.support.waiting import wait_until, wait_until_sync

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
_TAIL = 60


class ChildProcess:
    """A child with its output, standard error included, line by line.

    Made by `Processes`. The environment is the test's own, plus `env`; the working directory is the
    repository's, so that modules of `tests` can be imported by the child.
    """

    def __init__(self, words: list[str], *, env: Mapping[str, str], cwd: Path, name: str) -> None:
        self.name = name
        self._lines: list[str] = []
        self._family: list[psutil.Process] = []
        self._process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, "PYTHONUNBUFFERED": "1", **env},
            cwd=cwd,
            # A group of its own: Ctrl-C reaches the tests alone, and `end` reaches the child's children.
            start_new_session=True,
        )
        guardian.protect(self._process.pid)
        self._reader = threading.Thread(target=self._read, name=f"output-of-{name}", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The child's pid."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it lives (a stopped one does)."""
        return self._process.poll() is None

    @property
    def returncode(self) -> int | None:
        """None while it lives; negative for the signal that killed it."""
        return self._process.poll()

    @property
    def output(self) -> str:
        """Everything it has written so far."""
        return "\n".join(self._lines)

    @property
    def lines(self) -> list[str]:
        """The lines it has written so far."""
        return list(self._lines)

    def events(self, event: str | None = None, **fields: object) -> list[dict[str, Any]]:
        """The JSON log lines so far whose `event` and fields are these."""
        return [line for line in self._json() if _matches(line, event, fields)]

    async def wait_for_line(self, pattern: str, *, timeout: float = 20) -> str:
        """The first line, old or new, in which the regular expression is found."""
        return await self._wait(lambda: self._find(pattern), f"a line with {pattern!r}", timeout)

    async def wait_for_event(
        self,
        event: str,
        *,
        count: int = 1,
        timeout: float = 20,
        **fields: object,
    ) -> dict[str, Any]:
        """The `count`th JSON log line, old or new, with this event and these fields."""
        wanted = f"event {event!r} with {fields}, {count} times"
        return (await self._wait(lambda: self.events(event, **fields)[count - 1 :], wanted, timeout))[0]

    def wait_for_line_sync(self, pattern: str, *, timeout: float = 20) -> str:
        """Do what `wait_for_line` does, without an event loop."""
        wanted = f"a line with {pattern!r}"
        with self._telling_output():
            wait_until_sync(
                lambda: self._find(pattern) or self._silent(),
                description=f"{wanted} from {self.name}",
                timeout=timeout,
            )
            return self._found(self._find(pattern), wanted)

    def kill(self) -> int:
        """SIGKILL, as the kernel's out-of-memory killer; returns the exit status."""
        self.send(signal.SIGKILL)
        return self.wait_sync(timeout=20)

    def freeze(self) -> None:
        """SIGSTOP: the process stands still and its connections stay open."""
        self.send(signal.SIGSTOP)
        # The signal is delivered later than kill() returns: the test goes on when nothing moves any more.
        process = psutil.Process(self.pid)
        wait_until_sync(
            lambda: process.status() == psutil.STATUS_STOPPED, description=f"{self.name} to stand still"
        )

    def thaw(self) -> None:
        """SIGCONT."""
        self.send(signal.SIGCONT)

    def terminate(self) -> None:
        """SIGTERM, as a deploy; returns at once, see `wait`."""
        self.send(signal.SIGTERM)

    def interrupt(self) -> None:
        """SIGINT, as Ctrl-C."""
        self.send(signal.SIGINT)

    def send(self, number: signal.Signals) -> None:
        """Send any signal to the process, its children not included."""
        if not self.running:
            raise AssertionError(f"{self.name} has ended ({self.returncode}), {number.name} comes too late")
        self._note_family()
        self._process.send_signal(number)

    async def wait(self, *, timeout: float = 30) -> int:
        """The exit status, once it has ended and its output is read."""
        with self._telling_output():
            await wait_until(self._ended, description=f"{self.name} to end", timeout=timeout)
        return self._process.wait()

    def wait_sync(self, *, timeout: float = 30) -> int:
        """Do what `wait` does, without an event loop."""
        with self._telling_output():
            wait_until_sync(self._ended, description=f"{self.name} to end", timeout=timeout)
        return self._process.wait()

    def end(self) -> None:
        """SIGKILL to it and to whatever it started; can be called at any time, and twice."""
        if self.running:
            self._note_family()
            self._process.kill()
        for relative in self._family:
            # psutil compares start times: a pid that has passed to somebody else is left alone.
            with contextlib.suppress(psutil.NoSuchProcess):
                relative.kill()
        self._process.wait(timeout=20)
        guardian.release(self.pid)
        self._reader.join(timeout=20)

    def _note_family(self) -> None:
        """Remember the descendants while the child lives: once it is dead, nothing leads to them."""
        with contextlib.suppress(psutil.NoSuchProcess):
            known = set(self._family)
            self._family += [p for p in psutil.Process(self.pid).children(recursive=True) if p not in known]

    def _ended(self) -> bool:
        if self.running:
            return False
        guardian.release(self.pid)
        # Descendants that outlive it may hold the pipe open; they are not waited for.
        return self._silent() or any(relative.is_running() for relative in self._family)

    def _silent(self) -> bool:
        """Whether nothing more will be written."""
        return not self._reader.is_alive()

    async def _wait(self, look: Callable[[], T | None], wanted: str, seconds: float) -> T:
        with self._telling_output():
            await wait_until(
                lambda: look() or self._silent(), description=f"{wanted} from {self.name}", timeout=seconds
            )
            return self._found(look(), wanted)

    def _found(self, found: T | None, wanted: str) -> T:
        if not found:
            raise AssertionError(f"{self.name} ended ({self.returncode}) without {wanted}")
        return found

    @contextlib.contextmanager
    def _telling_output(self) -> Generator[None, None, None]:
        """Show the end of the output with a failure: it usually says why."""
        try:
            yield
        except AssertionError as failure:
            tail = "\n  ".join(self._lines[-_TAIL:])
            raise AssertionError(f"{failure}\nthe end of its output:\n  {tail}") from None

    def _read(self) -> None:
        if self._process.stdout is None:
            raise RuntimeError("the child's output is not piped")
        with self._process.stdout as output:
            for line in output:
                self._lines.append(line.rstrip("\n"))

    def _json(self) -> Iterator[dict[str, Any]]:
        for line in self.lines:
            with contextlib.suppress(json.JSONDecodeError):
                value: object = json.loads(line)
                if isinstance(value, dict):
                    yield cast(dict[str, Any], value)

    def _find(self, pattern: str) -> str | None:
        return next((line for line in self.lines if re.search(pattern, line)), None)

    def __repr__(self) -> str:
        return f"<{self.name} {self.pid} {'running' if self.running else self.returncode}>"


class Processes:
    """The children of one test; in tests it is the fixture `processes`."""

    def __init__(self) -> None:
        self.children: list[ChildProcess] = []

    def python(
        self, *words: str, env: Mapping[str, str] | None = None, cwd: Path = ROOT, name: str | None = None
    ) -> ChildProcess:
        """Start this Python with these words: `processes.python("-m", "tests.apps.counting", url)`."""
        child = ChildProcess(
            [sys.executable, *words], env=env or {}, cwd=cwd, name=name or f"python-{len(self.children)}"
        )
        self.children.append(child)
        return child

    def capelin(
        self, *words: str, env: Mapping[str, str] | None = None, cwd: Path = ROOT, name: str | None = None
    ) -> ChildProcess:
        """Start the CLI: `processes.capelin("queues", "--redis", url, "--json")`."""
        return self.python("-m", "capelin", *words, env=env, cwd=cwd, name=name or f"capelin {words[0]}")

    def worker(
        self, app: str, *words: str, redis_url: str, env: Mapping[str, str] | None = None, cwd: Path = ROOT
    ) -> ChildProcess:
        """Start `capelin worker <app>` on this Redis.

        Example: `processes.worker("tests.apps.counting:app", "-c", "10", redis_url=redis_url)`.
        Settings are given as `CAPELIN_<NAME>` in `env`. It logs JSON, since no terminal is there to read it.
        """
        name = f"worker-{len(self.children)}"
        return self.capelin("worker", app, "--redis", redis_url, *words, env=env, cwd=cwd, name=name)

    def end(self) -> None:
        """End every child."""
        with contextlib.ExitStack() as stack:
            for child in self.children:
                stack.callback(child.end)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()


def _matches(line: Mapping[str, Any], event: str | None, fields: Mapping[str, object]) -> bool:
    if event is not None and line.get("event") != event:
        return False
    return all(line.get(name) == value for name, value in fields.items())
