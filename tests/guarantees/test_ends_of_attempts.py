"""How attempts end: errors and policies, `Retry`, `Snooze`, `Reject`, timeouts, and what is noted of each."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tenacity import (
    retry_if_exception_type,
    retry_if_not_exception_type,
    stop_after_attempt,
    stop_after_delay,
    stop_never,
    wait_fixed,
    wait_none,
)

from capelin import Capelin, Reject, Retry, RetryPolicy, Snooze, current_job
from capelin.errors import JobFailed
from capelin.jobs import Job
from capelin.records import JobInfo, JobStatus
from tests.guarantees.apps import in_processes
from tests.support.census import take_census
from tests.support.ledger import Ledger, noting_starts
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until
from tests.support.workers import QUICK, RunningWorker

AT_ONCE = wait_none()


@pytest.fixture
async def app(redis_server: RedisServer, ledger: Ledger) -> AsyncIterator[Capelin[None]]:
    app = Capelin(redis_server.url, name="ends", settings=QUICK, middleware=[noting_starts(ledger)])
    async with app:
        yield app
    assert take_census(redis_server).misplaced == []


async def failure_of(job: Job[Any]) -> JobFailed:
    """How a job that fails has failed."""
    with pytest.raises(JobFailed) as caught:
        await job.result(timeout=20)
    return caught.value


def seconds_between_starts(info: JobInfo) -> list[float]:
    """From the end of each failed start to the start after it."""
    starts = [failed.started for failed in info.failures[1:]]
    if info.status is JobStatus.COMPLETED:
        starts.append(info.started)
    pairs = zip(starts, info.failures, strict=False)
    return [(start - failed.ended).total_seconds() for start, failed in pairs if start and failed.ended]


# Errors


async def test_an_attempt_that_raises_is_tried_again_until_one_succeeds(
    app: Capelin[None], running_worker: RunningWorker, ledger: Ledger
) -> None:
    @app.task(retry=RetryPolicy(stop=stop_after_attempt(3), wait=wait_fixed(0.2)))
    async def fetch() -> int:
        attempt = current_job().attempt
        if attempt < 3:
            raise OSError(f"down, attempt {attempt}")
        return attempt

    worker = await running_worker(app)
    job = await fetch.enqueue()
    assert await job.result(timeout=20) == 3
    info = await job.info()
    assert (info.status, info.attempt, info.token, info.crashes) == (JobStatus.COMPLETED, 2, 3, 0)
    assert [(f.token, f.attempt, f.worker) for f in info.failures] == [(1, 1, worker.id), (2, 2, worker.id)]
    errors = [failed.error for failed in info.failures if failed.error]
    assert [(e.type, e.message) for e in errors] == [("OSError", f"down, attempt {n}") for n in (1, 2)]
    assert all("raise OSError(f" in (error.traceback or "") for error in errors)
    assert all(0.2 <= pause < 5 for pause in seconds_between_starts(info))
    assert ledger.starts_of() == {job.id: 3}


async def test_when_the_policy_ends_the_job_is_in_the_dlq_with_every_failure(
    app: Capelin[None], redis_server: RedisServer, running_worker: RunningWorker, ledger: Ledger
) -> None:
    @app.task(retry=RetryPolicy(stop=stop_after_attempt(4), wait=AT_ONCE))
    def divide(number: int) -> float:
        return 1 / number

    await running_worker(app)
    job = await divide.enqueue(0)
    failure = await failure_of(job)
    assert (failure.job_id, failure.error_type) == (job.id, "ZeroDivisionError")
    assert "return 1 / number" in (failure.traceback or "")
    info = await job.info()
    assert (info.status, info.attempt, info.token, len(info.failures)) == (JobStatus.FAILED, 4, 4, 4)
    assert take_census(redis_server)[job.id].places == ["dlq"]
    assert ledger.starts_of() == {job.id: 4}


async def test_the_default_is_three_attempts_with_growing_waits(
    app: Capelin[None], running_worker: RunningWorker
) -> None:
    @app.task
    async def fail() -> None:
        raise ValueError(current_job().attempt)

    await running_worker(app)
    job = await fail.enqueue()
    assert (await failure_of(job)).error_message == "3"
    first, second = seconds_between_starts(await job.info())
    assert 1 <= first < 3.5
    assert 2 <= second < 5


async def test_a_policy_says_which_errors_are_worth_another_attempt(
    app: Capelin[None], running_worker: RunningWorker, ledger: Ledger
) -> None:
    @app.task(retry=RetryPolicy(retry=retry_if_exception_type(OSError), wait=AT_ONCE))
    async def fetch(error: str) -> None:
        raise OSError("down") if error == "os" else KeyError("no")

    await running_worker(app)
    worth, hopeless = await fetch.enqueue("os"), await fetch.enqueue("key")
    await failure_of(worth)
    await failure_of(hopeless)
    assert ledger.starts_of() == {worth.id: 3, hopeless.id: 1}


async def test_a_policy_by_time_counts_from_the_first_start(
    app: Capelin[None], running_worker: RunningWorker
) -> None:
    @app.task(retry=RetryPolicy(stop=stop_after_delay(0.5), wait=wait_fixed(0.2)))
    async def fail() -> None:
        raise OSError("down")

    await running_worker(app)
    job = await fail.enqueue()
    await failure_of(job)
    info = await job.info()
    assert info.finished is not None
    assert info.failures[0].started is not None
    assert 0.5 <= (info.finished - info.failures[0].started).total_seconds() < 5
    assert 2 <= info.attempt <= 4


async def test_one_call_may_have_a_policy_and_a_timeout_of_its_own(
    app: Capelin[None], running_worker: RunningWorker, ledger: Ledger
) -> None:
    @app.task(retry=RetryPolicy(stop=stop_after_attempt(1)), timeout=60)
    async def hang() -> None:
        await asyncio.Event().wait()

    await running_worker(app)
    own = RetryPolicy(
        stop=stop_after_attempt(2), wait=wait_fixed(0.05), retry=retry_if_not_exception_type(KeyError)
    )
    job = await hang.options(retry=own, timeout=0.1).enqueue()
    failure = await failure_of(job)
    assert (failure.error_type, ledger.starts_of()[job.id]) == ("JobTimeout", 2)
    assert "0.1 s" in failure.error_message


async def test_a_policy_that_raises_ends_the_job_and_says_so(
    app: Capelin[None], running_worker: RunningWorker
) -> None:
    class Broken(stop_after_attempt):
        def __call__(self, retry_state: Any) -> bool:
            raise LookupError(f"no such stop for attempt {retry_state.attempt_number}")

    @app.task(retry=RetryPolicy(stop=Broken(3)))
    async def fail() -> None:
        raise ValueError("first")

    worker = await running_worker(app)
    job = await fail.enqueue()
    failure = await failure_of(job)
    assert failure.error_type == "ValueError"
    assert "the retry policy raised LookupError: no such stop" in (failure.traceback or "")
    assert not worker.task.done()


# Outcomes that a task raises


async def test_retry_counts_an_attempt_and_says_when(
    app: Capelin[None], running_worker: RunningWorker, ledger: Ledger
) -> None:
    @app.task(retry=RetryPolicy(stop=stop_after_attempt(3), wait=wait_fixed(60)))
    async def again() -> int:
        if current_job().attempt < 3:
            raise Retry(delay=0.2)
        return current_job().attempt

    await running_worker(app)
    job = await again.enqueue()
    assert await job.result(timeout=20) == 3
    info = await job.info()
    assert (info.attempt, info.token) == (2, 3)
    assert all(0.2 <= pause < 5 for pause in seconds_between_starts(info))
    assert [failed.error.type for failed in info.failures if failed.error] == ["Retry", "Retry"]
    assert ledger.starts_of() == {job.id: 3}


async def test_retry_ends_where_the_policy_ends(
    app: Capelin[None], running_worker: RunningWorker, ledger: Ledger
) -> None:
    @app.task(retry=RetryPolicy(stop=stop_after_attempt(2), retry=retry_if_exception_type(KeyError)))
    async def again() -> None:
        raise Retry(at=datetime.now(UTC))

    await running_worker(app)
    job = await again.enqueue()
    assert (await failure_of(job)).error_type == "Retry"
    assert ledger.starts_of() == {job.id: 2}


async def test_snooze_counts_no_attempt_however_often(
    app: Capelin[None], running_worker: RunningWorker, ledger: Ledger
) -> None:
    @app.task(retry=RetryPolicy(stop=stop_after_attempt(1)))
    async def poll() -> int:
        if current_job().token == 4:
            raise Snooze(at=datetime.now(UTC) + timedelta(seconds=0.1))
        if current_job().token < 6:
            raise Snooze(delay=0.05)
        return current_job().attempt

    await running_worker(app)
    job = await poll.enqueue()
    assert await job.result(timeout=20) == 1
    info = await job.info()
    assert (info.attempt, info.token, info.failures) == (0, 6, ())
    assert ledger.starts_of() == {job.id: 6}


async def test_reject_dead_letters_at_once_with_its_reason(
    app: Capelin[None], redis_server: RedisServer, running_worker: RunningWorker, ledger: Ledger
) -> None:
    @app.task(retry=RetryPolicy(stop=stop_never))
    def refuse() -> None:
        raise Reject("the account is closed")

    await running_worker(app)
    job = await refuse.enqueue()
    failure = await failure_of(job)
    assert (failure.error_type, failure.error_message) == ("Reject", "the account is closed")
    assert ledger.starts_of() == {job.id: 1}
    assert take_census(redis_server)[job.id].places == ["dlq"]


async def test_a_process_raises_the_same_outcomes(
    running_worker: RunningWorker, redis_server: RedisServer
) -> None:
    async with Capelin(redis_server.url, name="processes", settings=QUICK) as app:
        app.include(in_processes.tasks)
        await running_worker(app)
        retried, snoozed, rejected, failed = [
            await in_processes.end.enqueue(how) for how in ("retry", "snooze", "reject", "error")
        ]
        assert (await retried.result(timeout=20), await snoozed.result(timeout=20)) == (2, 1)
        assert [(info.attempt, info.token) for info in (await retried.info(), await snoozed.info())] == [
            (1, 2),
            (0, 2),
        ]
        assert (await failure_of(rejected)).error_type == "Reject"
        failure = await failure_of(failed)
        assert (failure.error_type, failure.error_message) == ("Overflowing", "full: 7")
        assert "raise Overflowing(7)" in (failure.traceback or "")
        assert (await failed.info()).attempt == 2
        made_by_a_call = await in_processes.called.enqueue(5)
        assert await made_by_a_call.result(timeout=20) == "5 for called"


# Timeouts


async def test_an_async_job_is_stopped_at_its_timeout_and_may_clean_up(
    app: Capelin[None], running_worker: RunningWorker, ledger: Ledger
) -> None:
    @app.task(timeout=0.2, retry=RetryPolicy(stop=stop_after_attempt(2), wait=AT_ONCE))
    async def hang() -> None:
        deadline = current_job().deadline
        assert deadline is not None
        assert 0 < (deadline - datetime.now(UTC)).total_seconds() <= 0.2
        try:
            await asyncio.Event().wait()
        finally:
            ledger.note("cleaned", current_job().attempt)

    await running_worker(app)
    job = await hang.enqueue()
    assert (await failure_of(job)).error_type == "JobTimeout"
    info = await job.info()
    assert info.attempt == 2
    for failed in info.failures:
        assert failed.started is not None
        assert failed.ended is not None
        assert 0.2 <= (failed.ended - failed.started).total_seconds() < 3
    assert ledger.lines("cleaned") == [["1"], ["2"]]


async def test_a_timeout_error_of_the_tasks_own_is_an_error_like_others(
    app: Capelin[None], running_worker: RunningWorker
) -> None:
    @app.task(timeout=60, retry=RetryPolicy(stop=stop_after_attempt(1)))
    async def fetch() -> None:
        async with asyncio.timeout(0.01):
            await asyncio.Event().wait()

    await running_worker(app)
    assert (await failure_of(await fetch.enqueue())).error_type == "TimeoutError"


async def test_a_thread_beyond_its_timeout_is_left_alone_and_keeps_its_slot(
    app: Capelin[None], running_worker: RunningWorker, ledger: Ledger
) -> None:
    gate = threading.Event()

    @app.task(timeout=0.2, retry=RetryPolicy(stop=stop_after_attempt(1)))
    def hang() -> str:
        gate.wait(30)
        ledger.note("told", current_job().cancelled)
        return "too late"

    @app.task
    def quick() -> str:
        return "ran"

    worker = await running_worker(app, settings=QUICK.model_copy(update={"threads": 1}))
    job = await hang.enqueue()
    assert (await failure_of(job)).error_type == "JobTimeout"
    other = await quick.enqueue()
    await wait_until(lambda: worker.worker.heartbeat.rounds > 3, description="a few renewals")
    assert await other.status() is JobStatus.QUEUED  # the only thread is taken
    gate.set()
    assert await other.result(timeout=10) == "ran"
    assert ledger.lines("told") == [["True"]]
    info = await job.info()
    assert (info.status, info.token, len(info.failures)) == (JobStatus.FAILED, 1, 1)


async def test_a_job_that_blocks_the_loop_beyond_its_timeout_is_recorded_once(
    app: Capelin[None], running_worker: RunningWorker, ledger: Ledger
) -> None:
    @app.task(timeout=0.1, retry=RetryPolicy(stop=stop_after_attempt(1)))
    async def block() -> str:
        time.sleep(0.4)  # noqa: ASYNC251 -- this is the point
        return "done"

    await running_worker(app)
    job = await block.enqueue()
    assert await job.result(timeout=10) == "done"  # nobody could have stopped it, and it succeeded
    assert ledger.starts_of() == {job.id: 1}
