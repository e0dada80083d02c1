"""Slots of a Redis Cluster move from node to node under load: nothing is lost, and nothing runs twice.

While a slot is on its way its keys stand on two nodes, and no script may see only some of them: it is refused
as a whole and sent again. Workers whose renewals are refused meanwhile are not dead.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from capelin import Capelin, Retry, current_job, lua
from capelin.connection import connect
from capelin.errors import Unreachable
from capelin.ids import JobId
from capelin.jobs import Job
from capelin.keys import Keys, ShardKeys
from capelin.lua import Call, DeadRow, KnownTask, NewJob, OutcomeRow, RunningRow
from capelin.lua.loader import load
from tests.support.census import take_census
from tests.support.cluster import ClusterNode, RedisCluster
from tests.support.ledger import Ledger, noting_starts
from tests.support.resp import Reply, texts
from tests.support.waiting import wait_until
from tests.support.workers import QUICK, RunningWorker

SHARDS = 8


@pytest.fixture
def cluster(redis_cluster: RedisCluster) -> Iterator[RedisCluster]:
    """The shared cluster; its slots go home when the test is over."""
    keys = Keys()
    moving = [keys.fleet_members, *(keys.shard("default", shard).meta for shard in range(SHARDS))]
    homes = {slot: redis_cluster.owner_of(slot) for slot in map(redis_cluster.slot_of, moving)}
    yield redis_cluster
    for slot, home in homes.items():
        if redis_cluster.owner_of(slot) is not home:
            redis_cluster.migrate_slot(slot, home).run()


@pytest.fixture
async def app(cluster: RedisCluster, ledger: Ledger) -> AsyncIterator[Capelin[None]]:
    app = Capelin(cluster.url, name="moving", settings=QUICK, middleware=[noting_starts(ledger)])

    @app.task
    async def add(number: int) -> int:
        await asyncio.sleep(0.002)
        return number + 1

    @app.task
    async def again(number: int) -> int:
        if current_job().attempt == 1:
            raise Retry(delay=0.2)
        return number + 1

    async with app:
        yield app


def another(cluster: RedisCluster, node: ClusterNode) -> ClusterNode:
    """A master that is not this one."""
    return next(other for other in cluster.masters if other is not node)


async def migrate(cluster: RedisCluster, key: str, *, pause: float) -> None:
    """Move the slot of a key, a few keys at a time, so that it is on its way for a while."""
    slot = cluster.slot_of(key)
    migration = cluster.migrate_slot(slot, another(cluster, cluster.owner_of(slot)))
    await asyncio.to_thread(migration.begin)
    for _ in range(10):
        keys = await asyncio.to_thread(migration.remaining)
        if keys:
            await asyncio.to_thread(migration.move, count=max(1, len(keys) // 4))
        await asyncio.sleep(pause / 10)
    await asyncio.to_thread(migration.finish)


async def test_nothing_is_lost_and_nothing_runs_twice_while_slots_move_under_load(
    app: Capelin[None], cluster: RedisCluster, running_worker: RunningWorker, ledger: Ledger
) -> None:
    workers = [await running_worker(app) for _ in range(2)]
    jobs: list[Job[Any]] = []
    moving = True

    async def enqueue() -> None:
        number = 0
        while moving:
            number += 1
            requests = [app.tasks["add"].job(number) for _ in range(8)] + [app.tasks["again"].job(number)]
            jobs.extend(await app.enqueue(requests))
            jobs.append(await app.tasks["add"].options(delay=0.1).enqueue(number))
            await asyncio.sleep(0.02)

    enqueuers = [asyncio.create_task(enqueue()) for _ in range(3)]
    moved = [app.keys.shard("default", shard) for shard in (0, 3, 5, 6)]
    before = [cluster.owner_of(cluster.slot_of(shard.meta)) for shard in moved]
    for shard in moved:
        long = shard is moved[2]
        begun = set(ledger.starts_of())
        rounds = [worker.worker.heartbeat.rounds for worker in workers]
        await migrate(cluster, shard.meta, pause=1.6 if long else 0.4)  # 1.6: longer than the TTL
        meanwhile = set(ledger.starts_of()) - begun
        assert {JobId.parse(job).shard for job in meanwhile} >= set(range(SHARDS)) - {shard.shard}
        if long:  # nobody's renewals of other shards waited for this one
            done = [worker.worker.heartbeat.rounds for worker in workers]
            assert all(now - then >= 4 for now, then in zip(done, rounds, strict=True))
    await migrate(cluster, app.keys.fleet_members, pause=0.4)
    moving = False
    await asyncio.gather(*enqueuers)
    assert all(
        cluster.owner_of(cluster.slot_of(shard.meta)) is not node
        for shard, node in zip(moved, before, strict=True)
    )

    def ended() -> bool:
        return take_census(*cluster.masters).statuses == {"completed": len(jobs)}

    await wait_until(ended, description=f"{len(jobs)} jobs to complete", timeout=30)
    again = {job.id for job in jobs if job.task == "again"}
    assert ledger.starts() == Counter([(job.id, 1) for job in jobs] + [(job, 2) for job in again])
    census = take_census(*cluster.masters)
    assert census.misplaced == []
    assert set(census.jobs) == {job.id for job in jobs}
    assert {job.crashes for job in census.jobs.values()} == {0}
    assert len({job.shard for job in jobs}) == SHARDS


def snapshot(cluster: RedisCluster, base: str) -> dict[str, Reply]:
    """What every key of a shard holds, on whichever node it is."""
    found: dict[str, Reply] = {}
    for node in cluster.masters:
        with node.connect() as redis:
            for key in texts(redis("KEYS", f"{base}*")):
                redis("ASKING")
                found[key] = redis("DUMP", key)
    return found


# Of each script that concerns jobs: one call of it.
SCRIPTS: dict[str, Callable[[ShardKeys, str], Call[Any]]] = {
    "enqueue": lambda shard, _: lua.enqueue(
        shard, most=None, resend_window=1000, jobs=[NewJob("new", "add"), NewJob("more", "add", due="+10")]
    ),
    "take": lambda shard, _: lua.take(
        shard, worker="w", count=10, ttl=1000, waits=True, older_than=None, resend_window=1000,
        default_retention=1000, critical=4, high=3, normal=2, low=1,
    ),
    "finish": lambda shard, uid: lua.finish(
        shard, worker="holder", resend_window=1000, default_retention=1000, most_finished=10,
        outcomes=[OutcomeRow(uid, 1, "complete")],
    ),
    "renew": lambda shard, uid: lua.renew(
        shard, worker="holder", ttl=1000, epoch=None, staked=False, running=[RunningRow(uid, 1)]
    ),
    "adopt": lambda shard, uid: lua.adopt(shard, worker="holder", running=[RunningRow(uid, 1)]),
    "reap": lambda shard, _: lua.reap(
        shard, reaper="w", limit=10, max_crashes=3, no_crash_before=0, judge_until=2**52,
        resend_window=1000, default_retention=1000,
    ),
    "unpark": lambda shard, _: lua.unpark(
        shard, worker="w", count=5, ttl=1000, tasks=[KnownTask("later", "d")]
    ),
    "leave": lambda shard, _: lua.leave(shard, worker="holder"),
    "progress": lambda shard, uid: lua.progress(
        shard, uid=uid, worker="holder", token=1, progress="[0.5, 0]"
    ),
    "retain": lambda shard, _: lua.retain(
        shard, limit=10, resend_window=1000, default_retention=1000, most_finished=0, dlq_age=0, most_dead=0,
        parked_age=0,
    ),
    "purge": lambda shard, _: lua.purge(shard, dead=[DeadRow("dead", "1-1")]),
    "watch": lambda shard, uid: lua.watch(shard, uid=uid),
    "cancel": lambda shard, uid: lua.cancel(shard, uid=uid, resend_window=1000, default_retention=1000),
    "replay": lambda shard, _: lua.replay(shard, uid="dead"),
}  # fmt: skip


def test_every_script_of_a_shard_declares_the_key_that_never_exists() -> None:
    scripts = [load(path.stem) for path in Path(lua.__file__).parent.glob("*.lua")]
    of_shards = [script for script in scripts if "meta" in script.keys]
    assert set(SCRIPTS) < {script.name for script in of_shards}
    assert [script.name for script in of_shards if "never" not in script.keys] == []


@pytest.mark.parametrize("records", ["here", "there"])
async def test_no_script_runs_on_a_part_of_a_shard(cluster: RedisCluster, records: str) -> None:
    shard = Keys().shard("default", 3)
    connection = connect(cluster.url, patience=0.05)
    server = cluster.owner_of(cluster.slot_of(shard.meta))
    # Every key that a script declares exists, so that none is refused by chance, for the want of one.
    await connection.run(
        lua.enqueue(shard, most=None, resend_window=1000, jobs=[NewJob(f"j{n}", "add") for n in range(3)])
    )
    await connection.run(
        lua.take(
            shard, worker="holder", count=1, ttl=1, waits=False, older_than=None, resend_window=1000,
            default_retention=1000, critical=0, high=0, normal=1, low=0,
        )
    )  # fmt: skip
    with server.connect() as redis:
        for name in shard.streams:
            if not redis("EXISTS", name):
                redis("XGROUP", "CREATE", name, "workers", "0", "MKSTREAM")
        redis("XADD", shard.dlq, "1-1", "j", "dead", "task", "add", "reason", "r")
        redis("HSET", shard.job("dead"), "task", "add", "status", "failed", "place", "dlq:1-1", "at", 1)
        redis("RPUSH", shard.wake, "1")
        redis("ZADD", shard.scheduled, 1, "due")
        redis("HSET", shard.job("due"), "task", "add", "status", "scheduled", "due", 1, "at", 1)
        redis("ZADD", shard.finished, 1, "done")
        redis("HSET", shard.job("done"), "task", "add", "status", "completed", "finished", 1, "at", 1)
        redis("ZADD", shard.parked("later"), 1, "far")
        redis("HSET", shard.job("far"), "task", "later", "status", "parked", "at", 1)
        redis("HSET", shard.meta, "parked:later", 1)
        redis("HSET", shard.lease, "owner", "nobody", "epoch", 1, "expires", 9_999_999_999_999)
    target = another(cluster, server)
    migration = cluster.migrate_slot(cluster.slot_of(shard.meta), target)
    migration.begin()
    jobs = [key for key in migration.remaining() if ":job:" in key]
    rest = [key for key in migration.remaining() if key not in jobs]
    migration.move(*(rest if records == "here" else jobs))
    before = snapshot(cluster, shard.base)
    results = {name: (await connection.run_many([call(shard, "j0")]))[0] for name, call in SCRIPTS.items()}
    after = snapshot(cluster, shard.base)
    migration.finish()
    cluster.flush()
    await connection.close()
    assert {name: type(result) for name, result in results.items()} == dict.fromkeys(SCRIPTS, Unreachable)
    assert {key for key in after if after[key] != before.get(key)} == set()
    assert set(after) == set(before)
