"""What operators read and repair, on every kind of Redis."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from tenacity import stop_after_attempt

from capelin import Capelin, FailedJob, Reject, RetryPolicy, TaskOptions
from capelin.admin import (
    OPERATOR,
    Access,
    DeadJob,
    DeadList,
    Kinship,
    Selection,
    add_schedule,
    cancel_job,
    dead_batches,
    list_dead,
    list_jobs,
    list_queues,
    list_shards,
    list_workers,
    named_dead,
    named_request,
    open_access,
    pause_queue,
    purge,
    read_job,
    read_leader,
    read_story,
    removable,
    replay,
    replay_all,
    resume_queue,
    retry_job,
    schedule_book,
)
from capelin.lua import CancelVerdict, Replayed
from capelin.lua.replies import ScheduleVerdict
from capelin.records import JobStatus
from capelin.settings import Settings
from capelin.workers.worker import Worker
from tests.support.waiting import wait_until
from tests.support.workers import start_worker

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
    queued = await list_jobs(desk.access, Selection(statuses=frozenset({JobStatus.QUEUED})), limit=2)
    assert len(queued.jobs) == 2
    assert queued.more
    assert {job.status for job in queued.jobs} == {JobStatus.QUEUED}
    assert sum(shard.waiting for shard in await list_shards(desk.access, "default")) == 3
    assert len(await list_shards(desk.access)) == 16


async def test_dead_jobs_are_replayed_and_purged(desk: Desk) -> None:
    jobs = [await desk.fails.enqueue() for _ in range(3)]
    await desk.drain()
    found = await list_dead(desk.access)
    assert found.total == 3
    assert {job.id for job in found.jobs} == {job.id for job in jobs}
    assert {job.error.message for job in found.jobs if job.error} == {"on purpose"}

    again = await replay(desk.access, await named_dead(desk.access, [jobs[0].id]))
    assert (again.done, again.refused) == (1, {})
    assert await jobs[0].status() is JobStatus.QUEUED
    assert await retry_job(desk.access, jobs[1].id) is Replayed.REPLAYED
    [batch] = [batch async for batch in dead_batches(desk.access, Selection(task="fails"))]
    assert (await purge(desk.access, batch)).done == 1
    assert await list_dead(desk.access) == DeadList([], 0)
    assert await cancel_job(desk.access, jobs[0].id) is CancelVerdict.CANCELLED
    assert (await read_job(desk.access, jobs[0].id)).status is JobStatus.CANCELLED
    await desk.drain()


async def test_of_two_operators_with_the_same_list_each_job_runs_again_once(desk: Desk) -> None:
    jobs = [await desk.fails.enqueue() for _ in range(60)]
    await desk.drain()
    lists = [[batch async for batch in dead_batches(desk.access)] for _ in range(2)]
    assert [len(job) for batch in lists for job in batch] == [60, 60]
    first, second = await asyncio.gather(
        *(replay_all(desk.access, _each(batches), rate=2000) for batches in lists)
    )
    assert first.done + second.done == 60
    assert first.refused.keys().isdisjoint(second.refused)
    assert first.refused.keys() | second.refused.keys() == {job.id for job in jobs}
    assert {(await job.info()).status for job in jobs} == {JobStatus.QUEUED}
    await desk.drain()
    late = await replay_all(desk.access, _each(lists[0]))
    assert (late.done, len(late.refused)) == (0, 60), "deaths were undone that the list does not show"
    assert "somebody else has replayed it meanwhile" in late.refused[jobs[0].id]
    assert {(await job.info()).token for job in jobs} == {2}


async def _each(batches: list[list[DeadJob]]) -> AsyncIterator[list[DeadJob]]:
    for batch in batches:
        yield batch


async def test_a_story_leads_to_parents_and_children(desk: Desk) -> None:
    told: list[str] = []

    @desk.app.task(name="alert")
    async def alert(job: FailedJob) -> None:
        told.append(job.job_id)

    @desk.app.task(name="begins", on_failure=alert)
    async def begins() -> None:
        await desk.works.enqueue(7)
        raise Reject("half way")

    job = await desk.works.options(then=desk.works.job(2)).enqueue(1)
    before = await read_story(desk.access, job.id)
    assert (before.then, before.relatives) == ("works", ())
    doomed = await begins.enqueue()
    await desk.drain()
    after = await read_story(desk.access, job.id)
    [child] = after.relatives
    assert (after.then, child.kinship, child.status) == (None, Kinship.THEN, JobStatus.COMPLETED)
    [parent] = (await read_story(desk.access, child.id)).relatives
    assert (parent.kinship, parent.id, parent.task) == (Kinship.PARENT, job.id, "works")
    [alerted] = (await read_story(desk.access, doomed.id)).relatives
    assert (alerted.kinship, alerted.task, told) == (Kinship.TOLD, "alert", [doomed.id])
    enqueued = await list_jobs(desk.access, Selection(parent=doomed.id))
    assert {one.task for one in enqueued.jobs} == {"works", "alert"}


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


async def test_a_schedule_is_added_by_its_tasks_name_run_and_removed(desk: Desk) -> None:
    request = named_request("works", [3], {}, {"priority": "high"})
    added = await add_schedule(desk.access, "often", 60, request, overlap="skip")
    assert (added.change, added.schedule.app, added.workers) == (ScheduleVerdict.ADDED, OPERATOR, ())
    assert (await add_schedule(desk.access, "often", 60, request, overlap="skip")).change == "same"
    book = schedule_book(desk.access)
    first, again = await book.trigger("often"), await book.trigger("often")
    assert (again.job_id, again.duplicate) == (first.job_id, True)
    await desk.drain()
    job = await read_job(desk.access, first.job_id)
    assert (job.result, job.schedule, job.priority) == (3, "often", "high")
    assert (await removable(desk.access, "often")).name == "often"
    await book.remove("often")
    assert await book.ls() == []


async def test_who_leads_is_told_with_who_would(desk: Desk) -> None:
    nobody = await read_leader(desk.access)
    assert (nobody.worker, nobody.candidates, nobody.workers) == (None, (), 0)
    async with AsyncExitStack() as ends:
        first = await start_worker(ends, desk.app, queues={})
        await wait_until(first.worker.leads, description="the first to lead")
        second = await start_worker(ends, desk.app, queues={})

        async def joined() -> bool:
            return len((await read_leader(desk.access)).candidates) == 1

        await wait_until(joined, description="the second to be a candidate")
        led = await read_leader(desk.access)
        assert (led.worker, led.candidates, led.workers) == (first.id, (second.id,), 2)
        assert led.since is not None
        assert led.lease_seconds is not None
        standings = {
            worker.id: (worker.leads, worker.candidate) for worker in await list_workers(desk.access)
        }
        assert standings == {first.id: (True, True), second.id: (False, True)}
        await first.stop()
        await wait_until(second.worker.leads, description="the second to lead")
        assert (await read_leader(desk.access)).epoch > led.epoch
