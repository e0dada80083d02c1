"""A Redis at `maxmemory` with `noeviction`: enqueues are refused, the fleet drains, then enqueues work again.

Nothing is half-written meanwhile, and nothing that was accepted is lost: scripts that make room begin with
a write that a full Redis allows.
"""

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest
from tenacity import stop_after_attempt, wait_none

from capelin import Capelin, RetryPolicy, lua
from capelin.admin.access import open_access
from capelin.admin.queues import resume_queue
from capelin.errors import EnqueueError, QueueFull, RedisRefused
from capelin.jobs import Job
from capelin.records import Cancellation
from tests.conftest import OwnRedis
from tests.support.census import take_census
from tests.support.ledger import Ledger, noting_starts
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until
from tests.support.workers import QUICK, LocalWorker, RunningWorker

Lines = list[MutableMapping[str, Any]]
PAYLOAD = "x" * 50_000
MEMORY = "12mb"
SHARDS = 8


async def enqueue_for_ever(app: Capelin[None], text: str, jobs: list[Job[Any]]) -> None:
    """Enqueue until it raises."""
    while True:
        jobs.append(await app.tasks["measure"].enqueue(text))


async def fill(app: Capelin[None]) -> list[Job[Any]]:
    """Enqueue until Redis takes nothing more, large jobs first; returns those that were accepted."""
    jobs: list[Job[Any]] = []
    for text in (PAYLOAD, "x" * 500, ""):
        with pytest.raises(EnqueueError, match=r"OOM command not allowed .* 'maxmemory'") as caught:
            await enqueue_for_ever(app, text, jobs)
        assert not isinstance(caught.value, QueueFull)
        assert [type(cause) for cause in caught.value.causes] == [RedisRefused]
        assert (caught.value.enqueued, caught.value.unsent) == ([], [0])
    return jobs


def make_app(server: RedisServer, ledger: Ledger) -> Capelin[None]:
    """An app whose finished jobs leave no arguments behind."""
    app = Capelin(server.url, name="full", settings=QUICK, middleware=[noting_starts(ledger)])

    @app.task(retention=0)
    async def measure(text: str) -> int:
        return len(text)

    @app.task(queue="new")  # which nobody has used yet
    async def unused() -> None: ...

    @app.task(retry=RetryPolicy(stop=stop_after_attempt(2), wait=wait_none()))
    async def fail(text: str) -> int:
        raise ValueError(len(text))

    return app


def waited(server: RedisServer) -> int:
    """How many jobs somebody waits for."""
    return sum("waited" in job.record for job in take_census(server).jobs.values())


def owned(workers: list[LocalWorker]) -> int:
    """How many shards of the queue that fills up these workers own."""
    shards = [shard for worker in workers for shard in worker.worker.ownership.shards]
    return sum(shard.queue == "default" for shard in shards)


@pytest.mark.parametrize("joined", ["before", "after"])
async def test_enqueue_is_refused_the_fleet_drains_and_then_enqueue_works_again(
    own_redis: OwnRedis, running_worker: RunningWorker, ledger: Ledger, logged: Lines, joined: str
) -> None:
    server = own_redis(maxmemory=MEMORY)
    async with make_app(server, ledger) as app:
        await app.client().queues.open(["default"])
        for shard in range(SHARDS):  # what fills the queue stays there until the workers are ready
            await app.client().connection.run(lua.pause(app.keys.shard("default", shard), since=1))
        workers = [await running_worker(app) for _ in range(2)] if joined == "before" else []
        failing = [await app.tasks["fail"].enqueue(PAYLOAD) for _ in range(5)]
        jobs = failing + await fill(app)
        census = take_census(server)
        assert len(jobs) > 100
        assert census.statuses == {"queued": len(jobs)}
        assert set(census.jobs) == {job.id for job in jobs}
        assert census.misplaced == []
        if joined == "after":
            workers = [await running_worker(app) for _ in range(2)]
        await wait_until(lambda: owned(workers) == SHARDS, description="the workers to own the shards")
        with pytest.raises(EnqueueError):  # still full
            await app.tasks["measure"].enqueue(PAYLOAD)
        assert ledger.starts() == {}
        async with open_access(server.url, prefix="capelin", settings=QUICK) as access:
            assert await resume_queue(access, "default")
        await wait_until(
            lambda: take_census(server).statuses == {"completed": len(jobs) - 5, "failed": 5},
            description="the fleet to drain",
            timeout=30,
        )
        assert ledger.starts_of() == {job.id: 2 if job in failing else 1 for job in jobs}
        assert [take_census(server)[job.id].failures for job in failing] == [2] * 5
        measure = app.tasks["measure"].options(retention=60)
        more = [await measure.enqueue(PAYLOAD) for _ in range(20)]
        assert [await job.result(timeout=10) for job in more] == [50_000] * 20
        for worker in workers:
            await worker.stop()
        assert take_census(server).misplaced == []
        assert not [line for line in logged if line["log_level"] == "critical"]


async def test_jobs_are_cancelled_results_awaited_and_workers_replaced_in_a_full_redis(
    own_redis: OwnRedis, running_worker: RunningWorker, ledger: Ledger
) -> None:
    server = own_redis(maxmemory=MEMORY)
    async with make_app(server, ledger) as app:
        jobs = await fill(app)
        cancelled, *rest = jobs
        assert await cancelled.cancel() is Cancellation.CANCELLED
        await fill(app)  # what that freed
        async with asyncio.TaskGroup() as waiting:
            results = [waiting.create_task(job.result(timeout=30)) for job in rest[:20]]
            await wait_until(lambda: waited(server) == 20, description="20 to be waited for")
            first = await running_worker(app)
        assert [result.result() for result in results] == [50_000] * 20
        await first.stop()
        await running_worker(app)
        await wait_until(
            lambda: set(take_census(server).statuses) == {"completed", "cancelled"},
            description="the fleet to drain",
            timeout=30,
        )
        assert ledger.starts_of()[cancelled.id] == 0
        assert set(ledger.starts_of().values()) == {1}
        assert take_census(server).misplaced == []
