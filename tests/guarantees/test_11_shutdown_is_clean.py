"""Guarantee 11: shutdown is clean.

SIGTERM stops taking, gives up leases at once, lets jobs finish within the grace time, and hands the rest
back. None of it counts as an attempt or as a crash. A second SIGTERM is immediate and still loses nothing.
"""

import asyncio
import random
import threading
import time
from typing import Any

import pytest

from capelin import Capelin
from capelin.jobs import Job
from capelin.lua import OutcomeRow
from capelin.records import JobStatus
from capelin.workers.running import Start
from capelin.workers.worker import Worker
from tests.guarantees.apps import recording
from tests.guarantees.fleet import SHARDS, Fleet, Process
from tests.support.ledger import Ledger, noting_starts
from tests.support.waiting import wait_until
from tests.support.workers import QUICK, RunningWorker

LONG = 30.0
"""Seconds: no lease and no stake ends within a test; nothing but a clean goodbye moves shards and jobs."""
OWNED_WITHIN = 1.0
SOON = 10.0
"""Seconds within which a process has ended that waits for nothing any more."""
ROUNDS = 4


async def test_jobs_finish_within_the_grace_time_and_the_rest_is_handed_back(fleet: Fleet) -> None:
    [leaver] = await fleet.start("leaver", lease_ttl=LONG, grace=2)
    finishing = await fleet.hold("soon", 10)
    staying = await fleet.hold("late", 10)

    leaver.child.terminate()
    await leaver.child.wait_for_event("worker stops")
    waiting = await fleet.enqueue_many([recording.quick.job(number) for number in range(10)])
    fleet.open_gate("soon")
    assert await leaver.child.wait() == 0
    assert fleet.statuses(finishing) == ["completed"] * 10
    assert fleet.statuses(staying) == ["queued"] * 10
    assert fleet.statuses(waiting) == ["queued"] * 10, "it took a job after it was told to stop"
    assert fleet.census().misplaced == []

    fleet.open_gate("late")
    await fleet.start("heir", lease_ttl=LONG)
    assert all(account.clean for account in await fleet.all_completed(finishing + waiting))
    for account in await fleet.all_completed(staying):
        assert (account.token, account.attempt, account.crashes, account.failures) == (2, 0, 0, 0)
    assert len(fleet.starts()) == 40


async def test_others_own_the_shards_of_a_worker_that_leaves_within_a_second(fleet: Fleet) -> None:
    leaver, *others = await fleet.start("leaver", "one", "two", lease_ttl=6)
    job = await fleet.enqueue(recording.held.options(shard_key="x").job("door"))
    await fleet.started(job)

    leaver.child.terminate()
    began = time.monotonic()
    ids = {worker.id for worker in others}
    await wait_until(
        lambda: len(owners := fleet.owners()) == SHARDS and set(owners.values()) == ids,
        description="the others to own all shards",
    )
    assert time.monotonic() - began < OWNED_WITHIN
    fleet.open_gate("door")
    assert await leaver.child.wait() == 0
    [account] = await fleet.all_completed([job])
    assert account.clean


async def test_a_second_sigterm_is_immediate_and_loses_nothing(fleet: Fleet) -> None:
    [leaver] = await fleet.start("leaver", lease_ttl=LONG, grace=600)
    jobs = await fleet.hold("door", 20)
    leaver.child.terminate()
    await leaver.child.wait_for_event("worker stops")
    assert fleet.statuses(jobs) == ["running"] * 20
    leaver.child.terminate()
    assert await leaver.child.wait(timeout=SOON) == 0
    assert fleet.statuses(jobs) == ["queued"] * 20

    fleet.open_gate("door")
    await fleet.start("heir", lease_ttl=LONG)
    accounts = await fleet.all_completed(jobs)
    assert {(a.token, a.attempt, a.crashes, a.failures) for a in accounts} == {(2, 0, 0, 0)}


@pytest.mark.parametrize("task", [recording.held_thread, recording.stubborn], ids=["thread", "coroutine"])
async def test_a_job_that_does_not_stop_is_handed_back_and_does_not_hold_the_process(
    fleet: Fleet, task: Any
) -> None:
    leaver = await on_both_queues(fleet, "leaver", grace=600)
    job = await fleet.enqueue(task.job("door"))
    await fleet.started(job)
    leaver.child.terminate()
    await leaver.child.wait_for_event("worker stops")
    leaver.child.terminate()
    assert await leaver.child.wait(timeout=SOON) == 0
    assert fleet.statuses([job]) == ["queued"]

    fleet.open_gate("door")
    await on_both_queues(fleet, "heir")
    [account] = await fleet.all_completed([job])
    assert (account.token, account.attempt, account.crashes, account.failures) == (2, 0, 0, 0)


async def test_no_start_is_forgotten_when_sigterm_comes_in_the_middle_of_a_take(fleet: Fleet) -> None:
    chance = random.Random(11)  # noqa: S311
    await fleet.start("first", lease_ttl=LONG, grace=0)
    jobs: list[Job[Any]] = []
    workers = [fleet.workers["first"]]
    for number in range(ROUNDS):
        workers.append(fleet.launch(f"next-{number}", lease_ttl=LONG, grace=0))
        await workers[-1].started()
        begun = len(fleet.starts())
        jobs += await fleet.enqueue_many([recording.lasting.job(0.02) for _ in range(500)])
        some = begun + chance.randrange(1, 200)
        await starts(fleet, some)
        workers[-2].child.terminate()
        assert await workers[-2].child.wait(timeout=SOON) == 0
    # With a lease this long, a start that nobody handed back would be missed here.
    accounts = await fleet.all_completed(jobs)
    assert {(account.attempt, account.crashes, account.failures) for account in accounts} == {(0, 0, 0)}
    assert max(fleet.ledger.starts().values()) == 1


async def on_both_queues(fleet: Fleet, name: str, grace: float = 25) -> Process:
    """Start a worker for coroutines and threads."""
    worker = fleet.launch(name, "-q", "default", "-q", "threads", lease_ttl=LONG, grace=grace)
    return await worker.started()


async def starts(fleet: Fleet, some: int) -> None:
    """Return once there have been so many starts."""
    await wait_until(lambda: len(fleet.starts()) >= some, description=f"{some} starts")


async def test_a_worker_that_cannot_note_the_end_of_a_job_ends_and_hands_it_back(
    redis_url: str, ledger: Ledger, running_worker: RunningWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What it cannot note it would never record, and keep from everybody: as after a job that took all memory.
    async with Capelin(redis_url, middleware=[noting_starts(ledger)]) as app:
        app.include(recording.tasks)
        worker = Worker(app, settings=QUICK)
        running = asyncio.create_task(worker.run())
        await worker.started.wait()
        recorder = worker.consumer.recorder
        add = recorder.add
        adding = iter([MemoryError("there is none left")])

        def add_but_once(start: Start, row: OutcomeRow) -> None:
            for error in adding:
                raise error
            add(start, row)

        monkeypatch.setattr(recorder, "add", add_but_once)
        job = await app.enqueue(recording.quick.job(1))
        with pytest.raises(MemoryError):
            await running
        assert await job.status() is JobStatus.QUEUED
        await running_worker(app)
        assert await job.result(timeout=10) == 1
        assert ledger.starts() == {(job.id, 1): 1, (job.id, 2): 1}


async def test_a_worker_that_can_start_no_thread_any_more_ends(
    redis_url: str, running_worker: RunningWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where no memory is left for a thread, Python raises, or waits for ever for it to begin.
    async with Capelin(redis_url) as app:
        app.include(recording.tasks)
        worker = await running_worker(app)
        heartbeat = [thread for thread in threading.enumerate() if thread.name == "capelin heartbeat"]

        def start(thread: threading.Thread) -> None:
            raise RuntimeError(f"there is no memory for {thread.name}")

        monkeypatch.setattr(threading.Thread, "start", start)
        await worker.stop()
        assert len(heartbeat) == 1
        await wait_until(lambda: not heartbeat[0].is_alive(), description="the heartbeat to end")
