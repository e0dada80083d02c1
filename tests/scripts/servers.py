"""Servers whose clock a test holds in its hand: an in-process one and a real one.

Scripts take their time from the server. In the in-process server that time is a Python function, replaced
here. On a real server the scripts' text is changed (see `held_clock`), and keys with a TTL go when the test's
clock says so. All else is the real thing.
"""

import contextlib
import importlib
import time
import uuid
from collections.abc import Generator
from typing import Any, Protocol, TypeVar

import redis.exceptions

from capelin.lua import Call
from tests.support import resp
from tests.support.cluster import AnyServer
from tests.support.held_clock import LONGER, HeldClock, is_clock
from tests.support.memory import SCHEME, MemoryConnection
from tests.support.resp import Reply, RespError

T = TypeVar("T")
Words = tuple[str | bytes | int | float, ...]

START = 1_900_000_000_000
"""When every test begins, ms."""


class Refused(Exception):
    """The server answered with an error."""


class Server(Protocol):
    """A Redis with a clock that stands still until it is moved."""

    @property
    def now(self) -> int:
        """The time, ms."""
        ...

    def run(self, call: Call[T]) -> T:
        """Run a script; `Refused` when the server answers with an error."""
        ...

    def advance(self, ms: int) -> None:
        """Let time pass."""
        ...

    def command(self, *words: str | bytes | float) -> Reply:
        """One plain command."""
        ...

    def pipeline(self, *commands: Words) -> list[Reply]:
        """Plain commands in one go."""
        ...

    def close(self) -> None: ...


def raw(reply: Reply) -> Any:
    """A reply as scripts' readers expect it: texts are bytes."""
    if isinstance(reply, str):
        return reply.encode(errors="surrogateescape")
    if isinstance(reply, list):
        return [raw(item) for item in reply]
    return reply


class _Clock:
    """Stands in for the module `time` inside the in-process server."""

    def __init__(self) -> None:
        self.now = START

    def time(self) -> float:
        # Half a microsecond, so that rounding down to ms never loses one.
        return self.now / 1000 + 0.0000005

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


# Where the in-process server asks for the time.
_PATCHED = ("_helpers", "_socket._base", "commands_mixins.server_mixin", "model._stream")


class MemoryServer:
    """An in-process server. Close it: while it is open, every one of this process has its time.

    Attributes:
        url: Where others in this process find it.
    """

    def __init__(self) -> None:
        self._clock = _Clock()
        self._stack = contextlib.ExitStack()
        for name in _PATCHED:
            module: Any = importlib.import_module(f"fakeredis.{name}")
            self._stack.callback(setattr, module, "time", module.time)
            module.time = self._clock
        self.url = f"{SCHEME}scripts-{uuid.uuid4().hex}"
        self._connection = MemoryConnection(self.url)
        self._stack.callback(self._connection.close)

    @property
    def now(self) -> int:
        return self._clock.now

    def advance(self, ms: int) -> None:
        self._clock.now += ms

    def run(self, call: Call[T]) -> T:
        return call.parse(raw(self.command("EVAL", call.script.text, len(call.keys), *call.keys, *call.args)))

    def command(self, *words: str | bytes | float) -> Reply:
        try:
            return self._connection(*words)
        except redis.exceptions.RedisError as error:
            raise Refused(str(error)) from error

    def pipeline(self, *commands: Words) -> list[Reply]:
        return [self.command(*words) for words in commands]

    def close(self) -> None:
        self._stack.close()


class RealServer:
    """A real server, or a real cluster."""

    def __init__(self, server: AnyServer) -> None:
        self._connection = server.connect()
        self._clock = HeldClock(self._connection, START)
        self._ends: dict[str, int] = {}
        self.now = START

    def advance(self, ms: int) -> None:
        self.now += ms
        self._clock.set(self.now)
        for key, end in list(self._ends.items()):
            if end <= self.now:
                del self._ends[key]
                self.command("DEL", key)

    def _note_ttls(self) -> None:
        """Remember when keys with a TTL end by the test's clock. All these TTLs are odd numbers of ms."""
        keys = [key for key in resp.texts(self.command("KEYS", "*")) if not is_clock(key)]
        left = self.pipeline(*[("PTTL", key) for key in keys])
        ends: dict[str, int] = {}
        for key, ms in zip(keys, left, strict=True):
            if isinstance(ms, int) and ms > 0:
                # The server's own clock has counted down a few ms since.
                fresh = self.now - (-(ms - LONGER - 1) // 1000 * 1000) + 1
                ends[key] = self._ends.get(key, fresh)
        self._ends = ends

    def run(self, call: Call[T]) -> T:
        text = self._clock.script(call.script, call.keys[0]).text
        reply = raw(self.command("EVAL", text, len(call.keys), *call.keys, *call.args))
        if "PTTL" in text:  # the script that gives keys a TTL
            self._note_ttls()
        return call.parse(reply)

    def command(self, *words: str | bytes | float) -> Reply:
        try:
            return self._connection(*words)
        except RespError as error:
            raise Refused(str(error)) from error

    def pipeline(self, *commands: Words) -> list[Reply]:
        return self._connection.pipeline(*commands)

    def close(self) -> None:
        self._connection.close()


@contextlib.contextmanager
def opened(server: Server) -> Generator[Server]:
    """Close a server at the end of the block."""
    try:
        yield server
    finally:
        server.close()
