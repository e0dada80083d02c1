"""``current_job()``: the job that runs here, in coroutines, threads and copies for other processes."""

import asyncio
import pickle
import threading
from datetime import UTC, datetime
from typing import Any

import pytest

from capelin.context import JobContext, current_job, running
from capelin.errors import InvalidOption, NoCurrentJob, NotInThisProcess, SyncInAsync


class Record:
    """What an executor does with progress: it notes who said what."""

    def __init__(self) -> None:
        self.cancelled = False
        self.said: list[tuple[float, str]] = []

    async def report(self, fraction: float, message: str) -> None:
        self.said.append((fraction, message))

    def report_sync(self, fraction: float, message: str) -> None:
        self.said.append((fraction, message))


def context(record: Record | None = None, **fields: Any) -> JobContext:
    callbacks: dict[str, Any] = {}
    if record is not None:
        callbacks = {
            "is_cancelled": lambda: record.cancelled,
            "report": record.report,
            "report_sync": record.report_sync,
        }
    defaults: dict[str, Any] = {
        "id": "emails.3.x",
        "task": "email.send",
        "queue": "emails",
        "shard": 3,
        "attempt": 1,
        "token": 2,
        "worker_id": "w1",
    }
    return JobContext(**(defaults | callbacks | fields))


def test_outside_a_job_there_is_none() -> None:
    with pytest.raises(NoCurrentJob, match=r"current_job\(None\) returns None there"):
        current_job()
    assert current_job(None) is None
    assert current_job("nothing") == "nothing"


def test_inside_a_job_it_is_the_current_one() -> None:
    with running(context()) as job:
        assert current_job() is current_job(None) is job
        with running(context(id="emails.3.inner")) as inner:
            assert current_job() is inner
        assert current_job() is job
    assert current_job(None) is None


async def test_concurrent_jobs_each_have_their_own() -> None:
    both_run = asyncio.Barrier(2)

    async def run(name: str) -> str:
        with running(context(id=name)):
            await both_run.wait()
            return current_job().id

    assert list(await asyncio.gather(run("a"), run("b"))) == ["a", "b"]


async def test_a_thread_of_a_job_has_it_and_a_thread_of_nobody_has_not() -> None:
    found: list[JobContext | None] = []

    with running(context()) as job:
        assert await asyncio.to_thread(current_job) is job
        thread = threading.Thread(target=lambda: found.append(current_job(None)))
        thread.start()
        thread.join()

    assert found == [None]


def test_a_job_tells_what_it_is() -> None:
    deadline = datetime(2026, 1, 1, tzinfo=UTC)
    headers = {"trace": "1"}
    leads = [False]

    job = context(
        crashes=1, deadline=deadline, headers=headers, parent_id="emails.3.p", is_leader=lambda: leads[0]
    )
    headers["trace"] = "2"
    leads[0] = True

    assert (job.id, job.task, job.queue, job.shard) == ("emails.3.x", "email.send", "emails", 3)
    assert (job.attempt, job.token, job.crashes, job.worker_id) == (1, 2, 1, "w1")
    assert (job.deadline, job.headers, job.parent_id) == (deadline, {"trace": "1"}, "emails.3.p")
    assert job.is_leader
    assert repr(job) == "<JobContext emails.3.x email.send attempt=1 token=2>"


def test_what_is_not_said_is_nothing() -> None:
    job = context()

    assert (job.crashes, job.deadline, job.headers, job.parent_id) == (0, None, {}, None)
    assert not job.is_leader
    assert not job.cancelled


def test_a_cancellation_is_seen_when_it_comes() -> None:
    record = Record()
    job = context(record)

    before = job.cancelled
    record.cancelled = True

    assert (before, job.cancelled) == (False, True)


async def test_progress_is_reported_from_coroutines_and_threads() -> None:
    record = Record()
    job = context(record)

    await job.progress(0.25)
    await asyncio.to_thread(job.progress_sync, 1, "done")

    assert record.said == [(0.25, ""), (1.0, "done")]


async def test_progress_sync_in_a_running_loop_is_refused() -> None:
    record = Record()

    with pytest.raises(SyncInAsync, match=r"await progress\(\) instead"):
        context(record).progress_sync(0.5)

    assert record.said == []


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan"), float("inf"), "0.5", None, True])
async def test_a_fraction_that_is_none_is_refused(fraction: Any) -> None:
    record = Record()
    job = context(record)

    with pytest.raises(InvalidOption, match="expected a number between 0 and 1"):
        await job.progress(fraction)
    with pytest.raises(InvalidOption, match="expected a number between 0 and 1"):
        await asyncio.to_thread(job.progress_sync, fraction)

    assert record.said == []


async def test_a_copy_for_another_process_has_the_facts_and_says_what_it_cannot_do() -> None:
    record = Record()
    record.cancelled = True
    job = context(record, headers={"trace": "1"}, batch_id="night", is_leader=lambda: True)

    copy: JobContext = pickle.loads(pickle.dumps(job))  # noqa: S301 -- what the process pool does

    assert (copy.id, copy.attempt, copy.token, copy.headers) == (job.id, job.attempt, job.token, job.headers)
    assert (copy.parent_id, copy.correlation_id) == (job.parent_id, job.correlation_id)
    assert copy.batch_id == job.batch_id == "night"
    assert not copy.cancelled
    assert not copy.is_leader
    with pytest.raises(
        NotInThisProcess, match=r'progress\(\) is not available in a job with run_in="process"'
    ):
        await copy.progress(0.5)
    with pytest.raises(NotInThisProcess, match=r"progress_sync\(\)"):
        copy.progress_sync(0.5)
