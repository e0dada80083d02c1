"""Renewals reconcile: what Redis holds running for a worker and the worker does not know, it adopts.

A take whose reply was lost has started jobs that no process knows. They begin with their first token, once;
and when the reply comes late after all, it meets the adoption in one table.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

import pytest

import capelin.lua
from capelin import Capelin, Tasks
from capelin.keys import shard_of
from capelin.lua.loader import load
from capelin.settings import Settings
from tests.guarantees.fleet import key_of
from tests.support.census import take_census
from tests.support.ledger import Ledger, noting_starts
from tests.support.proxy import Fault, RedisProxy, mentions
from tests.support.resp import texts
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until
from tests.support.workers import LocalWorker, RunningWorker

TTL = 1.0
SHARDS = 8
JOBS = 10
# The owner's waits do not end by themselves while a test runs: the next take is the one that delivers.
SETTINGS = Settings(lease_ttl=TTL, block=4.0)
ADOPTS = "adopts starts whose delivery was lost"
HANDED_BACK = "starts whose delivery was lost are handed back"

PENDING = "local p = redis.pcall('XPENDING', KEYS[1], 'workers') return p.err and 0 or p[1]"

group = Tasks()
Logged = list[MutableMapping[str, Any]]


@group.task
async def note(number: int) -> int:
    return number


@dataclass(kw_only=True)
class World:
    """One worker behind a proxy, a client that is not, and what ran."""

    server: RedisServer
    proxy: RedisProxy
    worker: LocalWorker
    client: Capelin[None]
    ledger: Ledger

    def cut_take(self) -> Fault:
        """Order that the reply of the next take is cut off."""
        return self.proxy.cut_reply_after(mentions("EVALSHA", load("take").sha))


@pytest.fixture
async def world(
    redis_server: RedisServer,
    proxied: Callable[[str], RedisProxy],
    ledger: Ledger,
    running_worker: RunningWorker,
) -> AsyncIterator[World]:
    proxy = proxied(redis_server.url)
    app = Capelin(proxy.url, name="reconciled", middleware=[noting_starts(ledger)], settings=SETTINGS)
    app.include(group)
    worker = await running_worker(app, settings=SETTINGS)
    notes = [("HEXISTS", f"capelin:{{default:{shard}}}:meta", "note") for shard in range(SHARDS)]
    with redis_server.connect() as redis:
        await wait_until(
            lambda: redis.pipeline(*notes) == [1] * SHARDS, description="the worker to wait everywhere"
        )
    client = Capelin(redis_server.url, settings=SETTINGS)
    client.include(group)
    async with client:
        yield World(server=redis_server, proxy=proxy, worker=worker, client=client, ledger=ledger)


async def test_starts_whose_delivery_was_lost_are_adopted_with_their_first_token(
    world: World, logged: Logged
) -> None:
    fault = world.cut_take()
    jobs = await world.client.enqueue([note.options(shard_key="x").job(number) for number in range(JOBS)])
    began = time.monotonic()
    assert [await job.result(timeout=10) for job in jobs] == list(range(JOBS))
    # Two renewals running must miss them. Nothing here waits for the end of a stake.
    assert time.monotonic() - began < 2 * TTL
    assert fault.hits == 1
    assert world.ledger.starts() == {(job.id, 1): 1 for job in jobs}
    assert [line["jobs"] for line in logged if line["event"] == ADOPTS] == [JOBS]
    assert take_census(world.server).misplaced == []


async def test_a_late_reply_finds_its_starts_adopted(world: World, logged: Logged) -> None:
    consumer = world.worker.worker.consumer
    enqueuing = asyncio.create_task(
        world.client.enqueue([note.options(shard_key="x").job(number) for number in range(JOBS)])
    )
    while not (consumer.asked.count and delivered(world.server, shard_of("x", SHARDS))):  # noqa: ASYNC110 -- every turn of the loop counts
        await asyncio.sleep(0)
    assert consumer.begun == 0
    # The reply of a take is on its way to this event loop, which is blocked; the heartbeat's thread is not.
    time.sleep(1.5 * TTL)  # noqa: ASYNC251
    jobs = await enqueuing
    assert [await job.result(timeout=10) for job in jobs] == list(range(JOBS))
    assert sum(line["jobs"] for line in logged if line["event"] == ADOPTS) > 0
    assert world.ledger.starts() == {(job.id, 1): 1 for job in jobs}
    assert take_census(world.server).misplaced == []


async def test_a_stolen_take_keeps_its_stake_while_its_reply_waits_for_a_blocked_loop(world: World) -> None:
    worker, keys = world.worker.worker, world.client.keys
    # A member that is there and does nothing: half of the shards are its own.
    member = worker.heartbeat.members[worker.id].to_json().replace(worker.id, "idle")
    beat = capelin.lua.fleet_beat(keys, worker="idle", member=member, ttl=600_000, free=0, judge_until=0)
    await world.client.client().connection.run(beat)
    await wait_until(
        lambda: len(worker.ownership.shards) < SHARDS, description="it to own some of the shards"
    )
    shard = min({*range(SHARDS)} - {owned.shard for owned in worker.ownership.shards})

    begun = worker.consumer.begun
    enqueuing = asyncio.create_task(world.client.enqueue(note.options(shard_key=key_of(shard)).job(1)))
    while not (worker.consumer.asked.count and delivered(world.server, shard)):  # noqa: ASYNC110 -- as above
        await asyncio.sleep(0)
    assert worker.consumer.begun == begun
    time.sleep(1.5 * TTL)  # noqa: ASYNC251 -- the thief's reply is there, and its event loop is blocked
    with world.server.connect() as redis:
        seconds, micros = texts(redis("TIME"))
        stake = redis("ZSCORE", keys.shard("default", shard).stakes, worker.id)
    now = int(seconds) * 1000 + int(micros) // 1000
    assert int(str(stake)) > now, "its stake has ended: others run the job, too"
    job = await enqueuing
    assert await job.result(timeout=10) == 1
    assert world.ledger.starts() == {(job.id, 1): 1}


def delivered(server: RedisServer, shard: int) -> bool:
    """Whether the take that is on its way delivers the jobs; blocks the event loop until that is certain."""
    stream = f"capelin:{{default:{shard}}}:stream:normal"
    with server.connect() as redis:
        for _ in range(200):
            waiting, started = redis("XLEN", stream), redis("EVAL", PENDING, 1, stream)
            if started or not waiting:
                return bool(started)
    return False


async def test_a_worker_that_ends_hands_back_starts_whose_delivery_was_lost(
    world: World, logged: Logged
) -> None:
    fault = world.cut_take()
    jobs = await world.client.enqueue([note.options(shard_key="x").job(number) for number in range(JOBS)])
    await wait_until(lambda: fault.hits == 1, description="the reply to be cut off")
    await world.worker.stop()
    census = take_census(world.server)
    assert census.misplaced == []
    assert census.statuses == {"queued": JOBS}
    assert [line["jobs"] for line in logged if line["event"] == HANDED_BACK] == [JOBS]
    assert {job.record.get("crashes", "0") for job in census.jobs.values()} == {"0"}
    assert {job.record["place"] for job in census.jobs.values()} == {"returned"}
    assert len(jobs) == JOBS
