"""Real Redis servers that a test may start, stop, freeze, kill and bring back.

Every server has a port and a folder of its own and ends with the test run, however that ends (see
`guardian`). Only processes that were started here are ever signalled.
"""

import contextlib
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.guardian import guardian
from tests.support.ports import LOOPBACK, free_port
from tests.support.resp import Connection, Reply, RespError, parse_info, texts
from tests.support.waiting import wait_until_sync

BINARY = "redis-server"
_PORT_ATTEMPTS = 20


class ServerDiedError(RuntimeError):
    """A redis-server ended by itself; the message is the end of its log."""


def redis_server_missing() -> bool:
    """Whether this machine has no redis-server."""
    return shutil.which(BINARY) is None


class RedisServer:
    """One redis-server on loopback.

    Args:
        appendonly: with an append-only file, `appendfsync always`: what was acknowledged survives `kill`.
        maxmemory: such as `"8mb"`, with the policy `noeviction`.
        config: any other options of redis.conf, by name.

    Example:
        with RedisServer(appendonly=True) as server:
            server.command("SET", "x", "1")
            server.kill()
            server.restart()
    """

    def __init__(
        self,
        *,
        appendonly: bool = False,
        maxmemory: str | None = None,
        config: Mapping[str, str | int] | None = None,
    ) -> None:
        self._options: dict[str, str | int] = {
            "bind": LOOPBACK,
            "save": "",
            "appendonly": "yes" if appendonly else "no",
            "appendfsync": "always",
            "maxmemory": maxmemory or 0,
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
            # Servers of tests share two cores: let background rewrites be asked for, not happen.
            "auto-aof-rewrite-percentage": 0,
            **(config or {}),
        }
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._paused = False
        self.port = 0

    @property
    def url(self) -> str:
        """`redis://127.0.0.1:<port>/0`."""
        return f"redis://{LOOPBACK}:{self.port}/0"

    @property
    def running(self) -> bool:
        """Whether the process lives (a paused one does)."""
        return self._process is not None and self._process.poll() is None

    @property
    def answering(self) -> bool:
        """Whether the process lives and is not paused."""
        return self.running and not self._paused

    @property
    def pid(self) -> int:
        """The pid of the living process."""
        return self._alive().pid

    @property
    def log(self) -> str:
        """What the server has written to its log so far."""
        path = self._folder / "log" if self._folder else None
        return path.read_text(errors="replace") if path and path.exists() else ""

    def start(self) -> Self:
        """Start on a free port in a fresh folder and return once it answers."""
        if self._folder is not None:
            raise RuntimeError("this server was started before: use restart()")
        self._folder = Path(tempfile.mkdtemp(prefix="capelin-test-redis-"))
        for attempt in range(1, _PORT_ATTEMPTS + 1):
            self.port = free_port()
            try:
                self._launch()
            except ServerDiedError:
                # Somebody was quicker and took the port. Anything else is the same on every port.
                if "in use" not in self.log or attempt == _PORT_ATTEMPTS:
                    self.stop()
                    raise
            else:
                break
        return self

    def restart(self) -> Self:
        """Start again on the same port and in the same folder, after `kill` or `shutdown`."""
        if self.running:
            raise RuntimeError("the server is running: kill() or shutdown() it first")
        self._launch()
        return self

    def kill(self) -> None:
        """SIGKILL, as a machine that loses power."""
        self._end(signal.SIGKILL)

    def shutdown(self) -> None:
        """SIGTERM, as a deploy; the folder stays for `restart`."""
        if self._paused:
            self.resume()
        self._end(signal.SIGTERM)

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        self._alive().send_signal(signal.SIGSTOP)
        self._paused = True

    def resume(self) -> None:
        """SIGCONT."""
        self._alive().send_signal(signal.SIGCONT)
        self._paused = False

    def stop(self) -> None:
        """End the process, if it runs, and remove its folder. Can be called twice."""
        if self.running:
            self._end(signal.SIGKILL)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def connect(self, *, timeout: float = 10) -> Connection:
        """A bare connection for looking at the server; see `resp.Connection`."""
        return Connection(self.port, timeout=timeout)

    def command(self, *words: str | bytes | float) -> Reply:
        """Run one command on a connection of its own."""
        with self.connect() as redis:
            return redis(*words)

    def info(self, section: str = "default") -> dict[str, str]:
        """INFO as field to value."""
        return parse_info(self.command("INFO", section))

    def keys(self) -> set[str]:
        """Every key of database 0."""
        return set(texts(self.command("KEYS", "*")))

    def configure(self, options: Mapping[str, str | int]) -> None:
        """Change options of redis.conf now, and at every later start."""
        self._options.update(options)
        with self.connect() as redis:
            for name, value in options.items():
                redis("CONFIG", "SET", name, value)

    def flush(self) -> None:
        """Remove every key, loaded script, count and connection: the next test meets a new server."""
        with self.connect() as redis:
            redis.pipeline(
                ("FLUSHALL",),
                ("SCRIPT", "FLUSH"),
                ("CONFIG", "RESETSTAT"),
                ("CLIENT", "KILL", "TYPE", "normal"),
                ("CLIENT", "KILL", "TYPE", "pubsub"),
            )

    def _alive(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError("the server is not running")
        return self._process

    def _launch(self) -> None:
        if self._folder is None:
            raise RuntimeError("the server was stopped and its folder is gone: start a new one")
        (self._folder / "log").unlink(missing_ok=True)
        self._paused = False
        options = {"port": self.port, "dir": str(self._folder), "logfile": "log", **self._extra_options()}
        words = [BINARY]
        for name, value in {**self._options, **options}.items():
            words += [f"--{name}", str(value)]
        self._process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self._folder,
            start_new_session=True,  # Ctrl-C reaches the tests, which then end their servers in order
        )
        guardian.protect(self._process.pid)
        try:
            wait_until_sync(self._answers, description=f"redis-server to answer on port {self.port}")
        except BaseException:
            if self.running:
                self._end(signal.SIGKILL)
            raise

    def _extra_options(self) -> dict[str, str | int]:
        """Options that are chosen anew at each start."""
        return {}

    def _answers(self) -> bool:
        process = self._process
        if process is None or process.poll() is not None:
            if process is not None:
                guardian.release(process.pid)
            raise ServerDiedError(self.log[-2000:] or "redis-server ended without a word")
        with contextlib.suppress(OSError, RespError), self.connect(timeout=1) as redis:
            # Another server may have the port: only our own process's answer counts. While it loads, INFO
            # answers and PING does not.
            ours = parse_info(redis("INFO", "server")).get("process_id") == str(process.pid)
            return ours and redis("PING") == "PONG"
        return False

    def _end(self, number: signal.Signals) -> None:
        process = self._alive()
        process.send_signal(number)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        finally:
            guardian.release(process.pid)
            self._paused = False

    def __enter__(self) -> Self:
        return self if self.running else self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = "paused" if self._paused else "running" if self.running else "down"
        return f"<{type(self).__name__} {self.url} {state}>"
