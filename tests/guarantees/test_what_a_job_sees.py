"""What a job sees while it runs, and others of it: context, middleware, resources, progress, results."""

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
from pydantic import BaseModel
from tenacity import stop_after_attempt

from capelin import Capelin, Retry, RetryPolicy, Snooze, current_job, resource
from capelin.context import JobContext
from capelin.errors import JobCancelled, JobFailed, JobNotFound, NoCurrentJob, NoResources
from capelin.middleware import CallNext
from capelin.records import Cancellation, JobStatus
from tests.guarantees.apps import in_processes
from tests.support.census import take_census
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until
from tests.support.workers import QUICK, RunningWorker

Words = dict[str, str]


@pytest.fixture
async def app(redis_server: RedisServer) -> AsyncIterator[Capelin[None]]:
    async with Capelin(redis_server.url, name="sees", settings=QUICK) as app:
        yield app
    assert take_census(redis_server).misplaced == []


def seen(job: JobContext) -> Words:
    """What a job says of itself."""
    return {
        "id": job.id,
        "task": job.task,
        "queue": job.queue,
        "attempt": str(job.attempt),
        "worker": job.worker_id,
        "headers": str(dict(job.headers)),
        "here": str(os.getpid()),
    }


# Context


async def test_a_job_knows_itself_on_the_loop_in_a_thread_and_in_a_process(
    app: Capelin[None], running_worker: RunningWorker
) -> None:
    @app.task
    async def deep() -> Words:
        return await asyncio.create_task(asyncio.to_thread(lambda: seen(current_job())))

    @app.task
    def in_thread() -> Words:
        assert threading.current_thread() is not threading.main_thread()
        return seen(current_job())

    app.include(in_processes.tasks)
    worker = await running_worker(app)
    headers = {"trace": "a-1"}
    for task in (deep, in_thread, in_processes.look):
        job = await task.options(headers=headers).enqueue()
        words = await job.result(timeout=20)
        assert (words.pop("here") == str(os.getpid())) == (task is not in_processes.look)
        assert words == {
            "id": job.id,
            "task": task.name,
            "queue": "default",
            "attempt": "1",
            "worker": worker.id,
            "headers": str(headers),
        }
    with pytest.raises(NoCurrentJob):
        current_job()
    assert current_job(None) is None


async def test_what_a_job_enqueues_knows_its_parent_its_chain_and_its_batch(
    app: Capelin[None], running_worker: RunningWorker
) -> None:
    @app.task
    async def leaf() -> tuple[str | None, str, str | None]:
        job = current_job()
        return job.parent_id, job.correlation_id, job.batch_id

    @app.task
    def branch() -> str:
        return leaf.enqueue_sync().id

    @app.task
    async def root() -> str:
        return (await branch.enqueue()).id

    await running_worker(app)
    first = await root.options(batch_id="night").enqueue()
    second = app.job(await first.result(timeout=10), branch)
    third = app.job(await second.result(timeout=10), leaf)
    assert await third.result(timeout=10) == (second.id, first.id, "night")
    assert (await second.info()).parent_id == first.id


# Progress


async def test_progress_is_seen_while_the_job_runs(app: Capelin[None], running_worker: RunningWorker) -> None:
    gate = asyncio.Event()

    @app.task
    async def on_the_loop() -> None:
        await current_job().progress(0.25, "a quarter")
        await gate.wait()

    @app.task
    def in_a_thread() -> None:
        current_job().progress_sync(0.75, "nearly")

    await running_worker(app)
    job = await on_the_loop.enqueue()

    async def told() -> bool:
        return (await job.info()).progress == (0.25, "a quarter")

    await wait_until(told, description="the progress")
    assert await job.status() is JobStatus.RUNNING
    gate.set()
    other = await in_a_thread.enqueue()
    await other.result(timeout=10)
    assert (await other.info()).progress == (0.75, "nearly")


async def test_a_process_is_told_what_it_cannot_reach(
    app: Capelin[None], running_worker: RunningWorker
) -> None:
    app.include(in_processes.tasks)
    await running_worker(app)
    assert "progress_sync" in await (await in_processes.reach.enqueue()).result(timeout=20)


# Middleware


async def test_middleware_stands_around_each_attempt_in_order(
    redis_server: RedisServer, running_worker: RunningWorker
) -> None:
    seen: list[str] = []

    def named(name: str) -> Callable[[JobContext, CallNext], Any]:
        async def middleware(job: JobContext, call_next: CallNext) -> Any:
            assert current_job() is job
            seen.append(f"{name} in {job.attempt}")
            try:
                return await call_next()
            except OSError as error:
                seen.append(f"{name} saw {error}")
                raise
            finally:
                seen.append(f"{name} out")

        return middleware

    async with Capelin(
        redis_server.url, name="middle", settings=QUICK, middleware=[named("outer"), named("inner")]
    ) as app:

        @app.task(retry=RetryPolicy(stop=stop_after_attempt(2)))
        def stumble() -> str:
            seen.append("runs")
            if current_job().attempt == 1:
                raise OSError("down")
            return "up"

        await running_worker(app)
        assert await (await stumble.options(retry=quickly()).enqueue()).result(timeout=10) == "up"
    assert seen == [
        "outer in 1", "inner in 1", "runs", "inner saw down", "inner out", "outer saw down", "outer out",
        "outer in 2", "inner in 2", "runs", "inner out", "outer out",
    ]  # fmt: skip


def quickly() -> RetryPolicy:
    """Two attempts without a pause."""
    from tenacity import wait_none

    return RetryPolicy(stop=stop_after_attempt(2), wait=wait_none())


async def test_what_middleware_returns_or_raises_is_the_jobs_end(
    redis_server: RedisServer, running_worker: RunningWorker
) -> None:
    async def decide(job: JobContext, call_next: CallNext) -> Any:
        match job.headers.get("end"):
            case "snooze" if job.token == 1:
                raise Snooze(delay=0.05)
            case "retry" if job.attempt == 1:
                raise Retry(delay=0.05)
            case "instead":
                return 42
            case "badly":
                return "no number"
            case _:
                return await call_next() + 1

    async with Capelin(redis_server.url, name="middle", settings=QUICK, middleware=[decide]) as app:

        @app.task
        async def ten() -> int:
            return 10

        await running_worker(app)
        ends: dict[str, int | None] = {"": 11, "snooze": 11, "retry": 11, "instead": 42, "badly": None}
        jobs = {end: await ten.options(headers={"end": end}).enqueue() for end in ends}
        for end, result in ends.items():
            if result is None:
                with pytest.raises(JobFailed, match="InvalidResult"):
                    await jobs[end].result(timeout=10)
            else:
                assert await jobs[end].result(timeout=10) == result
        assert [(await jobs[end].info()).attempt for end in ("snooze", "retry")] == [0, 1]


# Resources


@dataclass(kw_only=True)
class Pool:
    """What tasks need: a pool of connections, say."""

    opened_in: str
    is_open: bool = True
    used: list[str] = field(default_factory=list[str])

    def use(self, who: str) -> str:
        """Use it while it is open."""
        assert self.is_open
        self.used.append(who)
        return self.opened_in


async def test_resources_are_open_from_before_the_first_job_until_after_the_last(
    redis_server: RedisServer, running_worker: RunningWorker
) -> None:
    pools: list[Pool] = []

    @asynccontextmanager
    async def lifespan(app: Capelin[Pool]) -> AsyncGenerator[Pool]:
        pools.append(pool := Pool(opened_in=app.name))
        yield pool
        pool.is_open = False

    async with Capelin(redis_server.url, name="pooled", settings=QUICK, lifespan=lifespan) as app:

        @app.task
        async def on_the_loop() -> str:
            return app.resources.use("loop") + resource(Pool).use("loop by type")

        @app.task
        def in_a_thread() -> str:
            return app.resources.use("thread") + resource(Pool).use("thread by type")

        @app.task
        async def linger() -> None:
            app.resources.use("starts")
            await asyncio.sleep(0.3)
            app.resources.use("ends")

        jobs = [await on_the_loop.enqueue(), await in_a_thread.enqueue()]
        with pytest.raises(NoResources):
            _ = app.resources
        worker = await running_worker(app)
        assert [await job.result(timeout=10) for job in jobs] == ["pooledpooled"] * 2
        last = await linger.enqueue()
        await wait_until(lambda: "starts" in pools[0].used, description="the last job to run")
        await worker.stop()
        assert await last.status() is JobStatus.COMPLETED
    assert [pool.is_open for pool in pools] == [False]
    assert set(pools[0].used) == {"loop", "loop by type", "thread", "thread by type", "starts", "ends"}


async def test_a_lifespan_that_cannot_open_ends_the_worker_and_starts_no_job(
    redis_server: RedisServer, running_worker: RunningWorker
) -> None:
    @asynccontextmanager
    async def lifespan() -> AsyncGenerator[Pool]:
        raise ConnectionError("no database")
        yield Pool(opened_in="never")

    async with Capelin(redis_server.url, name="closed", settings=QUICK, lifespan=lifespan) as app:

        @app.task
        async def run() -> None: ...

        job = await run.enqueue()
        with pytest.raises(ConnectionError, match="no database"):
            await running_worker(app)
        assert await job.status() is JobStatus.QUEUED


# Results


class Invoice(BaseModel):
    """A result with a shape."""

    number: int
    at: datetime
    lines: dict[str, bytes]


async def test_whoever_waits_gets_the_result_as_its_type(
    app: Capelin[None], redis_server: RedisServer, running_worker: RunningWorker
) -> None:
    gate = asyncio.Event()
    invoice = Invoice(number=1, at=datetime(2026, 1, 2, tzinfo=UTC), lines={"a": b"\x00"})

    @app.task
    async def bill() -> Invoice:
        await gate.wait()
        return invoice

    job = await bill.enqueue()
    async with Capelin(redis_server.url, name="elsewhere", settings=QUICK) as elsewhere:
        same = app.job(job.id, bill)
        plain = elsewhere.job(job.id)
        waiting = [asyncio.create_task(one.result(timeout=20)) for one in (job, job, same) for _ in range(5)]
        far = asyncio.create_task(plain.result(timeout=20))
        await running_worker(app)
        with pytest.raises(TimeoutError, match=job.id):
            await job.result(timeout=0.05)
        with pytest.raises(TimeoutError):
            await job.result(timeout=0)
        gate.set()
        assert await asyncio.gather(*waiting) == [invoice] * 15
        assert await far == {"number": 1, "at": "2026-01-02T00:00:00Z", "lines": {"a": "\x00"}}
        assert await job.result(timeout=0) == invoice  # again, later
        with pytest.raises(JobNotFound):
            await elsewhere.job("default.0.nobody").result(timeout=1)


# Cancelling


async def test_a_cancelled_job_is_stopped_within_a_second_on_the_loop_and_in_a_process(
    app: Capelin[None], running_worker: RunningWorker, tmp_path: Path
) -> None:
    begun = asyncio.Event()
    cleaned: list[str] = []

    @app.task
    async def wait() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append(current_job().id)

    app.include(in_processes.tasks)
    # A long TTL: the inbox tells, not the next renewal. Two processes: slots are those of the scarcest kind.
    await running_worker(app, settings=QUICK.model_copy(update={"lease_ttl": 30.0, "cpu": 2}))
    pid = tmp_path / "pid"
    process_job = await app.enqueue(in_processes.hang.job(str(pid)))
    loop_job = await wait.enqueue()
    await wait_until(begun.is_set, description="the job on the loop to run")
    await wait_until(lambda: pid.exists() and pid.read_text(), description="the process to run")
    child = psutil.Process(int(pid.read_text()))
    for job in (loop_job, process_job):
        asked = datetime.now(UTC)
        assert await job.cancel() is Cancellation.REQUESTED
        with pytest.raises(JobCancelled):
            await job.result(timeout=10)
        finished = (await job.info()).finished
        assert finished is not None
        assert (finished - asked).total_seconds() < 1
    assert cleaned == [loop_job.id]
    await wait_until(
        lambda: not child.is_running() or child.status() == "zombie", description="the child to end"
    )


async def test_a_thread_sees_that_it_is_cancelled_and_may_succeed_nevertheless(
    app: Capelin[None], running_worker: RunningWorker
) -> None:
    begun = threading.Event()

    @app.task
    def watchful(obey: bool) -> str:  # noqa: FBT001 -- a task's argument
        begun.set()
        job = current_job()
        while not job.cancelled:
            threading.Event().wait(0.005)
        if obey:
            raise InterruptedError("told to stop")
        return "finished nevertheless"

    await running_worker(app)
    for obey in (True, False):
        begun.clear()
        job = await watchful.enqueue(obey)
        await wait_until(begun.is_set, description="the thread to run")
        assert await job.cancel() is Cancellation.REQUESTED
        if obey:
            with pytest.raises(JobCancelled):
                await job.result(timeout=10)
            assert [failed.error.message for failed in (await job.info()).failures if failed.error] == [
                "told to stop"
            ]
        else:
            assert await job.result(timeout=10) == "finished nevertheless"
            assert await job.cancel() is Cancellation.ENDED
