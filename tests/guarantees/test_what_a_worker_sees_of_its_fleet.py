"""What code in a worker sees of the fleet with `cluster()`, wherever it runs there."""

import asyncio
import os
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from contextvars import Context, copy_context
from datetime import UTC, datetime
from functools import partial
from typing import Any

from capelin import Capelin, Cluster, OwnedShard, Settings, cluster, current_job
from capelin.context import JobContext
from capelin.middleware import CallNext
from tests.guarantees.apps import in_processes
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until
from tests.support.workers import QUICK, RunningWorker

SHARDS = {OwnedShard(queue="default", shard=shard) for shard in range(QUICK.shards)}


class Views:
    """What each worker sees at any time: its lifespan leaves its context here."""

    def __init__(self) -> None:
        self.at_first: dict[str, Cluster] = {}
        self._contexts: dict[str, Context] = {}

    @asynccontextmanager
    async def lifespan(self) -> AsyncGenerator[None]:
        """Note what the worker sees as it starts."""
        first = cluster()
        self.at_first[first.worker_id] = first
        self._contexts[first.worker_id] = copy_context()
        yield
        del self._contexts[first.worker_id]

    def now(self) -> dict[str, Cluster]:
        """What each worker sees, by its id."""
        return {worker: context.run(cluster) for worker, context in self._contexts.items()}

    def leaders(self) -> int:
        """How many say that they lead."""
        return sum(view.is_leader for view in self.now().values())

    def agree(self) -> bool:
        """Whether all see just those that there are, and together own every shard once."""
        views = self.now()
        shards = [shard for view in views.values() for shard in view.shards]
        known = all({worker.id for worker in view.workers} == set(views) for view in views.values())
        return known and len(shards) == len(SHARDS) and set(shards) == SHARDS


async def test_workers_see_each_other_come_and_go(backend_url: str, running_worker: RunningWorker) -> None:
    views = Views()
    async with Capelin(backend_url, name="shoal", settings=QUICK, lifespan=views.lifespan) as app:

        @app.task
        async def nothing() -> None: ...

        workers = [await running_worker(app) for _ in range(3)]
        await wait_until(views.agree, description="three workers to see each other, and own every shard")
        seen = views.now()
        assert set(seen) == {worker.id for worker in workers}
        assert sorted(len(view.shards) for view in seen.values()) == [2, 3, 3]
        await wait_until(lambda: views.leaders() == 1, description="one of them to lead")
        for first in views.at_first.values():
            assert (first.workers, first.shards, first.is_leader, first.shard) == ((), (), False, None)
        for view in seen.values():
            assert view.workers == seen[workers[0].id].workers
            for worker in view.workers:
                assert (worker.app, worker.pid, worker.queues) == ("shoal", os.getpid(), ("default",))
                assert worker.slots == workers[0].worker.settings.concurrency
                assert 0 <= (datetime.now(UTC) - worker.started).total_seconds() < 60
        await workers.pop().stop()
        await wait_until(views.agree, description="two workers to own what the third did")
        assert sorted(len(view.shards) for view in views.now().values()) == [4, 4]
        workers.append(await running_worker(app))
        await wait_until(views.agree, description="a new worker to be seen")
        assert set(views.now()) == {worker.id for worker in workers}


async def test_a_job_sees_its_own_worker_among_several(
    redis_server: RedisServer, running_worker: RunningWorker
) -> None:
    one_at_a_time = Settings(lease_ttl=1.0, grace=5.0, concurrency=1)
    everywhere = asyncio.Barrier(3)
    async with Capelin(redis_server.url, name="shoal", settings=one_at_a_time) as app:

        @app.task
        async def look() -> list[Any]:
            await everywhere.wait()
            here, job = cluster(), current_job()
            return [here.worker_id == job.worker_id, here.queue, here.shard, here.worker_id]

        workers = [await running_worker(app) for _ in range(3)]
        jobs = [await look.enqueue() for _ in workers]
        results = [await job.result(timeout=20) for job in jobs]
        assert [result[:3] for result in results] == [[True, job.queue, job.shard] for job in jobs]
        assert {result[3] for result in results} == {worker.id for worker in workers}


async def test_it_is_seen_on_the_loop_in_a_thread_and_in_middleware_and_not_in_another_process(
    redis_server: RedisServer, running_worker: RunningWorker
) -> None:
    around: list[str] = []

    async def note(job: JobContext, call_next: CallNext) -> Any:
        around.append(f"{cluster().worker_id} {cluster().shard == job.shard}")
        return await call_next()

    async with Capelin(redis_server.url, name="sees", settings=QUICK, middleware=[note]) as app:

        @app.task
        async def deep() -> str:
            return await asyncio.create_task(asyncio.to_thread(lambda: cluster().worker_id))

        @app.task
        def in_thread() -> str:
            assert threading.current_thread() is not threading.main_thread()
            return cluster().worker_id

        app.include(in_processes.tasks)
        worker = await running_worker(app)
        assert await (await deep.enqueue()).result(timeout=20) == worker.id
        assert await (await in_thread.enqueue()).result(timeout=20) == worker.id
        told = await (await in_processes.look_around.enqueue()).result(timeout=20)
        assert told.startswith('cluster() is not available in a job with run_in="process"')
        assert around == [f"{worker.id} True"] * 3
    assert cluster(None) is None


async def test_a_job_knows_whether_its_worker_leads_at_the_moment(
    redis_server: RedisServer, running_worker: RunningWorker
) -> None:
    async with Capelin(redis_server.url, name="leads", settings=QUICK) as app:

        @app.task
        def leads() -> list[bool]:
            return [cluster().is_leader, current_job().is_leader]

        worker = await running_worker(app)
        for so in (True, False):
            worker.worker.leads = partial(bool, so)
            assert await (await leads.enqueue()).result(timeout=20) == [so, so]


async def test_a_worker_that_drains_a_burst_is_no_member_and_sees_none(
    redis_server: RedisServer, running_worker: RunningWorker
) -> None:
    async with Capelin(redis_server.url, name="burst", settings=QUICK) as app:

        @app.task
        async def look() -> list[Any]:
            return [cluster().worker_id, len(cluster().workers), len(cluster().shards)]

        job = await look.enqueue()
        worker = await running_worker(app, burst=True)
        await worker.task
        assert await job.result(timeout=20) == [worker.id, 0, 0]
