"""`app.testing()`: a user's own app in a user's own test."""

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tenacity import stop_after_attempt, stop_after_delay, wait_fixed

from capelin import (
    Capelin,
    ConfigurationError,
    FailedJob,
    InvalidArguments,
    InvalidOption,
    JobFailed,
    JobStatus,
    NoResources,
    Reject,
    Retry,
    RetryPolicy,
    Snooze,
    SyncInAsync,
    Tasks,
    UnknownTask,
    cluster,
    current_job,
    resource,
)
from capelin.errors import CapelinError

START = datetime(2030, 1, 1, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Resources:
    """What the app's lifespan yields, and a test replaces."""

    sent: list[str] = field(default_factory=list[str])


@asynccontextmanager
async def lifespan() -> AsyncGenerator[Resources]:
    raise AssertionError("a test that gives resources opens none")
    yield Resources()


tasks = Tasks()
app = Capelin("redis://nowhere.invalid:1", lifespan=lifespan)
app.include(tasks)


@app.task
async def send(to: str, subject: str = "hi") -> int:
    app.resources.sent.append(f"{to} {subject}")
    return len(app.resources.sent)


@app.task(retry=RetryPolicy(stop=stop_after_attempt(3), wait=wait_fixed(30)))
async def flaky(succeeds_at: int) -> int:
    attempt = current_job().attempt
    if attempt < succeeds_at:
        raise OSError(f"attempt {attempt}")
    return attempt


@app.task
def welcome(names: list[str]) -> None:
    for name in names:
        send.enqueue_sync(name, subject="welcome")


@app.task
async def told(job: FailedJob) -> None:
    app.resources.sent.append(f"failed: {job.error.type}")


@tasks.task(on_failure=told, retry=RetryPolicy(stop=stop_after_attempt(1)))
async def risky() -> None:
    raise ValueError("no")


@app.task
async def look_around() -> list[object]:
    here = cluster()
    return [
        here.worker_id,
        here.is_leader,
        [worker.app for worker in here.workers],
        list(here.shards),
        here.shard,
    ]


async def signup(name: str) -> None:
    """Application code that knows nothing of tests."""
    await send.enqueue(name)
    await send.options(delay=timedelta(days=1)).enqueue(name, subject="how is it?")


class TestTheUsersOwnApp:
    """What the app does while it is bound to a test."""

    async def test_its_code_enqueues_into_the_test_and_its_tasks_run_there(self) -> None:
        async with app.testing(resources=Resources()) as t:
            await signup("ann")
            assert t.enqueued(send, "ann")
            assert app.resources.sent == []
            assert await t.drain(raise_errors=True) == 1
            assert app.resources.sent == ["ann hi"]
            assert resource(Resources) is app.resources

    async def test_results_can_be_read(self) -> None:
        async with app.testing(resources=Resources()) as t:
            job = await send.enqueue("ann")
            waiting = asyncio.create_task(job.result(timeout=20))
            await t.drain()
            assert await waiting == await job.result(timeout=0) == 1
            assert await job.status() is JobStatus.COMPLETED

    async def test_a_task_sees_a_fleet_of_one(self) -> None:
        async with app.testing(resources=Resources()) as t:
            job = await look_around.enqueue()
            await t.drain(raise_errors=True)
            assert await job.result(timeout=0) == ["testing", False, [app.name], [], job.shard]
            assert cluster(None) is None

    async def test_each_test_begins_with_nothing(self) -> None:
        async with app.testing(resources=Resources()) as t:
            await send.enqueue("ann")
            assert len(t.enqueued(send)) == 1
        async with app.testing(resources=Resources()) as t:
            assert t.enqueued(send) == []
            assert await t.drain() == 0

    async def test_afterwards_the_app_is_what_it_was(self) -> None:
        async with app.testing(resources=Resources()):
            assert app.url.startswith("memory://testing-")
            assert app.check_round_trip
        assert app.url == "redis://nowhere.invalid:1"
        assert not app.check_round_trip
        with pytest.raises(NoResources):
            _ = app.resources

    async def test_tests_side_by_side_do_not_see_each_other(self) -> None:
        together = asyncio.Barrier(3)

        async def one_test(name: str) -> list[str]:
            async with app.testing(resources=Resources()) as t:
                await together.wait()
                await send.enqueue(name)
                await together.wait()
                await t.drain(raise_errors=True)
                await together.wait()
                assert [job.args for job in t.enqueued(send)] == [(name,)]
                return app.resources.sent

        async with asyncio.TaskGroup() as group:
            runs = [group.create_task(one_test(name)) for name in ("a", "b", "c")]
        assert [run.result() for run in runs] == [["a hi"], ["b hi"], ["c hi"]]

    async def test_tests_of_two_apps_nest(self) -> None:
        other = Capelin("redis://elsewhere.invalid:1")

        @other.task
        async def count() -> int:
            return 1

        async with app.testing(resources=Resources()) as outer, other.testing() as inner:
            await count.enqueue()
            await send.enqueue("ann")
            assert (len(inner.enqueued(count)), len(outer.enqueued(send))) == (1, 1)
            assert (inner.enqueued(send), outer.enqueued(count)) == ([], [])

    async def test_without_resources_a_task_that_needs_them_says_so(self) -> None:
        async with app.testing() as t:
            await send.enqueue("ann")
            with pytest.raises(NoResources, match=r"app\.testing\(resources="):
                await t.drain(raise_errors=True)

    def test_code_without_an_event_loop_is_tested_without_one(self) -> None:
        with app.testing(resources=Resources()) as t:
            welcome.enqueue_sync(["ann", "bob"])
            assert t.drain_sync(raise_errors=True) == 3
            assert sorted(app.resources.sent) == ["ann welcome", "bob welcome"]
            assert len(t.enqueued(send, subject="welcome")) == 2

    async def test_a_def_task_enqueues_from_its_thread(self) -> None:
        async with app.testing(resources=Resources()) as t:
            await welcome.enqueue(["ann"])
            with pytest.raises(SyncInAsync):
                t.drain_sync()
            await t.drain(raise_errors=True)
            [sent] = t.enqueued(send)
            [parent] = t.enqueued(welcome)
            assert sent.parent_id == parent.id

    async def test_an_argument_that_would_come_back_as_another_is_refused(self) -> None:
        async with app.testing() as t:
            with pytest.raises(InvalidArguments):
                await send.enqueue("a\ud800")
            assert t.enqueued(send) == []

    def test_without_the_extra_it_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "fakeredis", None)
        with pytest.raises(ConfigurationError, match=r"pip install 'capelin\[embedded\]'"), app.testing():
            pass
        assert app.url == "redis://nowhere.invalid:1"

    async def test_it_is_entered_once(self) -> None:
        t = app.testing()
        async with t:
            with pytest.raises(CapelinError, match="entered already"):
                await t.__aenter__()


class TestEnqueued:
    """Which jobs are found."""

    async def test_by_their_arguments_however_they_were_given(self) -> None:
        async with app.testing() as t:
            await send.enqueue("ann", subject="x")
            await send.enqueue(to="bob")
            assert len(t.enqueued(send)) == 2
            assert len(t.enqueued(send, to="ann")) == len(t.enqueued(send, "ann", "x")) == 1
            assert len(t.enqueued(send, subject="hi")) == 1
            assert not t.enqueued(send, "ann", "y")
            assert not t.enqueued(flaky)

    async def test_with_their_whole_record(self) -> None:
        async with app.testing(now=START) as t:
            await send.options(delay=60, queue="mail", priority="low", headers={"a": "b"}).enqueue("ann")
            [job] = t.enqueued(send)
            assert (job.queue, job.priority, job.headers) == ("mail", "low", {"a": "b"})
            assert job.due == START + timedelta(seconds=60)
            assert repr(job).startswith(f"JobInfo(id='{job.id}', task='send', queue='mail', ")

    async def test_by_name_too(self) -> None:
        async with app.testing() as t:
            await app.task_named("other.task", queue="far").enqueue(1, x=2)
            assert len(t.enqueued("other.task", 1)) == len(t.enqueued("other.task", x=2)) == 1
            assert len(t.enqueued(app.task_named("other.task"))) == 1
            assert not t.enqueued("other.task", 2)
            assert not t.enqueued("other.task", x=3)

    async def test_whatever_has_become_of_them(self) -> None:
        async with app.testing(resources=Resources()) as t:
            await send.options(retention=0).enqueue("ann")
            cancelled = await send.enqueue("bob")
            await cancelled.cancel()
            await t.drain()
            assert [(job.args, job.status) for job in t.enqueued(send)] == [
                (("ann",), JobStatus.COMPLETED),
                (("bob",), JobStatus.CANCELLED),
            ]

    async def test_those_that_come_of_others_too(self) -> None:
        async with app.testing(resources=Resources()) as t:
            await send.options(then=send.options(delay=5).job("then")).enqueue("first")
            await risky.enqueue()
            await t.drain()
            assert t.enqueued(send, "then")
            assert t.enqueued(told)

    async def test_a_duplicate_is_not_another_job(self) -> None:
        async with app.testing() as t:
            for _ in range(2):
                await send.options(dedupe_key="x").enqueue("ann")
            assert len(t.enqueued(send)) == 1

    async def test_arguments_that_the_task_does_not_take_are_a_mistake_in_the_test(self) -> None:
        async with app.testing() as t:
            await send.enqueue("ann")
            with pytest.raises(InvalidArguments, match="it takes"):
                t.enqueued(send, receiver="ann")


class TestClock:
    """Time passes when the test says so."""

    async def test_it_stands_until_it_is_moved(self) -> None:
        async with app.testing(resources=Resources(), now=START) as t:
            job = await send.options(delay=60).enqueue("ann")
            assert (await job.info()).enqueued == t.now == START
            assert await t.drain() == 0
            t.advance(59.999)
            assert await t.drain() == 0
            t.advance(timedelta(milliseconds=1))
            assert await t.drain() == 1
            assert (await job.info()).started == t.now == START + timedelta(seconds=60)

    async def test_a_moment_is_a_moment_of_that_clock(self) -> None:
        async with app.testing(resources=Resources(), now=START) as t:
            await send.options(at=START + timedelta(hours=1)).enqueue("ann")
            assert await t.drain() == 0
            assert await t.drain(until=START + timedelta(hours=1)) == 1

    async def test_windows_and_expiry_go_by_it_too(self) -> None:
        async with app.testing(resources=Resources(), now=START) as t:
            once = send.options(dedupe_key="x", dedupe_for=60)
            await once.enqueue("ann")
            expiring = await send.options(delay=10, expires=5).enqueue("bob")
            t.advance(59)
            assert (await once.enqueue("ann")).duplicate
            t.advance(1.001)
            assert not (await once.enqueue("ann")).duplicate
            assert await t.drain() == 2
            assert await expiring.status() is JobStatus.CANCELLED

    async def test_a_clock_in_the_past_or_the_future_loses_nothing(self) -> None:
        for now in (datetime(1999, 1, 1, tzinfo=UTC), datetime(2199, 1, 1, tzinfo=UTC)):
            async with app.testing(resources=Resources(), now=now) as t:
                once = send.options(dedupe_key="x", dedupe_for=60, retention=1)
                await once.enqueue("ann")
                assert len(t.enqueued(send)) == 1
                assert await t.drain() == 1
                assert len(t.enqueued(send, "ann")) == 1
                assert (await once.enqueue("ann")).duplicate

    async def test_it_does_not_move_back_nor_stand_at_a_naive_moment(self) -> None:
        async with app.testing() as t:
            with pytest.raises(InvalidOption):
                t.advance(-1)
            with pytest.raises(InvalidOption, match="timezone"):
                await t.drain(until=datetime(2030, 1, 1))  # noqa: DTZ001 -- that is the point
            await t.drain(until=START - timedelta(days=100_000))
            assert t.now > START - timedelta(days=100_000)
        with pytest.raises(InvalidOption, match="timezone"):
            app.testing(now=datetime(2030, 1, 1))  # noqa: DTZ001


class TestDrain:
    """What runs, and what is raised."""

    async def test_retries_run_at_the_moment_they_are_due(self) -> None:
        async with app.testing(now=START) as t:
            job = await flaky.enqueue(3)
            assert await t.drain() == 3
            assert await job.result(timeout=0) == 3
            assert t.now == START + timedelta(seconds=60)
            assert [failure.attempt for failure in (await job.info()).failures] == [1, 2]

    async def test_until_bounds_what_runs(self) -> None:
        async with app.testing(resources=Resources(), now=START) as t:
            await flaky.enqueue(3)
            await send.options(delay=40).enqueue("ann")
            await send.options(delay=50).enqueue("bob")
            assert await t.drain(until=45) == 3
            assert t.now == START + timedelta(seconds=45)
            assert app.resources.sent == ["ann hi"]
            assert await t.drain(until=timedelta(minutes=1)) == 2

    async def test_delayed_jobs_wait_for_their_time(self) -> None:
        async with app.testing(resources=Resources(), now=START) as t:
            await send.options(delay=1).enqueue("ann")
            assert await t.drain() == 0
            assert t.now == START

    async def test_a_snoozed_job_comes_back_when_the_clock_is_moved(self) -> None:
        ran: list[datetime] = []
        local = Capelin("memory://unused")

        @local.task
        async def poll() -> str:
            ran.append(t.now)
            if len(ran) == 1:
                raise Snooze(delay=60)
            if len(ran) == 2:
                raise Snooze(at=START + timedelta(minutes=5))
            return "done"

        async with local.testing(now=START) as t:
            job = await poll.enqueue()
            assert await t.drain(raise_errors=True) == 1
            assert await t.drain(until=300, raise_errors=True) == 2
            assert await job.result(timeout=0) == "done"
            assert ran == [START, START + timedelta(minutes=1), START + timedelta(minutes=5)]

    async def test_errors_are_raised_as_they_were(self) -> None:
        async with app.testing() as t:
            job = await flaky.enqueue(2)
            with pytest.raises(OSError, match="attempt 1") as caught:
                await t.drain(raise_errors=True)
            assert caught.value.__notes__ == [f"raised by job {job.id}: flaky, attempt 1"]
            assert any(entry.name == "flaky" for entry in caught.traceback)
            assert await t.drain(raise_errors=True, until=30) == 1
            assert await job.result(timeout=0) == 2

    async def test_without_being_asked_to_it_raises_nothing(self) -> None:
        async with app.testing(resources=Resources()) as t:
            job = await risky.enqueue()
            await t.drain()
            with pytest.raises(JobFailed, match="ValueError: no"):
                await job.result(timeout=0)
            assert app.resources.sent == ["failed: ValueError"]

    async def test_a_retry_that_a_task_asks_for_is_no_error_and_a_rejection_is(self) -> None:
        local = Capelin("memory://unused")

        @local.task
        async def again() -> int:
            if current_job().attempt == 1:
                raise Retry(delay=10)
            return current_job().attempt

        @local.task
        async def refuses() -> None:
            raise Reject("not today")

        async with local.testing(now=START) as t:
            job = await again.enqueue()
            assert await t.drain(raise_errors=True) == 2
            assert await job.result(timeout=0) == 2
            await refuses.enqueue()
            with pytest.raises(Reject, match="not today"):
                await t.drain(raise_errors=True)

    async def test_a_policy_counts_time_by_the_clock_of_the_test(self) -> None:
        local = Capelin("memory://unused")

        @local.task(retry=RetryPolicy(stop=stop_after_delay(100), wait=wait_fixed(30)))
        async def fails() -> None:
            raise OSError

        async with local.testing(now=START) as t:
            job = await fails.enqueue()
            assert await t.drain() == 5
            assert await job.status() is JobStatus.FAILED
            assert t.now == START + timedelta(seconds=120)

    async def test_what_fails_before_it_starts_is_raised_too(self) -> None:
        async with app.testing() as t:
            await app.task_named("send").enqueue(5)
            with pytest.raises(JobFailed, match="InvalidArguments: send: "):
                await t.drain(raise_errors=True)
            await app.task_named("sent").enqueue("ann")
            with pytest.raises(UnknownTask, match="did you mean 'send'"):
                await t.drain(raise_errors=True)

    async def test_middleware_of_the_app_is_around_every_attempt(self) -> None:
        seen: list[str] = []

        async def middleware(job: Any, call_next: Any) -> Any:
            seen.append(job.task)
            return await call_next()

        local = Capelin("memory://unused", middleware=[middleware])

        @local.task
        async def one() -> None: ...

        async with local.testing() as t:
            await one.enqueue()
            await t.drain(raise_errors=True)
        assert seen == ["one"]

    async def test_jobs_of_several_queues_and_priorities_run(self) -> None:
        async with app.testing(resources=Resources()) as t:
            for queue in ("a", "b"):
                for priority in ("low", "critical"):
                    await send.options(queue=queue, priority=priority).enqueue(f"{queue}.{priority}")
            assert await t.drain() == 4
            assert sorted(app.resources.sent) == [
                f"{queue}.{priority} hi" for queue in "ab" for priority in ("critical", "low")
            ]
