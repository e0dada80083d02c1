"""Counting what Redis was asked to do: by its own statistics, and one by one with MONITOR.

For tests that promise few commands: an idle fleet that does not poll, a job that costs one script.
"""

import re
import threading
import uuid
from collections import Counter
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tests.support.resp import Connection
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until_sync

_CALLS = re.compile(r"calls=(\d+)")
# The counter's own questions.
_OWN = {"info", "monitor"}
_MARKER = "end-of-recording"


def command_totals(servers: Iterable[RedisServer]) -> Counter[str]:
    """Calls by command since the start of all these servers together; what scripts run is counted too."""
    totals: Counter[str] = Counter()
    for server in servers:
        for field, value in server.info("commandstats").items():
            calls = _CALLS.search(value)
            if calls is not None:
                # `cmdstat_config|get`: subcommands are counted apart.
                totals[field.removeprefix("cmdstat_")] += int(calls[1])
    for name in _OWN:
        totals.pop(name, None)
    return totals


@contextmanager
def counting_commands(*servers: RedisServer) -> Generator[Counter[str], None, None]:
    """Give a counter that holds, after the block, the calls of each command during the block.

    Example:
        with counting_commands(redis_server) as counts:
            ...
        assert counts["evalsha"] <= 3
        assert counts.total() < 20
    """
    counts: Counter[str] = Counter()
    before = command_totals(servers)
    yield counts
    counts.update(command_totals(servers) - before)


@dataclass(frozen=True, kw_only=True)
class Command:
    """One line of MONITOR.

    Attributes:
        at: the server's clock, seconds since the epoch.
        client: address of the client, or `lua` for a command that a script ran.
    """

    at: float
    client: str
    words: tuple[str, ...]

    @property
    def name(self) -> str:
        """The command in capitals, such as `EVALSHA`."""
        return self.words[0].upper()

    @property
    def by_script(self) -> bool:
        """Whether a script ran it."""
        return self.client == "lua"


_LINE = re.compile(r"(\d+\.\d+) \[\d+ ([^\]]*)\] (.*)", re.DOTALL)
_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"')


class CommandRecorder:
    """Records every command that a server runs between `with` and its end, in order.

    MONITOR costs the server throughput: for what was done and in which order, not for how fast.
    """

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self._lines: list[str] = []
        self._connection: Connection | None = None
        self._thread = threading.Thread(target=self._read, name="redis-monitor", daemon=True)

    @property
    def commands(self) -> list[Command]:
        """What has been recorded so far."""
        return [_parse(line) for line in list(self._lines) if _MARKER not in line]

    def sent(self, *names: str) -> list[Command]:
        """Commands that clients sent (scripts' own left out), only those named if any are."""
        wanted = {name.upper() for name in names}
        return [c for c in self.commands if not c.by_script and (not wanted or c.name in wanted)]

    def _read(self) -> None:
        connection = self._connection
        if connection is None:
            raise RuntimeError("use it in a with statement")
        try:
            while True:
                self._lines.append(str(connection.read()))
        except (OSError, ValueError):
            return  # closed by __exit__, or the server died

    def flush(self) -> None:
        """Return once everything that the server ran before this call is recorded."""
        marker = f"{_MARKER}-{uuid.uuid4().hex}"
        if self._server.answering:
            self._server.command("ECHO", marker)
            wait_until_sync(
                lambda: any(marker in line for line in self._lines),
                description="MONITOR to show the last command",
            )

    def __enter__(self) -> Self:
        self._connection = self._server.connect()
        if self._connection("MONITOR") != "OK":
            raise RuntimeError("the server refused MONITOR")
        self._connection.settimeout(None)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.flush()
        finally:
            if self._connection is not None:
                self._connection.close()
            self._thread.join()


def _parse(line: str) -> Command:
    match = _LINE.fullmatch(line)
    if match is None:
        raise ValueError(f"not a line of MONITOR: {line!r}")
    return Command(at=float(match[1]), client=match[2], words=tuple(map(_word, _WORD.findall(match[3]))))


def _word(quoted: str) -> str:
    """A word as it was sent; MONITOR quotes and escapes as C does, and its lines are ASCII."""
    return quoted.encode().decode("unicode_escape").encode("latin-1").decode(errors="surrogateescape")
