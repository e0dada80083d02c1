"""Guarantee 4, measured: jobs that wait in the shards of an owner that is dead, or full."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

from capelin import Capelin
from capelin.jobs import Job
from capelin.keys import shard_of
from capelin.settings import Settings
from tests.chaos.apps import duties
from tests.chaos.pods import Pod, Pods, Release
from tests.chaos.report import table
from tests.support.ledger import Ledger
from tests.support.processes import Processes
from tests.support.resp import texts
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until

LEASE = 6.0
"""Seconds: within it all is stolen, since nobody else owns the shards yet."""
CALLS, A_SHARD = 8, 2
SHARDS = Settings().shards
BOUND = Settings().steal_after + 0.1


@dataclass(kw_only=True)
class Waits:
    """Seconds from enqueue to start, by Redis's clock."""

    dead: list[float] = field(default_factory=list[float])
    full: list[float] = field(default_factory=list[float])

    @property
    def good(self) -> bool:
        """Whether both medians are within the bound."""
        return median(self.dead) <= BOUND and median(self.full) <= BOUND

    def __str__(self) -> str:
        rows = [
            [
                owner,
                f"{len(waits)}",
                f"{BOUND * 1000:.0f} ms",
                f"{median(waits) * 1000:.0f} ms",
                f"{sorted(waits)[int(len(waits) * 0.99)] * 1000:.0f} ms",
                f"{max(waits) * 1000:.0f} ms",
            ]
            for owner, waits in (("dead", self.dead), ("full", self.full))
        ]
        return table(["owner", "jobs", "bound of the median", "median", "99th percentile", "worst"], rows)


async def measure_waits(rounds: int, say: Callable[[str], None]) -> Waits:
    """Let jobs wait for an owner so many times."""
    waits = Waits()
    for number in range(rounds):
        with (
            tempfile.TemporaryDirectory(prefix="capelin-waits-") as folder,
            RedisServer() as server,
            Processes() as processes,
        ):
            waits.full += await _round(server, processes, Ledger(Path(folder) / "full"), full=True)
            server.flush()
            waits.dead += await _round(server, processes, Ledger(Path(folder) / "dead"), full=False)
        say(f"round {number + 1}: {median(waits.dead):.3f} s, {median(waits.full):.3f} s")
    return waits


async def _round(server: RedisServer, processes: Processes, ledger: Ledger, *, full: bool) -> list[float]:
    words = ("-q", duties.DEFAULT, "-c", "1" if full else "50")
    owner = await _start(processes, server, ledger, words)
    async with Capelin(server.url) as app:
        app.include(duties.tasks)
        if full:
            await app.enqueue(duties.kept.job())
            await wait_until(lambda: ledger.lines("start"), description="the owner to be full")
        thief = await _start(processes, server, ledger, ("-q", duties.DEFAULT, "-c", "50"))
        await wait_until(
            lambda: len(_shards_of(server, thief)) == SHARDS / 2, description="shards to be shared"
        )
        shards = _shards_of(server, owner)
        if not full:
            owner.kill()
        jobs: list[Job[Any]] = []
        keys = [_key_of(shard) for shard in shards]
        for _ in range(CALLS):
            sent = await app.enqueue([duties.quick.options(shard_key=k).job(0) for k in keys * A_SHARD])
            await wait_until(partial(_all_done, server, sent), description="the jobs to be done")
            jobs += sent
        if set(_shards_of(server, owner)) != set(shards):
            raise AssertionError("the owner lost its shards too early: this was no theft")
    found = _waited(server, jobs)
    for pod in (owner, thief):
        if pod.ended is None:
            pod.kill()
    return found


async def _start(processes: Processes, server: RedisServer, ledger: Ledger, words: tuple[str, ...]) -> Pod:
    return await Pods(processes, url=server.url, ledger=ledger, ttl=LEASE, words=words).start(Release.TWO)


def _key_of(shard: int) -> str:
    """A shard key that leads to this shard."""
    return next(str(number) for number in count() if shard_of(str(number), SHARDS) == shard)


def _shards_of(server: RedisServer, pod: Pod) -> list[int]:
    with server.connect() as redis:
        leases = [f"capelin:{{{duties.DEFAULT}:{shard}}}:lease" for shard in range(SHARDS)]
        owners = redis.pipeline(*[("HGET", lease, "owner") for lease in leases])
    return [shard for shard, owner in enumerate(owners) if owner == pod.id]


def _record(job: Job[Any]) -> str:
    return f"capelin:{{{job.queue}:{job.shard}}}:job:{job.id}"


def _all_done(server: RedisServer, jobs: list[Job[Any]]) -> bool:
    with server.connect() as redis:
        statuses = redis.pipeline(*[("HGET", _record(job), "status") for job in jobs])
    return all(status == "completed" for status in statuses)


def _waited(server: RedisServer, jobs: list[Job[Any]]) -> list[float]:
    with server.connect() as redis:
        rows = redis.pipeline(*[("HMGET", _record(job), "at", "started") for job in jobs])
    return [(int(started) - int(enqueued)) / 1000 for enqueued, started in map(texts, rows)]
