"""The overview that operators' screens show: it adds up, and says how each worker is."""

import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from capelin import Capelin, Reject
from capelin.admin import (
    Access,
    Overview,
    list_queues,
    list_shards,
    list_workers,
    open_access,
    read_overview,
    retry_job,
)
from capelin.errors import JobFailed
from capelin.settings import Settings
from tests.support.commands import counting_commands
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until
from tests.support.workers import QUICK, RunningWorker


@pytest.fixture
async def app(backend_url: str) -> AsyncIterator[Capelin[Any]]:
    """An app whose tasks succeed, fail, and hold the event loop up."""
    app = Capelin(backend_url, name="app", settings=QUICK)

    @app.task(name="fine")
    async def fine() -> None: ...

    @app.task(name="bad")
    async def bad() -> None:
        raise Reject("no")

    @app.task(name="block")
    async def block(seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251 -- it is to block the loop

    async with app:
        yield app


@pytest.fixture
async def access(app: Capelin[Any]) -> AsyncIterator[Access]:
    """An operator's way to the same Redis."""
    async with open_access(app.url, prefix="capelin", settings=Settings()) as access:
        yield access


async def ended(app: Capelin[Any], task: str, *args: Any) -> str:
    job = await app.task_named(task).enqueue(*args)
    with contextlib.suppress(JobFailed):
        await job.result(timeout=30)
    return job.id


async def test_what_came_in_is_what_ended_and_what_is_still_there(
    app: Capelin[Any], access: Access, running_worker: RunningWorker
) -> None:
    worker = await running_worker(app)
    for _ in range(3):
        await ended(app, "fine")
    dead = await ended(app, "bad")
    await app.task_named("fine").options(delay=3600).enqueue()
    [queue] = (await read_overview(access)).queues
    assert (queue.enqueued, queue.ended, queue.failed) == (5, 4, 1)
    await worker.stop()

    await retry_job(access, dead)
    [queue] = (await read_overview(access)).queues
    assert (queue.enqueued, queue.ended, queue.waiting) == (6, 4, 1), "what runs again comes in again"


async def test_it_says_the_same_as_the_listings(
    app: Capelin[Any], access: Access, running_worker: RunningWorker
) -> None:
    await running_worker(app)
    await ended(app, "fine")
    overview = await read_overview(access)
    assert list(overview.queues) == await list_queues(access)
    assert [worker.id for worker in overview.workers] == [worker.id for worker in await list_workers(access)]
    assert [(one.queue, one.shard) for one in overview.shards] == [
        (one.queue, one.shard) for one in await list_shards(access)
    ]


async def test_every_worker_says_how_it_is(
    app: Capelin[Any], access: Access, running_worker: RunningWorker
) -> None:
    await running_worker(app)
    seen: list[Overview] = []

    async def lag() -> float | None:
        seen.append(await read_overview(access))
        # It may not have joined yet.
        return seen[-1].workers[0].loop_lag if seen[-1].workers else None

    async def says() -> bool:
        return await lag() is not None

    async def was_held_up() -> bool:
        return (await lag() or 0) > 0.3

    await wait_until(says, description="the worker to say how it is")
    assert (seen[-1].workers[0].memory or 0) > 1024 * 1024
    await ended(app, "block", 0.6)
    await wait_until(was_held_up, description="it to say that its loop was held up")


async def test_what_it_costs_does_not_grow_with_the_backlog(
    redis_url: str, redis_server: RedisServer
) -> None:
    async with (
        Capelin(redis_url, name="app") as app,
        open_access(redis_url, prefix="capelin", settings=Settings()) as access,
    ):
        await app.task_named("some").enqueue()
        await read_overview(access)
        with counting_commands(redis_server) as few:
            await read_overview(access)
        await app.enqueue([app.task_named("some").job() for _ in range(3000)])
        with counting_commands(redis_server) as many:
            await read_overview(access)
        shards = 8
        assert many.total() <= few.total() + 5 * shards, "a look at the first of each stream, and no more"
