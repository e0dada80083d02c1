"""A Redis of a command's own, for ``capelin dev`` and ``capelin demo`` on a machine that has none running.

``redis-server`` from the PATH on a free port in a folder of its own, else fakeredis's TCP server in a process
of its own. Either ends with the command, also when that is killed: it waits at a pipe for the command's end.
"""

import asyncio
import contextlib
import importlib.util
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

import structlog

from capelin._binding import override
from capelin.connection import connect, hide_password
from capelin.errors import ConfigurationError, RedisRefused, Unreachable

log = structlog.get_logger("capelin.dev")

OLDEST_SERVER: Final = (6, 2)
"""The oldest release of Redis that capelin runs on."""

_HOST: Final = "127.0.0.1"
_LOCAL: Final = frozenset({"localhost", _HOST})
_USUAL_PORT: Final = 6379
_ASKING_SECONDS: Final = 2.0
_STARTING_SECONDS: Final = 15.0
_ENDING_SECONDS: Final = 5.0
_TRIES: Final = 3

# Beside the server a reader waits for the end of standard input, which comes with the command's own, however
# that ends; then it ends the server. When the server ends first, the shell ends the reader.
_UNTIL_EOF: Final = """
exec 3<&0
folder=$1
shift
"$@" </dev/null 3<&- &
server=$!
{ read -r _ <&3; rm -rf "$folder"; kill "$server" 2>/dev/null; } &
reader=$!
wait "$server"
kill "$reader" 2>/dev/null
"""


class EmbeddedRedis:
    """A running Redis that nobody else uses. A context manager.

    Args:
        port: The port to use; a free one if left out.

    Attributes:
        kind: ``redis-server`` or ``fakeredis``.
        why: Which it is and why, in words.
        port: Its port.

    Raises:
        ConfigurationError: There is neither, or it does not start.

    Example:
        with EmbeddedRedis() as redis:
            print(redis.url)
    """

    def __init__(self, port: int | None = None) -> None:
        binary, self.why = _find_server()
        self.kind = "redis-server" if binary else "fakeredis"
        self.port = port or 0
        self._folder = Path(tempfile.mkdtemp(prefix="capelin-redis-"))
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._start(binary, port)
        except BaseException:
            self.stop()
            raise

    @property
    def url(self) -> str:
        """Its URL."""
        return f"redis://{_HOST}:{self.port}/0"

    def stop(self) -> None:
        """End it and remove its folder; can be called twice."""
        self._end_process()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self, binary: str | None, port: int | None) -> None:
        for _ in range(_TRIES if port is None else 1):  # somebody may be quicker and take the port
            self.port = port or _free_port()
            if self._answers(_server(binary, self.port, self._folder) if binary else _fake(self.port)):
                return
        raise ConfigurationError(f"{self.kind} does not start: {self._last_words()}")

    def _answers(self, words: list[str]) -> bool:
        with (self._folder / "output").open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603 -- words of our own
                words,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,  # Ctrl-C reaches the command alone, which ends it last
            )
        deadline = time.monotonic() + _STARTING_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                return False
            if _answers_ping(self.port):
                return True
            time.sleep(0.02)
        self._end_process()
        return False

    def _end_process(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(_ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _last_words(self) -> str:
        with contextlib.suppress(OSError):
            return " ".join((self._folder / "output").read_text(errors="replace").split())[-300:]
        return ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<EmbeddedRedis {self.kind} {self.url}>"


@contextmanager
def embedded_unless_answering(url: str) -> Generator[EmbeddedRedis | None]:
    """Start a Redis if none answers at a URL, and have this process and those that it starts use it.

    At the URL's own port if that is this machine's, so that other programs find it without being told.

    Args:
        url: Where a Redis may be.

    Yields:
        The one that was started, or None.

    Raises:
        ConfigurationError: None answers, and none can be started.
    """
    if _somebody_answers(url):
        yield None
        return
    port = _local_port(url)
    with EmbeddedRedis(port) as redis:
        found = redis.url if port is None else url
        log.warning(
            "no Redis answers; one is started, which ends with this command and all that is in it",
            asked=hide_password(url),
            started=redis.why,
            redis=hide_password(found),
        )
        override(url=found)
        yield redis


def _somebody_answers(url: str) -> bool:
    """Return whether a Redis answers there; one that refuses (a password, say) answers, too."""

    async def ask() -> bool:
        connection = connect(url, socket_timeout=_ASKING_SECONDS)
        try:
            await connection.command("PING")
        except Unreachable:
            return False
        except RedisRefused:
            return True
        finally:
            await connection.close()
        return True

    return not url.startswith("memory:") and asyncio.run(ask())


def _local_port(url: str) -> int | None:
    parts = urlsplit(url)
    if parts.scheme == "redis" and parts.password is None and (parts.hostname or "localhost") in _LOCAL:
        return parts.port or _USUAL_PORT
    return None


def _answers_ping(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((_HOST, port), timeout=1.0) as wire:
        wire.sendall(b"*1\r\n$4\r\nPING\r\n")
        return wire.recv(16).startswith((b"+PONG", b"$4"))
    return False


def _find_server() -> tuple[str | None, str]:
    """Return the path of a `redis-server` that will do, or None, and why."""
    binary = shutil.which("redis-server")
    if binary is None:
        why = "no redis-server on the PATH"
    else:
        said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False)  # noqa: S603
        match = re.search(r"v=(\d+)\.(\d+)", said.stdout)
        if match and (int(match[1]), int(match[2])) >= OLDEST_SERVER:
            return binary, f"redis-server {match[1]}.{match[2]} from the PATH"
        why = f"redis-server on the PATH is older than {'.'.join(map(str, OLDEST_SERVER))}"
    for module in ("fakeredis", "lupa"):
        if importlib.util.find_spec(module) is None:
            raise ConfigurationError(
                f"{why}, and {module} is not installed: install a Redis, or pip install 'capelin[embedded]'"
            )
    return None, f"fakeredis: {why}"


def _server(binary: str, port: int, folder: Path) -> list[str]:
    options = {
        "port": port,
        "bind": _HOST,
        "dir": folder,
        "save": "",
        "appendonly": "no",
        "maxmemory-policy": "noeviction",
    }
    words = [binary, *(word for name, value in options.items() for word in (f"--{name}", str(value)))]
    return ["sh", "-c", _UNTIL_EOF, "sh", str(folder), *words]


def _fake(port: int) -> list[str]:
    return [sys.executable, "-m", "capelin._fake_server", str(port)]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port
