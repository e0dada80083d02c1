"""An enqueue to an idle fleet starts at exactly one worker, and nobody polls.

An owner leaves a note that it waits; whatever makes work appear answers the note with one token, on which
one `BLPOP` waits. What an idle fleet says to Redis besides is counted here and bounded by what its timers
explain. Probes of thieves, which have a budget of their own, are counted apart.
"""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass

import pytest

from capelin import Capelin, Tasks, current_job
from capelin.lua.loader import load
from capelin.resharding import MOST_SHARDS
from capelin.settings import Settings
from capelin.workers import strays
from tests.support.commands import Command, CommandRecorder
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until
from tests.support.workers import LocalWorker, RunningWorker

WORKERS, SHARDS = 3, 8
IDLE = 10.0
# A second, so that on a busy machine no thief is quicker than a woken owner.
SETTINGS = Settings(steal_after=1.0)
SCRIPTS = (
    "enqueue",
    "open_queue",
    "take",
    "peek",
    "finish",
    "renew",
    "fleet_beat",
    "reap",
    "retain",
    "adopt",
    "lease_acquire",
    "lease_renew",
    "schedule_commit",
)
OLDER_THAN = 4  # its place among the arguments of `take`

group = Tasks()
started_by: dict[int, tuple[str, float]] = {}


@group.task
async def note(number: int) -> None:
    started_by[number] = current_job().worker_id, time.monotonic()


@dataclass
class Idle:
    """Three workers that have nothing to do."""

    app: Capelin[None]
    workers: list[LocalWorker]

    def owner(self, shard: int) -> str:
        """Who is woken for a shard."""
        return next(w.id for w in self.workers for keys in w.worker.ownership.shards if keys.shard == shard)


@pytest.fixture
async def idle(redis_server: RedisServer, running_worker: RunningWorker) -> Idle:
    app = Capelin(redis_server.url, settings=SETTINGS)
    app.include(group)
    started_by.clear()
    workers = [await running_worker(app, settings=SETTINGS) for _ in range(WORKERS)]
    await wait_until(
        lambda: sorted(len(worker.worker.ownership.shards) for worker in workers) == [2, 3, 3],
        description="the workers to share the shards",
    )
    return Idle(app, workers)


@pytest.mark.usefixtures("idle")
async def test_an_idle_fleet_says_no_more_than_its_timers_explain(redis_server: RedisServer) -> None:
    with CommandRecorder(redis_server) as recorder:
        await asyncio.sleep(IDLE)
    said = tally(recorder.sent())

    interval, block = SETTINGS.renew_interval, SETTINGS.block
    bounds = {
        "fleet_beat": WORKERS * times(IDLE, interval),  # each worker's sign of life, every 2 s
        "renew": SHARDS * times(IDLE, interval),  # each shard's lease, by its owner
        "BLPOP": WORKERS * times(IDLE, block),  # each worker waits for 2 s at most
        "take": SHARDS * times(IDLE, block),  # and looks again at each of its shards after a wait in vain
        "XREAD": WORKERS * times(IDLE, block),  # each worker's inbox
        "retain": SHARDS * times(IDLE, 10),  # each shard, by its owner
        "open_queue": WORKERS * times(IDLE, 10),  # whether its queue was cut anew
        "reap": SHARDS,  # a new owner looks once for what the last one left, as soon as it may judge
        "SCRIPT": WORKERS * 4,  # their texts, when one is first used on a connection
        "CLIENT": WORKERS * 3,  # a wait gets a connection, named and known; one for other shards is ended
        "lease_renew": times(IDLE, interval),  # the leader keeps its lease
        "schedule_commit": times(IDLE, interval),  # and asks whether the schedules have changed
        "lease_acquire": (WORKERS - 1) * times(IDLE, interval),  # the others, whether they may lead
        "HGETALL": 2 * 7,  # the leader looks every 15 s which releases run: what they declare,
        # What is in place, and, each minute, whether a shard that no layout names was used.
        "HGET": 2 + (MOST_SHARDS - SHARDS) * times(IDLE, strays.EVERY),
        "TIME": 2,  # what was retired long ago
        "peek": round(min(SETTINGS.steal_budget, 20 * SHARDS) * IDLE * 1.1),  # 20 a second and shard
    }
    assert set(said) <= set(bounds), "an idle fleet says something that no timer explains"
    assert {name: count for name, count in said.items() if count > bounds[name]} == {}
    # As many as it takes for a job to wait 50 ms more on average; noise may take half of them.
    assert said["peek"] > bounds["peek"] / 2
    assert said["BLPOP"] > 0
    assert said["renew"] > 0


async def test_a_job_to_an_idle_fleet_costs_one_wake_up_and_one_take(
    idle: Idle, redis_server: RedisServer
) -> None:
    jobs = 4 * SHARDS
    with CommandRecorder(redis_server) as recorder:
        first = time.monotonic()
        for number in range(jobs):
            began = time.monotonic()
            job = await idle.app.enqueue(note.job(number))
            worker, at = await start_of(number)
            assert worker == idle.owner(job.shard)
            assert at - began < SETTINGS.block / 2, "it was found by a timer"
            await job.result(timeout=5)
        lasted = time.monotonic() - first
    said = tally(recorder.sent())
    tokens = [
        c for c in recorder.commands if c.by_script and c.name == "LPUSH" and c.words[1].endswith(":wake")
    ]
    assert len(tokens) == jobs, "each job pushes one token"
    # What the fleet says without any job comes on top, for as long as this took.
    vain = times(lasted, SETTINGS.block)
    assert said["enqueue"] == said["finish"] == jobs
    assert jobs <= said["take"] <= jobs + SHARDS * vain
    assert said["BLPOP"] <= jobs + WORKERS * vain


async def start_of(number: int) -> tuple[str, float]:
    """The worker that started a job, and when."""
    await wait_until(lambda: number in started_by, description=f"job {number} to start")
    return started_by[number]


def times(seconds: float, every: float) -> int:
    """How often at most something happens in so many seconds that happens every so many."""
    return int(seconds / every) + 1


def tally(commands: list[Command]) -> Counter[str]:
    """Commands by name; scripts by theirs, and takes that steal as `steal`."""
    names = {load(name).sha: name for name in SCRIPTS}
    counts: Counter[str] = Counter()
    for command in commands:
        name = names.get(command.words[1], command.words[1]) if command.name == "EVALSHA" else command.name
        if name == "take" and command.words[3 + int(command.words[2]) + OLDER_THAN] == str(stolen_after()):
            name = "steal"
        counts[name] += 1
    return counts


def stolen_after() -> int:
    return round(SETTINGS.steal_after * 1000)
