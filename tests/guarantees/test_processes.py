"""What runs where: processes, threads and coroutines, queues with weights, bursts.

A crash of a process harms one attempt, a thread is told to stop, a coroutine is stopped.
"""

import asyncio
import os
import signal
import time
from typing import Any

import psutil
import pytest
from tenacity import stop_after_attempt

from capelin import JobCancelled, JobFailed, RetryPolicy
from capelin.jobs import Job
from capelin.records import Cancellation
from tests.guarantees.apps import recording
from tests.guarantees.fleet import Fleet, Process
from tests.support.waiting import wait_until

ONCE = RetryPolicy(stop=stop_after_attempt(1))
STOPS_WITHIN = 1.0
QUEUES = ("-q", "default", "-q", "threads", "-q", "processes", "--cpu", "3")


@pytest.fixture
async def worker(fleet: Fleet) -> Process:
    """A worker for coroutines, threads and three processes."""
    return await fleet.launch("worker", *QUEUES).started()


async def test_a_process_that_crashes_fails_one_attempt_and_none_of_its_neighbours(
    fleet: Fleet, worker: Process
) -> None:
    neighbours = await fleet.enqueue_many([recording.held_process.job("neighbours") for _ in range(2)])
    crashing = await fleet.enqueue(recording.crashing_process.job("crash"))
    pids = [await pid_of(fleet, job) for job in neighbours]
    await fleet.started(crashing)
    fleet.open_gate("crash")
    assert await crashing.result(timeout=20) == 2
    assert worker.child.running

    fleet.open_gate("neighbours")
    assert [await job.result(timeout=20) for job in neighbours] == pids
    account, *others = await fleet.all_completed([crashing, *neighbours])
    # The worker lives: it is a failed attempt and no crash of the worker.
    assert (account.token, account.attempt, account.crashes, account.failures) == (2, 1, 0, 1)
    assert all(other.clean for other in others)


async def test_a_process_that_always_crashes_ends_in_the_dlq(fleet: Fleet, worker: Process) -> None:
    fleet.open_gate("crash")
    job = await fleet.enqueue(recording.crashing_process.options(retry=ONCE).job("crash"))
    with pytest.raises(JobFailed, match="was it killed, or out of memory") as failed:
        await job.result(timeout=20)
    assert failed.value.error_type == "ProcessDied"
    assert worker.child.running
    assert await (await fleet.enqueue(recording.add_in_process.job(1))).result(timeout=20) == 2


@pytest.mark.usefixtures("worker")
async def test_the_timeout_of_a_process_job_kills_its_process(fleet: Fleet) -> None:
    # The process is there already, so that the timeout is the job's and not the interpreter's start.
    await (await fleet.enqueue(recording.add_in_process.job(1))).result(timeout=20)
    job = await fleet.enqueue(recording.held_process.options(timeout=3, retry=ONCE).job("never"))
    pid = await pid_of(fleet, job)
    with pytest.raises(JobFailed) as failed:
        await job.result(timeout=20)
    assert failed.value.error_type == "JobTimeout"
    await wait_until(lambda: not psutil.pid_exists(pid), description="the process to be gone")


@pytest.mark.usefixtures("worker")
async def test_a_cancelled_process_job_is_killed_within_a_second(fleet: Fleet) -> None:
    job = await fleet.enqueue(recording.held_process.job("never"))
    pid = await pid_of(fleet, job)
    await cancelled_within_a_second(job)
    await wait_until(lambda: not psutil.pid_exists(pid), description="the process to be gone")


@pytest.mark.usefixtures("worker")
async def test_a_cancelled_coroutine_stops_within_a_second(fleet: Fleet) -> None:
    job = await fleet.enqueue(recording.held.job("never"))
    await fleet.started(job)
    await cancelled_within_a_second(job)


@pytest.mark.usefixtures("worker")
async def test_a_cancelled_thread_sees_it_and_keeps_its_slot_until_it_returns(fleet: Fleet) -> None:
    attentive = await fleet.enqueue(recording.attentive_thread.job())
    deaf = await fleet.enqueue(recording.held_thread.job("door"))
    for job in (attentive, deaf):
        await fleet.started(job)
        assert await job.cancel() is Cancellation.REQUESTED
    with pytest.raises(JobCancelled):
        await attentive.result(timeout=STOPS_WITHIN)
    assert [words[0] for words in fleet.ledger.lines("told")] == [attentive.id]
    # One that succeeds nevertheless is completed.
    fleet.open_gate("door")
    assert await deaf.result(timeout=20)


async def test_ctrl_c_lets_process_jobs_finish_within_the_grace_time(fleet: Fleet, worker: Process) -> None:
    job = await fleet.enqueue(recording.held_process.job("door"))
    await pid_of(fleet, job)
    # A terminal sends it to the whole group, the processes of the pool included.
    os.killpg(worker.child.pid, signal.SIGINT)
    await worker.child.wait_for_event("worker stops")
    fleet.open_gate("door")
    assert await worker.child.wait() == 0
    [account] = await fleet.all_completed([job])
    assert account.clean


async def test_queues_share_a_worker_by_their_weights(fleet: Fleet) -> None:
    jobs = [
        recording.quick.options(queue=queue).job(number)
        for number in range(200)
        for queue in ("heavy", "light")
    ]
    everything = await fleet.enqueue_many(jobs)
    await fleet.launch("worker", "-q", "heavy=3", "-q", "light=1", "-c", "8").started()
    await fleet.all_completed(everything)
    first = [start.job.split(".")[0] for start in fleet.starts()[:160]]
    # While both have work: three of four, give or take what is on its way.
    assert 100 <= first.count("heavy") <= 140


async def test_a_burst_runs_what_is_due_and_what_comes_of_it_and_ends(fleet: Fleet) -> None:
    due = await fleet.enqueue_many(
        [recording.quick.options(then=recording.quick.job(-1)).job(number) for number in range(20)]
    )
    later = await fleet.enqueue(recording.quick.options(delay=3600).job(1))
    child = fleet.launch("burst", "-q", "default", "--burst").child
    assert await child.wait() == 0
    assert fleet.statuses([*due, later]) == ["completed"] * 20 + ["scheduled"]
    census = fleet.census()
    assert census.misplaced == []
    assert census.statuses == {"completed": 40, "scheduled": 1}
    with fleet.server.connect() as redis:
        assert redis("KEYS", "*:stakes") == []


async def pid_of(fleet: Fleet, job: Job[Any]) -> int:
    """The process that runs a job, once it says so."""

    def said() -> list[int]:
        return [int(words[2]) for words in fleet.ledger.lines("pid") if words[0] == job.id]

    await wait_until(said, description="the process to run")
    return said()[0]


async def cancelled_within_a_second(job: Job[Any]) -> None:
    began = time.monotonic()
    assert await job.cancel() is Cancellation.REQUESTED
    with pytest.raises(JobCancelled):
        async with asyncio.timeout(20):
            await job.result()
    assert time.monotonic() - began < STOPS_WITHIN
