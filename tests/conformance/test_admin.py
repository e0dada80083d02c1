"""What operators read and repair, on every kind of Redis."""

from collections.abc import AsyncIterator

import pytest
from tenacity import stop_after_attempt

from capelin import Capelin, Reject, RetryPolicy, TaskOptions
from capelin.admin import (
    Access,
    cancel_job,
    list_dead,
    list_jobs,
    list_queues,
    list_shards,
    list_workers,
    open_access,
    pause_queue,
    pick_dead,
    purge,
    read_job,
    replay,
    resume_queue,
    retry_job,
)
from capelin.lua import CancelVerdict, Replayed
from capelin.records import JobStatus
from capelin.settings import Settings
from capelin.workers.worker import Worker

app_options = TaskOptions(retry=RetryPolicy(stop=stop_after_attempt(1)))


class Desk:
    """An app with a task that works and one that does not, and an operator's access to the same Redis."""

    def __init__(self, url: str, access: Access) -> None:
        self.access = access
        self.app = Capelin(url, name="desk", defaults=app_options)

        @self.app.task
        async def works(number: int = 0) -> int:
            return number

        @self.app.task(queue="sad")
        async def fails() -> None:
            raise Reject("on purpose")

        self.works, self.fails = works, fails

    async def drain(self) -> None:
        await Worker(self.app, burst=True).run()


@pytest.fixture
async def desk(backend_url: str) -> AsyncIterator[Desk]:
    async with open_access(backend_url, prefix="capelin", settings=Settings()) as access:
        desk = Desk(backend_url, access)
        async with desk.app:
            yield desk


async def test_listings_agree_with_what_was_enqueued(desk: Desk) -> None:
    done = [await desk.works.enqueue(number) for number in range(5)]
    dead = await desk.fails.enqueue()
    await desk.drain()
    waiting = [await desk.works.options(priority="high").enqueue() for _ in range(3)]
    later = await desk.works.options(delay=3600).enqueue()
    default, sad = await list_queues(desk.access)
    assert (default.queue, default.waiting, default.scheduled, default.finished) == ("default", 3, 1, 5)
    assert default.waiting_by_priority["high"] == 3
    assert default.oldest_seconds is not None
    assert (sad.queue, sad.waiting, sad.dead, sad.oldest) == ("sad", 0, 1, None)

    listed = await list_jobs(desk.access)
    assert {job.id for job in listed.jobs} == {job.id for job in (*done, dead, *waiting, later)}
    assert not listed.more
    queued = await list_jobs(desk.access, status=JobStatus.QUEUED, limit=2)
    assert len(queued.jobs) == 2
    assert queued.more
    assert {job.status for job in queued.jobs} == {JobStatus.QUEUED}
    assert sum(shard.waiting for shard in await list_shards(desk.access, "default")) == 3
    assert len(await list_shards(desk.access)) == 16


async def test_dead_jobs_are_replayed_and_purged(desk: Desk) -> None:
    jobs = [await desk.fails.enqueue() for _ in range(3)]
    await desk.drain()
    found, total = await list_dead(desk.access)
    assert total == 3
    assert {job.id for job in found} == {job.id for job in jobs}
    assert {job.error.message for job in found if job.error} == {"on purpose"}

    again = await replay(desk.access, await pick_dead(desk.access, ids=[jobs[0].id]))
    assert (again.done, again.refused) == (1, {})
    assert await jobs[0].status() is JobStatus.QUEUED
    assert await retry_job(desk.access, jobs[1].id) is Replayed.REPLAYED
    gone = await purge(desk.access, await pick_dead(desk.access, task="fails"))
    assert gone.done == 1
    assert await list_dead(desk.access) == ([], 0)
    assert await cancel_job(desk.access, jobs[0].id) is CancelVerdict.CANCELLED
    assert (await read_job(desk.access, jobs[0].id)).status is JobStatus.CANCELLED
    await desk.drain()


async def test_a_pause_holds_for_all_shards(desk: Desk) -> None:
    for number in range(20):
        await desk.works.enqueue(number)
    assert await pause_queue(desk.access, "default")
    assert not await pause_queue(desk.access, "default")
    await desk.drain()
    [queue] = [queue for queue in await list_queues(desk.access) if queue.queue == "default"]
    assert (queue.waiting, queue.paused) == (20, True)
    assert await resume_queue(desk.access, "default")
    await desk.drain()
    [queue] = [queue for queue in await list_queues(desk.access) if queue.queue == "default"]
    assert (queue.waiting, queue.finished, queue.paused) == (0, 20, False)


async def test_a_worker_that_left_is_not_listed(desk: Desk) -> None:
    await desk.works.enqueue()
    await desk.drain()
    assert await list_workers(desk.access) == []
