"""What follows a job: `then` after a success, `on_failure` after an end in the DLQ, each once."""

from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest
from tenacity import stop_after_attempt, wait_none

from capelin import Capelin, FailedJob, Reject, Retry, RetryPolicy, TaskOptions, current_job
from capelin.errors import JobFailed
from capelin.ids import JobId
from capelin.jobs import Job
from capelin.lua import Replayed
from capelin.lua.loader import load
from capelin.records import Cancellation
from tests.support.census import take_census
from tests.support.ledger import Ledger, noting_starts
from tests.support.proxy import RedisProxy, mentions
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until
from tests.support.workers import QUICK, RunningWorker


@pytest.fixture
async def app(redis_server: RedisServer, ledger: Ledger) -> AsyncIterator[Capelin[None]]:
    app = make_app(redis_server.url, ledger)
    async with app:
        yield app
    assert take_census(redis_server).misplaced == []


def make_app(url: str, ledger: Ledger) -> Capelin[None]:
    """An app whose tasks write down what they were given, and by whom."""
    app = Capelin(url, name="follows", settings=QUICK, middleware=[noting_starts(ledger)])

    @app.task
    async def write(word: str) -> str:
        job = current_job()
        ledger.note("wrote", word, job.parent_id)
        return word

    @app.task
    async def told(job: FailedJob) -> None:
        assert current_job().parent_id == job.job_id
        ledger.note("chain", current_job().correlation_id, current_job().batch_id)
        ledger.note("told", job.job_id, job.task, job.reason, job.attempt, job.error.type, job.args)

    @app.task(on_failure=told, retry=RetryPolicy(stop=stop_after_attempt(2), wait=wait_none()))
    async def fail(how: str) -> None:
        raise Reject("no") if how == "rejected" else ValueError(how)

    @app.task(retry=RetryPolicy(stop=stop_after_attempt(3), wait=wait_none()))
    async def stumble(word: str) -> str:
        if current_job().attempt < 3:
            raise Retry
        return word

    return app


async def all_done(server: RedisServer, jobs: int) -> None:
    """Return once so many jobs have ended, and no others are left."""

    def done() -> bool:
        statuses = take_census(server).statuses
        return (
            sum(statuses.values())
            == jobs
            == statuses["completed"] + statuses["failed"] + statuses["cancelled"]
        )

    await wait_until(done, description=f"{jobs} jobs to have ended")


async def failed(job: Job[Any]) -> None:
    """Wait until a job has failed."""
    with pytest.raises(JobFailed):
        await job.result(timeout=20)


# then


async def test_each_job_of_a_chain_follows_the_one_before_once(
    app: Capelin[None], redis_server: RedisServer, running_worker: RunningWorker, ledger: Ledger
) -> None:
    await running_worker(app)
    write = app.tasks["write"]
    third = write.options(priority="high").job("c")
    second = write.options(delay=0.2, then=third).job("b")
    first = await write.options(then=second, headers={"trace": "1"}).enqueue("a")
    await all_done(redis_server, 3)
    wrote = ledger.lines("wrote")
    assert [word for word, _ in wrote] == ["a", "b", "c"]
    assert wrote[0][1] == "None"
    assert wrote[1][1] == first.id
    jobs = take_census(redis_server).jobs
    b = jobs.pop(wrote[2][1])
    [c] = [job for job in jobs.values() if job.id != first.id]
    assert b.record["parent"] == JobId.parse(first.id).uid
    assert {job.split(".")[1] for job in (first.id, b.id, c.id)} == {str(first.shard)}
    assert int(b.record["started"]) - int(b.record["enqueued"]) >= 200
    assert c.record["priority"] == "high"
    assert ledger.starts_of() == {first.id: 1, b.id: 1, c.id: 1}


async def test_what_follows_a_success_follows_it_alone(
    app: Capelin[None], redis_server: RedisServer, running_worker: RunningWorker, ledger: Ledger
) -> None:
    write = app.tasks["write"]
    then = write.job("after")
    cancelled = await write.options(then=then, delay=60).enqueue("never")
    assert await cancelled.cancel() is Cancellation.CANCELLED
    await running_worker(app)
    await failed(await app.tasks["fail"].options(then=then).enqueue("down"))
    stumbled = await app.tasks["stumble"].options(then=then).enqueue("up")
    assert await stumbled.result(timeout=20) == "up"
    await all_done(redis_server, 5)  # three jobs, one that is told, one that follows
    assert ledger.lines("wrote") == [["after", stumbled.id]]


# on_failure


@pytest.mark.parametrize(
    ("how", "reason", "attempt", "error"),
    [("rejected", "Reject", 1, "Reject"), ("down", "ValueError", 2, "ValueError")],
    ids=["rejected", "attempts-used-up"],
)
async def test_a_dead_letter_is_told_once_with_what_is_known_of_it(
    *,
    app: Capelin[None],
    redis_server: RedisServer,
    running_worker: RunningWorker,
    ledger: Ledger,
    how: str,
    reason: str,
    attempt: int,
    error: str,
) -> None:
    await running_worker(app)
    job = await app.tasks["fail"].options(batch_id="night").enqueue(how)
    await failed(job)
    await all_done(redis_server, 2)
    assert ledger.lines("chain") == [[job.id, "night"]]
    [[told_id, task, told_reason, told_attempt, told_error, *args]] = ledger.lines("told")
    assert (told_id, task, told_reason, told_attempt, told_error) == (
        job.id,
        "fail",
        reason,
        str(attempt),
        error,
    )
    assert "".join(args) == f"(['{how}'],{{}})"


async def test_wrong_arguments_are_told_too(
    app: Capelin[None], redis_server: RedisServer, running_worker: RunningWorker, ledger: Ledger
) -> None:
    await running_worker(app)
    request = app.task_named("fail").job(5)
    job = await app.enqueue(replace(request, on_failure="told"))
    await failed(job)
    await all_done(redis_server, 2)
    assert [line[0] for line in ledger.lines("told")] == [job.id]


async def test_a_replayed_job_that_dies_again_is_told_of_again(
    app: Capelin[None], redis_server: RedisServer, running_worker: RunningWorker, ledger: Ledger
) -> None:
    await running_worker(app)
    job = await app.tasks["fail"].enqueue("rejected")
    await failed(job)
    await all_done(redis_server, 2)
    assert await app.client().replay(JobId.parse(job.id)) == (Replayed.REPLAYED, "")
    await all_done(redis_server, 3)
    assert [line[0] for line in ledger.lines("told")] == [job.id, job.id]
    assert (await job.info()).token == 2


async def test_an_apps_on_failure_holds_for_all_tasks_and_its_own_failure_tells_nobody(
    redis_server: RedisServer, running_worker: RunningWorker, ledger: Ledger
) -> None:
    defaults = TaskOptions(on_failure="alert", retry=RetryPolicy(stop=stop_after_attempt(1)))
    app = Capelin(redis_server.url, name="alerts", settings=QUICK, defaults=defaults)

    @app.task
    async def alert(job: FailedJob) -> None:
        ledger.note("alert", job.task)
        raise RuntimeError("the pager is down")

    @app.task
    async def fail() -> None:
        raise ValueError

    async with app:
        await running_worker(app)
        await failed(await fail.enqueue())
        await all_done(redis_server, 2)
    assert ledger.lines("alert") == [["fail"]]
    assert take_census(redis_server).statuses == {"failed": 2}


# Lost replies


async def test_what_follows_is_added_once_though_the_reply_of_finish_was_lost(
    redis_server: RedisServer,
    proxied: Callable[[str], RedisProxy],
    running_worker: RunningWorker,
    ledger: Ledger,
) -> None:
    proxy = proxied(redis_server.url)
    async with make_app(proxy.url, ledger) as app:
        await running_worker(app)
        fault = proxy.cut_reply_after(mentions("EVALSHA", load("finish").sha), times=6)
        write = app.tasks["write"]
        succeed = [await write.options(then=write.job("after")).enqueue("first") for _ in range(5)]
        die = [await app.tasks["fail"].enqueue("rejected") for _ in range(5)]
        await all_done(redis_server, 20)
        assert fault.hits >= 1
        fault.lift()
    wrote = Counter(parent for word, parent in ledger.lines("wrote") if word == "after")
    assert wrote == {job.id: 1 for job in succeed}
    assert Counter(line[0] for line in ledger.lines("told")) == {job.id: 1 for job in die}
    assert set(ledger.starts_of().values()) == {1}
    assert take_census(redis_server).misplaced == []
