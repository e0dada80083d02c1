"""Workers on a Redis Cluster of three masters: what they do on one Redis, they do there."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from tenacity import stop_after_attempt, wait_fixed

from capelin import Capelin, RetryPolicy, current_job
from capelin.errors import JobCancelled, JobFailed
from capelin.jobs import Job
from capelin.keys import Keys
from capelin.records import Cancellation
from tests.guarantees.apps import recording
from tests.support.census import take_census
from tests.support.cluster import RedisCluster
from tests.support.ledger import Ledger, noting_starts
from tests.support.processes import ChildProcess, Processes
from tests.support.waiting import wait_until
from tests.support.workers import QUICK, RunningWorker

SHARDS = 8


@pytest.fixture
async def app(redis_cluster: RedisCluster, ledger: Ledger) -> AsyncIterator[Capelin[None]]:
    app = Capelin(redis_cluster.url, name="cluster", settings=QUICK, middleware=[noting_starts(ledger)])

    @app.task
    async def add(number: int) -> int:
        return number + 1

    @app.task(retry=RetryPolicy(stop=stop_after_attempt(3), wait=wait_fixed(0.1)))
    async def fail(times: int) -> int:
        if current_job().attempt <= times:
            raise OSError(f"attempt {current_job().attempt}")
        return current_job().attempt

    @app.task
    async def hold() -> None:
        await asyncio.Event().wait()

    async with app:
        yield app
    assert take_census(*redis_cluster.masters).misplaced == []


def test_the_shards_of_a_queue_are_on_all_masters(redis_cluster: RedisCluster) -> None:
    owners = {
        redis_cluster.owner_of(redis_cluster.slot_of(Keys().shard("default", shard).meta)).port
        for shard in range(SHARDS)
    }
    assert owners == {node.port for node in redis_cluster.masters}


async def test_a_fleet_drains_what_was_enqueued(
    app: Capelin[None], redis_cluster: RedisCluster, running_worker: RunningWorker, ledger: Ledger
) -> None:
    workers = [await running_worker(app) for _ in range(3)]
    jobs = await app.enqueue([app.tasks["add"].job(number) for number in range(600)])
    assert [await job.result(timeout=20) for job in jobs] == list(range(1, 601))
    assert ledger.starts() == {(job.id, 1): 1 for job in jobs}
    assert {job.shard for job in jobs} == set(range(SHARDS))
    assert ledger.workers() <= {worker.id for worker in workers}
    assert take_census(*redis_cluster.masters).statuses == {"completed": 600}


async def test_an_idle_fleet_starts_a_job_at_once_in_whichever_slot_it_is(
    app: Capelin[None], running_worker: RunningWorker
) -> None:
    for _ in range(2):
        await running_worker(app)
    loop = asyncio.get_running_loop()
    took: list[float] = []
    for shard_key in map(str, range(24)):
        began = loop.time()
        job = await app.tasks["add"].options(shard_key=shard_key).enqueue(1)
        await job.result(timeout=10)
        took.append(loop.time() - began)
    took.sort()
    assert took[len(took) // 2] < 0.1  # stealing alone would take longer than this


async def test_delayed_jobs_retries_and_dead_letters(
    app: Capelin[None], redis_cluster: RedisCluster, running_worker: RunningWorker, ledger: Ledger
) -> None:
    for _ in range(2):
        await running_worker(app)
    fail = app.tasks["fail"]
    delayed = [await app.tasks["add"].options(delay=0.3).enqueue(number) for number in range(12)]
    retried = [await fail.enqueue(2) for _ in range(6)]
    dead = [await fail.enqueue(3) for _ in range(6)]
    assert [await job.result(timeout=20) for job in delayed] == list(range(1, 13))
    for job in delayed:
        info = await job.info()
        assert info.enqueued is not None
        assert info.started is not None
        assert 0.3 <= (info.started - info.enqueued).total_seconds() < 5
    assert [await job.result(timeout=20) for job in retried] == [3] * 6
    for job in dead:
        with pytest.raises(JobFailed, match="attempt 3"):
            await job.result(timeout=20)
    starts = ledger.starts_of()
    assert [starts[job.id] for job in [*delayed, *retried, *dead]] == [1] * 12 + [3] * 12
    assert take_census(*redis_cluster.masters).statuses == {"completed": 18, "failed": 6}


async def test_a_running_job_is_cancelled_and_its_key_freed(
    app: Capelin[None], running_worker: RunningWorker, ledger: Ledger
) -> None:
    await running_worker(app)
    hold = app.tasks["hold"].options(dedupe_key="one")
    job = await hold.enqueue()
    await wait_until(lambda: ledger.starts_of()[job.id], description="the job to run")
    assert (await hold.enqueue()).duplicate
    assert await job.cancel() is Cancellation.REQUESTED
    with pytest.raises(JobCancelled):
        await job.result(timeout=10)
    second: Job[None] = await hold.enqueue()
    await wait_until(lambda: ledger.starts_of()[second.id], description="the next one to run")
    assert not second.duplicate
    await second.cancel()


async def test_a_killed_processes_jobs_come_back_on_every_master(
    redis_cluster: RedisCluster, processes: Processes, ledger: Ledger
) -> None:
    env = ledger.env | {"CAPELIN_LEASE_TTL": "1"}
    workers: dict[str, ChildProcess] = {}
    for name in ("a", "b", "c"):
        child = processes.worker(
            "tests.guarantees.apps.recording:app",
            "-q",
            "default",
            "-c",
            "50",
            redis_url=redis_cluster.url,
            env=env,
        )
        workers[name] = child
    ids = {name: (await child.wait_for_event("worker started"))["worker"] for name, child in workers.items()}
    async with Capelin(redis_cluster.url, name="clients") as app:
        app.include(recording.tasks)
        jobs = await app.enqueue([recording.held.job("door") for _ in range(90)])
        await wait_until(lambda: len(ledger.starts_of()) == 90, description="all jobs to run")
        ran = Counter(words[2] for words in ledger.lines("start"))
        victim = max(ids, key=lambda name: ran[ids[name]])
        lost = {words[0] for words in ledger.lines("start") if words[2] == ids[victim]}
        assert 0 < len(lost) <= 50
        workers.pop(victim).kill()
        await wait_until(
            lambda: {job for job, count in ledger.starts_of().items() if count == 2} == lost,
            description="the jobs of the dead to start again",
        )
        recording.gate(ledger.path, "door").touch()
        ran_by = {job.id: await job.result(timeout=20) for job in jobs}
    assert set(ran_by.values()) <= {ids[name] for name in workers}
    for child in workers.values():
        child.terminate()
        assert await child.wait() == 0
    assert ledger.starts_of() == {job.id: 2 if job.id in lost else 1 for job in jobs}
    census = take_census(*redis_cluster.masters)
    assert census.misplaced == []
    assert census.statuses == {"completed": 90}
    assert {job for job, standing in census.jobs.items() if standing.crashes} == lost
    assert {standing.crashes for standing in census.jobs.values()} == {0, 1}
