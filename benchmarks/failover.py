"""``python -m benchmarks.failover``: how long the lead is vacant when its holder is killed, or told to stop.

Three candidates stand. The one that leads is ended at a random moment of its renewals' rhythm, and another
is started in its place; what is measured is the time from the signal until the lease has another owner, and
until the first tick that the new leader fires. Figures are multiples of the lease's TTL: they depend on it.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import redis
from rich.console import Console
from rich.table import Table

from benchmarks.server import NoRedis, Server

_ROOT = Path(__file__).parent.parent
_CANDIDATES = 3
_PATIENCE = 60.0
_LEADER = "capelin:{schedules}:lease"
_HOST = "capelin:{lease:roamer}:lease"
_STATES = "capelin:{schedules}:states"


@dataclass
class Times:
    """Seconds, one entry a signal."""

    vacant: list[float] = field(default_factory=list[float])
    silent: list[float] = field(default_factory=list[float])


class Fleet:
    """The candidates.

    Args:
        url: Where Redis is.
        ttl: The lease's, seconds.
    """

    def __init__(self, url: str, ttl: float) -> None:
        environment = {**os.environ, "CAPELIN_LEASE_TTL": str(ttl), "CAPELIN_LOG_LEVEL": "error"}
        self._environment = environment | {"CAPELIN_REDIS_URL": url}
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Start one more."""
        process = subprocess.Popen(
            [sys.executable, "-m", "capelin", "worker", "benchmarks.failover_app:app"],
            cwd=_ROOT,
            env=self._environment,
            stdout=subprocess.DEVNULL,
        )
        self._processes[process.pid] = process

    def end(self, pid: int, how: signal.Signals) -> None:
        """Signal one, and forget it."""
        self._processes.pop(pid).send_signal(how)

    def stop(self) -> None:
        """End all."""
        for process in self._processes.values():
            process.kill()
            process.wait()


def _pid_of(worker: str) -> int:
    return int(worker.rsplit("-", 2)[1])


class Watcher:
    """Looks at leases over a bare connection."""

    def __init__(self, port: int) -> None:
        self._redis: Any = redis.Redis(port=port, decode_responses=True)

    def owner(self, lease: str) -> str:
        """Return the worker whose lease holds, or nothing."""
        owner, expires = self._redis.hmget(lease, "owner", "expires")
        return owner if owner and int(expires) > time.time() * 1000 else ""

    def ticks(self) -> int:
        """Return how many ticks were fired."""
        state = self._redis.hget(_STATES, "tick")
        return int(json.loads(state)["fired"]) if state else 0

    def until(self, what: str, holds: Any) -> float:
        """Wait until something holds; return when."""
        end = time.monotonic() + _PATIENCE
        while not holds():
            if time.monotonic() > end:
                raise TimeoutError(f"waited {_PATIENCE:g} s for {what}")
            time.sleep(0.001)
        return time.monotonic()

    def members(self) -> int:
        """Return how many workers are members."""
        return int(self._redis.zcard("capelin:{fleet}:expiry"))


def measure(how: signal.Signals, lease: str, *, times: int, ttl: float) -> Times:
    """End the owner of a lease again and again."""
    found = Times()
    with Server() as server:
        watcher, fleet = Watcher(server.port), Fleet(server.url, ttl)
        try:
            for _ in range(_CANDIDATES):
                fleet.start()
            for _ in range(times):
                watcher.until("the fleet", lambda: watcher.members() >= _CANDIDATES)
                watcher.until("an owner", lambda: watcher.owner(lease))
                fired = watcher.ticks()
                watcher.until("a tick", lambda fired=fired: watcher.ticks() > fired)
                time.sleep(random.uniform(0, ttl / 3))  # noqa: S311
                old = watcher.owner(lease)
                fired = watcher.ticks()
                began = time.monotonic()
                fleet.end(_pid_of(old), how)
                taken = watcher.until("another owner", lambda old=old: watcher.owner(lease) not in ("", old))
                found.vacant.append(taken - began)
                again = watcher.until("a tick", lambda fired=fired: watcher.ticks() > fired)
                found.silent.append(again - began)
                fleet.start()
        finally:
            fleet.stop()
    return found


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.failover", description=__doc__)
    parser.add_argument("--times", type=int, default=20, help="signals of each kind (20)")
    parser.add_argument("--ttl", type=float, default=1.0, help="the lease's TTL in seconds (1)")
    parser.add_argument("--json", type=Path, default=_ROOT / "build" / "failover.json", help="all figures")
    options = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 110, highlight=False)
    table = Table(title=f"as multiples of a lease TTL of {options.ttl:g} s; {options.times} times each")
    for heading in ("what ends", "how", "vacant: median", "worst", "first tick after: median", "worst"):
        table.add_column(heading, justify="left" if heading in ("what ends", "how") else "right")
    figures: dict[str, dict[str, Sequence[float]]] = {}
    cases = [
        (what, lease, how)
        for what, lease in (("leader", _LEADER), ("host of a singleton", _HOST))
        for how in (signal.SIGKILL, signal.SIGTERM)
    ]
    for what, lease, how in cases:
        print(f"{what}, {how.name}", file=sys.stderr, flush=True)
        try:
            found = measure(how, lease, times=options.times, ttl=options.ttl)
        except NoRedis as error:
            print(f"benchmarks.failover: {error}", file=sys.stderr)
            return 1
        figures[f"{what} {how.name}"] = {"vacant": found.vacant, "silent": found.silent}
        cells = [f"{value / options.ttl:.2f}" for value in (median(found.vacant), max(found.vacant))]
        if lease == _LEADER:
            cells += [f"{value / options.ttl:.2f}" for value in (median(found.silent), max(found.silent))]
        table.add_row(what, how.name, *cells)
    console.print(table)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({"ttl": options.ttl, "seconds": figures}, indent=2))
    print(f"all figures: {options.json}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
