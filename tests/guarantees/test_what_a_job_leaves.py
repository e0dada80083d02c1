"""What a finished job leaves in the process that ran it: nothing that only the garbage collector could free.

A reference cycle for each job makes the collector run every few dozen jobs, and walk through all that the
process holds every few thousand: the worker stands still meanwhile, and every waiting job waits with it.
"""

import gc

import pytest

from capelin import Capelin, Tasks, current_job
from capelin.settings import Settings
from capelin.tasks import Task
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until
from tests.support.workers import RunningWorker

JOBS = 300
SETTINGS = Settings(shards=1)

group = Tasks()
ended: list[int] = []


@group.task
async def note(number: int) -> None:
    ended.append(number)


@group.task(timeout=60)
async def note_in_time(number: int) -> None:
    ended.append(number)


@group.task
async def note_who(number: int) -> None:
    assert current_job().id
    ended.append(number)


@group.task(run_in="thread")
def note_in_a_thread(number: int) -> None:
    ended.append(number)


@pytest.mark.parametrize("task", [note, note_in_time, note_who, note_in_a_thread], ids=lambda task: task.name)
async def test_a_finished_job_is_freed_without_the_collector(
    redis_server: RedisServer, running_worker: RunningWorker, task: Task[..., object]
) -> None:
    app = Capelin(redis_server.url, settings=SETTINGS)
    app.include(group)
    ended.clear()
    async with app:
        worker = await running_worker(app, scheduler=False)

        async def run(jobs: int) -> None:
            before = len(ended)
            await app.enqueue([task.job(number) for number in range(jobs)])
            await wait_until(
                lambda: len(ended) == before + jobs and not worker.worker.running,
                description="every job to run and be recorded",
            )

        await run(10)  # what is made once is made
        gc.collect()
        gc.disable()
        try:
            await run(JOBS)
            left = gc.collect()
        finally:
            gc.enable()
    assert left < JOBS, f"{JOBS} jobs left {left} objects in cycles"
