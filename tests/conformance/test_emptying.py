"""Emptying a queue, on every kind of Redis: by waiting for its jobs, and by cancelling them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from capelin import Capelin, Job
from capelin.admin import (
    WAITING,
    Access,
    CannotDrain,
    Drained,
    Selection,
    cancel_jobs,
    drain_queue,
    named,
    open_access,
    pause_queue,
    repair_all,
    until_none,
)
from capelin.records import JobStatus
from capelin.settings import Settings
from tests.support.waiting import wait_until
from tests.support.workers import start_worker


class Shop:
    """A task whose jobs run until the test lets each go."""

    def __init__(self, url: str, access: Access, ends: AsyncExitStack) -> None:
        self.app = Capelin(url, name="shop")
        self.access, self.ends = access, ends
        self.doors: dict[str, asyncio.Event] = {}

        @self.app.task
        async def held(name: str) -> str:
            await self.doors[name].wait()
            return name

        self.held = held

    def door(self, name: str) -> str:
        self.doors[name] = asyncio.Event()
        return name

    async def purge(self) -> int:
        waiting = replace(Selection(queue="default"), statuses=WAITING)
        purged = await repair_all(
            until_none(self.access, waiting),
            lambda part: cancel_jobs(self.access, named(seen.id for seen in part), only_waiting=True),
        )
        assert purged.refused == {}
        return purged.done


@pytest.fixture
async def shop(backend_url: str) -> AsyncIterator[Shop]:
    async with AsyncExitStack() as ends:
        access = await ends.enter_async_context(
            open_access(backend_url, prefix="capelin", settings=Settings())
        )
        shop = Shop(backend_url, access, ends)
        await ends.enter_async_context(shop.app)
        yield shop
        for door in shop.doors.values():
            door.set()


async def test_a_drain_waits_for_what_is_there_and_not_for_what_comes_later(shop: Shop) -> None:
    worker = await start_worker(shop.ends, shop.app)
    first = await shop.held.enqueue(shop.door("first"))
    await wait_until(lambda: _is(first, JobStatus.RUNNING), description="the first to run")
    later = await shop.held.options(delay=3600).enqueue(shop.door("later"))
    looks: list[Drained] = []
    draining = asyncio.create_task(drain_queue(shop.access, "default", tell=looks.append))
    await wait_until(lambda: looks, description="the drain to look")
    assert looks[0].left > 0
    await shop.held.enqueue(shop.door("second"))
    await wait_until(lambda: len(worker.worker.running) == 2, description="the second to run, too")
    shop.doors["first"].set()
    drained = await draining
    assert await first.status() is JobStatus.COMPLETED
    assert (drained.over, drained.queue.running, drained.queue.scheduled) == (True, 1, 1)
    await later.cancel()


async def test_a_drain_that_takes_too_long_says_what_is_left(shop: Shop) -> None:
    await start_worker(shop.ends, shop.app)
    job = await shop.held.enqueue(shop.door("first"))
    # Before that its worker may be about to join, and a queue that nobody serves is not drained.
    await wait_until(lambda: _is(job, JobStatus.RUNNING), description="the job to run")
    drained = await drain_queue(shop.access, "default", timeout=0)
    assert not drained.over
    assert (drained.queue.waiting, drained.queue.running) == (0, 1)


async def test_an_empty_queue_is_drained(shop: Shop) -> None:
    job = await shop.held.enqueue("never runs")
    await job.cancel()  # its entry stays until somebody takes, and stands for no job
    assert (await drain_queue(shop.access, "default")).over


async def test_what_nobody_would_run_is_not_waited_for(shop: Shop) -> None:
    job = await shop.held.enqueue("never runs")
    with pytest.raises(CannotDrain, match="no worker serves queue default and 1 job waits"):
        await drain_queue(shop.access, "default")
    await pause_queue(shop.access, "default")
    with pytest.raises(CannotDrain, match="capelin queues resume default"):
        await drain_queue(shop.access, "default")
    await job.cancel()


async def test_a_purge_cancels_what_waits_and_lets_run_what_runs(shop: Shop) -> None:
    await start_worker(shop.ends, shop.app)
    running = await shop.held.options(dedupe_key="k").enqueue(shop.door("first"))
    await wait_until(lambda: _is(running, JobStatus.RUNNING), description="the first to run")
    await pause_queue(shop.access, "default")
    queued = await shop.held.enqueue("queued")
    scheduled = await shop.held.options(delay=60).enqueue("scheduled")
    assert await shop.purge() == 2
    assert {await queued.status(), await scheduled.status()} == {JobStatus.CANCELLED}
    shop.doors["first"].set()
    assert await running.result(timeout=20) == "first"


async def _is(job: Job[str], status: JobStatus) -> bool:
    return await job.status() is status
