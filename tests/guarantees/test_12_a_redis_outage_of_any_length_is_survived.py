"""Guarantee 12: a Redis outage of any length is survived without restarting anything.

By itself an outage reaps no living worker, counts no crash and kills no job: jobs that run go on, and what
they came to is recorded when Redis is back.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import pytest

from capelin import lua
from capelin.connection import connect
from capelin.jobs import Job
from capelin.keys import Keys, ShardKeys
from capelin.lua import NewJob
from tests.conftest import OwnRedis
from tests.guarantees.apps import recording
from tests.guarantees.fleet import INTERVAL, SHARDS, TTL, Fleet, Process
from tests.support.ledger import Ledger
from tests.support.processes import Processes
from tests.support.resp import texts
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until

LONG_OUTAGE = 2 * (TTL + INTERVAL)
"""Seconds: each stake, lease and membership ends twice over."""
WORKS_AGAIN_WITHIN = 5.0
REAPED = "jobs of dead workers came back"

Fault = tuple[Callable[[RedisServer], object], Callable[[RedisServer], object]]
KILLED: Fault = (RedisServer.kill, RedisServer.restart)
FROZEN: Fault = (RedisServer.pause, RedisServer.resume)


@pytest.fixture
async def own_fleet(own_redis: OwnRedis, processes: Processes, ledger: Ledger) -> AsyncIterator[Fleet]:
    """A fleet whose Redis is its own, and keeps what it acknowledged."""
    fleet = Fleet(processes, own_redis(appendonly=True), ledger)
    async with fleet.app:
        yield fleet


@pytest.mark.parametrize(("begin", "end"), [KILLED, FROZEN], ids=["killed", "frozen"])
async def test_all_workers_live_through_an_outage_longer_than_their_leases(
    own_fleet: Fleet, begin: Callable[[RedisServer], object], end: Callable[[RedisServer], object]
) -> None:
    fleet = own_fleet
    # All of these run at one worker, most of them in shards that will be watched over by the others.
    [slow] = await fleet.start("slow", lease_ttl=TTL)
    ending_in_it = await fleet.hold("during", 2 * SHARDS)
    outlasting_it = await fleet.hold("after", 2 * SHARDS)
    others = await fleet.start("two", "three", lease_ttl=TTL)
    workers = [slow, *others]

    begin(fleet.server)
    asked_in_it = asyncio.create_task(fleet.enqueue(recording.quick.job(1)))
    fleet.open_gate("during")
    await wait_until(
        lambda: {end.job for end in fleet.ends()} == {job.id for job in ending_in_it},
        description="jobs to end while Redis is away",
    )
    await asyncio.sleep(LONG_OUTAGE)
    slow.child.freeze()
    end(fleet.server)
    # The others are back, and find that the stakes of the slow one have ended. They must not judge yet.
    ids = {other.id for other in others}
    await wait_until(lambda: set(fleet.owners().values()) == ids, description="the others to be back")
    slow.child.thaw()
    await works_again(fleet, workers)

    # Long enough for everybody to judge everybody again.
    patient = await fleet.enqueue(recording.lasting.job(2 * (TTL + INTERVAL)))
    await fleet.all_completed([patient])
    fleet.open_gate("after")
    accounts = await fleet.all_completed([*ending_in_it, *outlasting_it, patient, await asked_in_it])
    assert [account for account in accounts if not account.clean] == []
    assert max(fleet.ledger.starts().values()) == 1
    nothing_was_reaped(workers)


async def test_outages_that_follow_each_other_are_survived(own_fleet: Fleet) -> None:
    fleet = own_fleet
    chance = random.Random(12)  # noqa: S311
    workers = await fleet.start("one", "two", "three", lease_ttl=TTL)
    jobs = await fleet.hold("door", 2 * SHARDS)
    for begin, end in [KILLED, FROZEN, KILLED, FROZEN]:
        begin(fleet.server)
        # About the length of a lease: some stakes end in it and some do not.
        await asyncio.sleep(TTL * chance.uniform(0.5, 1.2))
        end(fleet.server)
        jobs += await works_again(fleet, workers)
    fleet.open_gate("door")
    accounts = await fleet.all_completed(jobs)
    assert [account for account in accounts if not account.clean] == []
    nothing_was_reaped(workers)


async def test_a_worker_that_dies_in_an_outage_loses_its_jobs_and_they_count_no_crash(
    own_fleet: Fleet,
) -> None:
    fleet = own_fleet
    victim, *others = await fleet.start("victim", "one", "two", lease_ttl=TTL)
    jobs = await fleet.hold("door", 2 * SHARDS)
    lost = {start.job for start in fleet.starts() if start.worker == victim.id}
    assert lost
    fleet.server.kill()
    victim.child.kill()
    await asyncio.sleep(LONG_OUTAGE)
    fleet.server.restart()
    for job in jobs:
        if job.id in lost:
            await fleet.started(job, times=2)
    fleet.open_gate("door")
    for account in await fleet.all_completed(jobs):
        assert (account.token, account.crashes) == ((2, 0) if account.id in lost else (1, 0))
    assert all(other.child.running for other in others)


async def test_a_judgement_that_an_outage_held_up_judges_nobody(redis_server: RedisServer) -> None:
    # A reap, or a beat that removes the silent, may be on its way when Redis stops. It runs when Redis goes
    # on, before anybody could renew.
    connection, keys = connect(redis_server.url), Keys()
    shard, ttl = keys.shard("default", 0), 50
    await connection.run(lua.enqueue(shard, most=None, resend_window=60_000, jobs=[NewJob("a", "task")]))
    taken = await connection.run(take(shard, "living", ttl))
    beat = partial(lua.fleet_beat, keys, member="{}", free=1)
    joined = await connection.run(beat(worker="living", ttl=ttl, judge_until=0))
    ended = taken.now + ttl
    # What stands still for longer than the stake is the world outside this test.
    await wait_until(lambda: milliseconds(redis_server) > ended + 100, description="the stake to end")

    reap = partial(
        lua.reap, shard, reaper="judge", limit=10, max_crashes=3, no_crash_before=0, resend_window=60_000
    )
    held_up = await connection.run(reap(default_retention=60_000, judge_until=ended + 50))
    assert (held_up.returned, held_up.dead) == ([], [])
    silent = await connection.run(beat(worker="judge", ttl=60_000, judge_until=ended + 50))
    assert silent.version == joined.version + 1, "only the judge itself has joined"

    later = milliseconds(redis_server) + 60_000
    in_time = await connection.run(reap(default_retention=60_000, judge_until=later))
    assert (in_time.returned, in_time.dead) == (["a"], ["living"])
    removed = await connection.run(beat(worker="judge", ttl=60_000, judge_until=later))
    assert removed.version == silent.version + 1
    await connection.close()


def take(shard: ShardKeys, worker: str, ttl: int) -> lua.Call[lua.Taken]:
    """A take of one job."""
    return lua.take(
        shard,
        worker=worker,
        count=1,
        ttl=ttl,
        waits=False,
        older_than=None,
        resend_window=60_000,
        default_retention=60_000,
        critical=0,
        high=0,
        normal=1,
        low=0,
    )


def milliseconds(server: RedisServer) -> int:
    """The clock of a server."""
    seconds, micros = texts(server.command("TIME"))
    return int(seconds) * 1000 + int(micros) // 1000


async def works_again(fleet: Fleet, workers: list[Process]) -> list[Job[Any]]:
    """New jobs run within seconds, and nobody was restarted for it."""
    began = time.monotonic()
    jobs = await fleet.enqueue_many([recording.quick.job(number) for number in range(16)])
    await wait_until(
        lambda: set(fleet.statuses(jobs)) == {"completed"}, description="new jobs to be completed"
    )
    assert time.monotonic() - began < WORKS_AGAIN_WITHIN
    assert all(worker.child.running for worker in workers)
    return jobs


def nothing_was_reaped(workers: list[Process]) -> None:
    assert [event for worker in workers for event in worker.child.events(REAPED)] == []
    assert [len(worker.child.events("worker started")) for worker in workers] == [1] * len(workers)
