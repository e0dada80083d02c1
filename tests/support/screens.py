"""What a screen shows, as lines of text: a textual app's in this process, or a program's on a terminal."""

import fcntl
import html
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import pyte
from textual.app import App

from tests.support.guardian import guardian
from tests.support.processes import ROOT
from tests.support.waiting import wait_until_sync

COLUMNS, LINES = 80, 24
_CELL = 12.2
"""The width of a character in a screenshot."""
_TEXT = re.compile(r'<text class="[^"]*" x="([\d.]+)"[^>]*line-(\d+)\)">(.*?)</text>')
_CHUNK = 65536
KEYS = {
    "enter": "\r",
    "escape": "\x1b",
    "up": "\x1b[A",
    "down": "\x1b[B",
    "right": "\x1b[C",
    "left": "\x1b[D",
}


def lines_of(app: App[Any]) -> list[str]:
    """Return what a textual app shows, line by line."""
    lines: dict[int, list[str]] = {}
    for x, line, words in _TEXT.findall(app.export_screenshot()):
        cells = lines.setdefault(int(line), [])
        place = round(float(x) / _CELL)
        text = html.unescape(words).replace("\xa0", " ")
        cells += [" "] * (place + len(text) - len(cells))
        cells[place : place + len(text)] = text
    return ["".join(lines.get(at, [])).rstrip() for at in range(app.size.height)]


class Terminal:
    """A program on a terminal of its own, 80 columns wide and 24 lines high.

    Args:
        words: The program and its arguments.
        env: What its environment has besides this process's.

    Example:
        with Terminal(["capelin", "top"]) as terminal:
            terminal.until("1 queue")
            terminal.press("q")
            assert terminal.ended() == 0
    """

    def __init__(self, words: list[str], *, env: Mapping[str, str] | None = None) -> None:
        self._screen = pyte.Screen(COLUMNS, LINES)
        self._stream = pyte.ByteStream(self._screen)
        self._lock = threading.Lock()
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        self._process = subprocess.Popen(
            words,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm-256color", **(env or {})},
            cwd=ROOT,
            start_new_session=True,
        )
        guardian.protect(self._process.pid)
        os.close(theirs)
        self._reader = threading.Thread(target=self._read, name="terminal", daemon=True)
        self._reader.start()

    @property
    def text(self) -> str:
        """What the screen shows."""
        with self._lock:
            return "\n".join(line.rstrip() for line in self._screen.display)

    def press(self, *keys: str) -> None:
        """Press keys: ``enter``, ``escape``, arrows, or characters."""
        for key in keys:
            os.write(self._ours, KEYS.get(key, key).encode())

    def until(self, *words: str) -> str:
        """Wait until the screen shows all of these, and return it."""
        try:
            wait_until_sync(lambda: all(each in self.text for each in words), description=f"{words}")
        except AssertionError as error:
            raise AssertionError(f"{error}; the screen shows:\n{self.text}") from None
        return self.text

    def ended(self) -> int:
        """Wait until it has ended; return its exit status."""
        return self._process.wait(20)

    def _read(self) -> None:
        while True:
            try:
                written = os.read(self._ours, _CHUNK)
            except OSError:  # the last of those who wrote there is gone
                return
            with self._lock:
                self._stream.feed(written)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._reader.join(5)
        os.close(self._ours)
