"""The one Redis that every system of a run is measured on: our own, without persistence, on a free port."""

import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis

_START_LIMIT = 10.0
_LOOPBACK = "127.0.0.1"
_SCRIPTS = ("cmdstat_evalsha", "cmdstat_eval", "cmdstat_fcall", "cmdstat_evalsha_ro", "cmdstat_fcall_ro")
_OURS = ("cmdstat_info", "cmdstat_config|resetstat")


class NoRedis(Exception):
    """There is no redis-server to measure on; the message says what to do."""


class Server:
    """A redis-server on loopback that ends with the run."""

    def __init__(self) -> None:
        binary = shutil.which("redis-server")
        if binary is None:
            raise NoRedis("redis-server is not on the PATH; install it (apt-get install redis-server)")
        self._folder = tempfile.mkdtemp(prefix="capelin-benchmark-redis-")
        self.port = _free_port()
        options = {
            "port": self.port,
            "bind": _LOOPBACK,
            "save": "",
            "appendonly": "no",
            "dir": self._folder,
            "logfile": str(Path(self._folder) / "log"),
        }
        words = [binary]
        for name, value in options.items():
            words += [f"--{name}", str(value)]
        self._process = subprocess.Popen(words, stdout=subprocess.DEVNULL)  # noqa: S603 -- our own words
        self._redis: Any = redis.Redis(host=_LOOPBACK, port=self.port)
        self._wait()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"redis://{_LOOPBACK}:{self.port}/0"

    @property
    def version(self) -> str:
        """Redis's version."""
        return str(self._info("server")["redis_version"])

    def empty(self) -> None:
        """Remove every key."""
        self._redis.flushall()

    def memory(self) -> int:
        """Return the bytes in use, without cached scripts; with the buffers of whoever is connected."""
        info = self._info("memory")
        return int(info["used_memory"]) - int(info.get("used_memory_scripts", 0))

    def reset_statistics(self) -> None:
        """Begin to count commands anew."""
        self._redis.config_resetstat()

    def scripts_microseconds(self) -> float:
        """Return the time spent in scripts since the statistics were reset."""
        return sum(float(row.get("usec", 0)) for row in self._scripts().values())

    def calls(self) -> tuple[int, int]:
        """Return how many scripts and how many other commands ran since the statistics were reset.

        The others are those that clients sent and those that scripts called: the server counts them as one.
        """
        rows = self._info("commandstats")
        scripts = sum(int(row["calls"]) for row in self._scripts().values())
        ours = sum(int(rows.get(name, {}).get("calls", 0)) for name in _OURS)
        return scripts, sum(int(row["calls"]) for row in rows.values()) - scripts - ours

    def _scripts(self) -> dict[str, Any]:
        return {name: row for name, row in self._info("commandstats").items() if name in _SCRIPTS}

    def cpu_seconds(self) -> float:
        """Return the CPU time that the server has used so far."""
        info = self._info("cpu")
        return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])

    def _info(self, section: str) -> dict[str, Any]:
        info: dict[str, Any] = self._redis.info(section)
        return info

    def _wait(self) -> None:
        deadline = time.monotonic() + _START_LIMIT
        while True:
            try:
                ours = int(self._info("server")["process_id"]) == self._process.pid
            except redis.ConnectionError:
                ours = False
            if ours:
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                log = Path(self._folder) / "log"
                said = log.read_text(errors="replace")[-500:] if log.exists() else "it left no log"
                self.close()
                raise NoRedis(f"redis-server did not start on port {self.port}: {said}")
            time.sleep(0.01)

    def close(self) -> None:
        """End it."""
        self._redis.close()
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        return int(probe.getsockname()[1])
