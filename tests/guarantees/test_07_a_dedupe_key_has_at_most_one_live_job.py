"""Guarantee 7: for one (queue, task, key) there is at most one live job, or one in a window.

A second submit gets the first job's handle and is told so; what else it does is `on_duplicate`.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from tenacity import stop_after_attempt, wait_fixed

from capelin import Capelin, Reject, Retry, RetryPolicy
from capelin.errors import JobCancelled, JobFailed
from capelin.ids import JobId
from capelin.jobs import Job
from capelin.lua import Replayed
from capelin.options import OnDuplicateName
from capelin.records import Cancellation, JobStatus
from capelin.tasks import AsyncTask
from tests.support.census import take_census
from tests.support.ledger import Ledger, noting_starts
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until
from tests.support.workers import QUICK, RunningWorker

KEY = "welcome:42"


@dataclass(kw_only=True)
class Stage:
    """An app whose one task shows what it was given, and ends as it is told to.

    Attributes:
        shown: The words of the starts, in order.
        gate: Running jobs wait for it.
        endings: What jobs with these words raise when the gate is open.
        live, most_live: How many run now, and how many ever did at once.
    """

    app: Capelin[None]
    server: RedisServer
    ledger: Ledger
    shown: list[str] = field(default_factory=list[str])
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    endings: dict[str, list[Exception]] = field(default_factory=dict[str, list[Exception]])
    live: int = 0
    most_live: int = 0

    @property
    def show(self) -> AsyncTask[[str], str]:
        """The task."""
        task = self.app.tasks["show"]
        assert isinstance(task, AsyncTask)
        return task

    async def run(self, word: str) -> str:
        """What the task does."""
        self.shown.append(word)
        self.live += 1
        self.most_live = max(self.most_live, self.live)
        try:
            await self.gate.wait()
            if self.endings.get(word):
                raise self.endings[word].pop(0)
            return word
        finally:
            self.live -= 1

    async def keep(self, word: str) -> Job[str]:
        """Submit with the key; a live one stays as it is."""
        return await self.show.options(dedupe_key=KEY).enqueue(word)

    async def replace(self, word: str, delay: float | None = None) -> Job[str]:
        """Submit with the key; one that waits is changed."""
        return await self.show.options(dedupe_key=KEY, on_duplicate="replace", delay=delay).enqueue(word)

    async def follow(self, word: str) -> Job[str]:
        """Submit with the key; one more runs after one that has started."""
        return await self.show.options(dedupe_key=KEY, on_duplicate="follow").enqueue(word)

    async def runs(self, *words: str) -> None:
        """Wait until exactly these have started, in this order."""
        await wait_until(lambda: len(self.shown) >= len(words), description=f"{words} to start")
        assert self.shown == list(words)

    def held(self) -> set[str]:
        """The dedupe keys in Redis."""
        keys = self.server.keys()
        return {key.partition(":unique:")[2] for key in keys if ":unique:" in key}

    async def replay(self, job: Job[str]) -> tuple[Replayed, str]:
        """What `dlq replay` does."""
        return await self.app.client().replay(JobId.parse(job.id))


@pytest.fixture
async def stage(redis_server: RedisServer, ledger: Ledger) -> AsyncIterator[Stage]:
    app = Capelin(redis_server.url, name="dedupe", settings=QUICK, middleware=[noting_starts(ledger)])
    stage = Stage(app=app, server=redis_server, ledger=ledger)

    @app.task
    async def show(word: str) -> str:
        return await stage.run(word)

    async with app:
        yield stage
    assert take_census(redis_server).misplaced == []


# keep


async def test_a_second_submit_gets_the_waiting_jobs_handle_and_is_told_so(
    stage: Stage, running_worker: RunningWorker
) -> None:
    first, second = await stage.keep("first"), await stage.keep("second")
    assert (first.duplicate, second.duplicate) == (False, True)
    assert second.id == first.id
    stage.gate.set()
    await running_worker(stage.app)
    assert await second.result(timeout=10) == "first"
    assert stage.shown == ["first"]


async def test_a_second_submit_gets_the_running_jobs_handle(
    stage: Stage, running_worker: RunningWorker
) -> None:
    await running_worker(stage.app)
    first = await stage.keep("first")
    await stage.runs("first")
    second = await stage.keep("second")
    assert (second.id, second.duplicate) == (first.id, True)
    stage.gate.set()
    assert await second.result(timeout=10) == "first"
    assert stage.shown == ["first"]


async def test_a_job_between_two_attempts_holds_its_key(stage: Stage, running_worker: RunningWorker) -> None:
    stage.endings["first"] = [Retry(delay=0.3)]
    stage.gate.set()
    await running_worker(stage.app)
    first = await stage.keep("first")

    async def waits() -> bool:
        return await first.status() is JobStatus.SCHEDULED

    await wait_until(waits, description="the job to wait for its next attempt")
    second = await stage.keep("second")
    assert (second.id, second.duplicate) == (first.id, True)
    assert await first.result(timeout=10) == "first"
    assert stage.shown == ["first", "first"]


async def test_keys_of_other_tasks_and_queues_are_other_keys(stage: Stage) -> None:
    @stage.app.task
    async def other(word: str) -> str:
        return word

    jobs = [
        await stage.keep("a"),
        await other.options(dedupe_key=KEY).enqueue("b"),
        await stage.show.options(dedupe_key=KEY, queue="elsewhere").enqueue("c"),
        await stage.show.options(dedupe_key=KEY + ":").enqueue("d"),
    ]
    assert [job.duplicate for job in jobs] == [False] * 4
    assert len({job.id for job in jobs}) == 4


# Every end frees the key.


async def it_completes(stage: Stage, job: Job[str]) -> None:
    stage.gate.set()
    await job.result(timeout=10)


async def it_is_rejected(stage: Stage, job: Job[str]) -> None:
    stage.endings["first"] = [Reject("no")]
    stage.gate.set()
    with pytest.raises(JobFailed):
        await job.result(timeout=10)


async def it_is_cancelled_while_it_runs(stage: Stage, job: Job[str]) -> None:
    assert await job.cancel() is Cancellation.REQUESTED
    with pytest.raises(JobCancelled):
        await job.result(timeout=10)
    stage.gate.set()


End = Callable[[Stage, Job[str]], Awaitable[None]]
ENDS = pytest.mark.parametrize(
    "end",
    [it_completes, it_is_rejected, it_is_cancelled_while_it_runs],
    ids=lambda end: getattr(end, "__name__", ""),
)


@ENDS
async def test_the_end_of_a_job_frees_its_key(stage: Stage, running_worker: RunningWorker, end: End) -> None:
    await running_worker(stage.app)
    first = await stage.keep("first")
    await stage.runs("first")
    await end(stage, first)
    assert stage.held() == set()
    second = await stage.keep("second")
    assert not second.duplicate
    assert second.id != first.id
    assert await second.result(timeout=10) == "second"


async def test_cancelling_a_waiting_job_frees_its_key(stage: Stage, running_worker: RunningWorker) -> None:
    first = await stage.show.options(dedupe_key=KEY, delay=60).enqueue("first")
    assert await first.cancel() is Cancellation.CANCELLED
    second = await stage.keep("second")
    assert not second.duplicate
    stage.gate.set()
    await running_worker(stage.app)
    assert await second.result(timeout=10) == "second"
    assert stage.shown == ["second"]


async def test_a_job_that_expires_unstarted_frees_its_key(
    stage: Stage, running_worker: RunningWorker
) -> None:
    first = await stage.show.options(dedupe_key=KEY, expires=0.05).enqueue("first")
    expires = (await first.info()).expires
    assert expires is not None
    await wait_until(lambda: datetime.now(UTC) > expires, description="the job to expire")
    stage.gate.set()
    await running_worker(stage.app)
    with pytest.raises(JobCancelled, match="expired"):
        await first.result(timeout=10)
    assert not (await stage.keep("second")).duplicate


# Replay


async def test_replay_takes_the_key_again(stage: Stage, running_worker: RunningWorker) -> None:
    await running_worker(stage.app)
    first = await stage.keep("first")
    await stage.runs("first")
    await it_is_rejected(stage, first)
    stage.gate.clear()
    assert await stage.replay(first) == (Replayed.REPLAYED, "")
    await stage.runs("first", "first")
    second = await stage.keep("second")
    assert (second.id, second.duplicate) == (first.id, True)
    stage.gate.set()
    assert await first.result(timeout=10) == "first"
    assert stage.held() == set()


async def test_replay_reports_the_job_that_has_taken_the_key_since_and_changes_nothing(
    stage: Stage, running_worker: RunningWorker
) -> None:
    await running_worker(stage.app)
    first = await stage.keep("first")
    await stage.runs("first")
    await it_is_rejected(stage, first)
    stage.gate.clear()
    second = await stage.keep("second")
    await stage.runs("first", "second")
    verdict, holder = await stage.replay(first)
    assert (verdict, holder) == (Replayed.DUPLICATE, second.id)
    assert await first.status() is JobStatus.FAILED
    stage.gate.set()
    assert await second.result(timeout=10) == "second"
    assert await stage.replay(first) == (Replayed.REPLAYED, "")
    assert await first.result(timeout=10) == "first"


# Windows


async def test_a_window_outlives_the_job_and_ends_by_itself(
    stage: Stage, running_worker: RunningWorker
) -> None:
    submit = stage.show.options(dedupe_key=KEY, dedupe_for=1)
    stage.gate.set()
    await running_worker(stage.app)
    first = await submit.enqueue("first")
    assert await first.result(timeout=10) == "first"
    second = await submit.enqueue("second")
    assert (second.id, second.duplicate) == (first.id, True)
    assert await second.result(timeout=10) == "first"
    await wait_until(lambda: not stage.held(), description="the window to end")
    third = await submit.enqueue("third")
    assert not third.duplicate
    assert await third.result(timeout=10) == "third"
    assert stage.shown == ["first", "third"]


async def test_a_window_stays_closed_when_its_job_is_cancelled(stage: Stage) -> None:
    submit = stage.show.options(dedupe_key=KEY, dedupe_for=60)
    first = await submit.enqueue("first")
    assert await first.cancel() is Cancellation.CANCELLED
    second = await submit.enqueue("second")
    assert (second.id, second.duplicate) == (first.id, True)


# replace


async def test_replace_with_a_delay_runs_once_with_the_last_arguments_after_a_pause(
    stage: Stage, running_worker: RunningWorker
) -> None:
    stage.gate.set()
    await running_worker(stage.app)
    jobs = [await stage.replace(f"key-stroke-{number}", delay=0.4) for number in range(20)]
    assert [job.duplicate for job in jobs] == [False] + [True] * 19
    assert len({job.id for job in jobs}) == 1
    submitted = (await jobs[0].info()).enqueued
    assert await jobs[0].result(timeout=10) == "key-stroke-19"
    assert stage.shown == ["key-stroke-19"]
    info = await jobs[0].info()
    assert submitted is not None
    assert info.started is not None
    assert (info.started - submitted).total_seconds() >= 0.4
    assert stage.held() == set()


async def test_replace_changes_everything_but_the_id_of_a_waiting_job(
    stage: Stage, running_worker: RunningWorker
) -> None:
    first = await stage.show.options(dedupe_key=KEY, priority="low", headers={"trace": "1"}).enqueue("first")
    options = stage.show.options(dedupe_key=KEY, on_duplicate="replace", priority="critical", timeout=7)
    second = await options.enqueue("second")
    assert (second.id, second.duplicate) == (first.id, True)
    info = await first.info()
    assert (info.args, info.priority, info.timeout, dict(info.headers)) == (("second",), "critical", 7.0, {})
    stage.gate.set()
    await running_worker(stage.app)
    assert await first.result(timeout=10) == "second"
    assert stage.shown == ["second"]


async def test_replace_makes_a_delayed_job_due_at_once_when_it_says_no_delay(
    stage: Stage, running_worker: RunningWorker
) -> None:
    stage.gate.set()
    await running_worker(stage.app)
    first = await stage.replace("first", delay=60)
    second = await stage.replace("second")
    assert second.id == first.id
    assert await first.result(timeout=10) == "second"


async def test_replace_of_a_running_job_runs_once_more_after_it_with_the_last_arguments(
    stage: Stage, running_worker: RunningWorker
) -> None:
    await running_worker(stage.app)
    first = await stage.replace("first")
    await stage.runs("first")
    later = [await stage.replace(word) for word in ("second", "third", "fourth")]
    assert [job.duplicate for job in later] == [False, True, True]
    assert first.id not in {job.id for job in later}
    assert len({job.id for job in later}) == 1
    assert await later[0].status() is JobStatus.SCHEDULED
    assert stage.shown == ["first"]
    stage.gate.set()
    assert await first.result(timeout=10) == "first"
    assert await later[0].result(timeout=10) == "fourth"
    assert stage.shown == ["first", "fourth"]
    assert stage.held() == set()


async def test_replace_of_a_job_between_attempts_gives_it_new_arguments_and_all_attempts_again(
    stage: Stage, running_worker: RunningWorker
) -> None:
    policy = RetryPolicy(stop=stop_after_attempt(2), wait=wait_fixed(60))
    stage.endings = {"first": [OSError("down")], "second": [OSError("still down"), OSError("still down")]}
    stage.gate.set()
    await running_worker(stage.app)
    first = await stage.show.options(dedupe_key=KEY, retry=policy).enqueue("first")

    async def waits() -> bool:
        return await first.status() is JobStatus.SCHEDULED

    await wait_until(waits, description="the job to wait for its second attempt")
    now = RetryPolicy(stop=stop_after_attempt(2), wait=wait_fixed(0))
    second = await stage.show.options(dedupe_key=KEY, on_duplicate="replace", retry=now).enqueue("second")
    assert second.id == first.id
    with pytest.raises(JobFailed):
        await second.result(timeout=10)
    assert stage.shown == ["first", "second", "second"]
    assert (await second.info()).attempt == 2


# follow


async def test_follow_keeps_a_first_that_has_not_started(stage: Stage, running_worker: RunningWorker) -> None:
    first, second = await stage.follow("first"), await stage.follow("second")
    assert (second.id, second.duplicate) == (first.id, True)
    stage.gate.set()
    await running_worker(stage.app)
    assert await first.result(timeout=10) == "first"
    assert stage.shown == ["first"]


@ENDS
async def test_every_end_of_the_first_frees_its_one_follower(
    stage: Stage, running_worker: RunningWorker, end: End
) -> None:
    await running_worker(stage.app)
    first = await stage.follow("first")
    await stage.runs("first")
    follower, more = await stage.follow("second"), await stage.follow("third")
    assert (follower.duplicate, more.duplicate) == (False, True)
    assert more.id == follower.id
    assert (await follower.info()).follows == first.id
    assert (await first.info()).follower == follower.id
    assert await follower.status() is JobStatus.SCHEDULED
    assert stage.shown == ["first"]
    await end(stage, first)
    assert await follower.result(timeout=10) == "second"
    assert stage.shown == ["first", "second"]
    assert stage.most_live == 1
    assert stage.held() == set()


async def test_a_follower_waits_for_all_attempts_of_the_first(
    stage: Stage, running_worker: RunningWorker
) -> None:
    stage.endings["first"] = [Retry(delay=0.1), Retry(delay=0.1)]
    await running_worker(stage.app)
    first = await stage.follow("first")
    await stage.runs("first")
    follower = await stage.follow("second")
    stage.gate.set()
    assert await follower.result(timeout=10) == "second"
    assert await first.result(timeout=0) == "first"
    assert stage.shown == ["first", "first", "first", "second"]


async def test_a_job_between_two_attempts_gets_its_one_follower_too(
    stage: Stage, running_worker: RunningWorker
) -> None:
    stage.endings["first"] = [Retry(delay=0.3)]
    stage.gate.set()
    await running_worker(stage.app)
    first = await stage.follow("first")

    async def waits() -> bool:
        return await first.status() is JobStatus.SCHEDULED

    await wait_until(waits, description="the job to wait for its next attempt")
    follower, more = await stage.follow("second"), await stage.follow("third")
    assert (follower.duplicate, more.duplicate) == (False, True)
    assert first.id != follower.id == more.id
    assert await follower.result(timeout=10) == "second"
    assert stage.shown == ["first", "first", "second"]


async def test_a_follower_inherits_the_key(stage: Stage, running_worker: RunningWorker) -> None:
    await running_worker(stage.app)
    first = await stage.follow("first")
    await stage.runs("first")
    second = await stage.follow("second")
    assert await first.cancel() is Cancellation.REQUESTED
    await stage.runs("first", "second")
    assert (await stage.keep("third")).id == second.id
    third = await stage.follow("third")
    assert third.id not in {first.id, second.id}
    assert not third.duplicate
    stage.gate.set()
    assert await third.result(timeout=10) == "third"
    assert stage.shown == ["first", "second", "third"]


async def test_a_follower_may_be_cancelled_and_the_first_gets_another(
    stage: Stage, running_worker: RunningWorker
) -> None:
    await running_worker(stage.app)
    first = await stage.follow("first")
    await stage.runs("first")
    second = await stage.follow("second")
    assert await second.cancel() is Cancellation.CANCELLED
    third = await stage.follow("third")
    assert (third.duplicate, third.id != second.id) == (False, True)
    stage.gate.set()
    assert await third.result(timeout=10) == "third"
    assert await first.result(timeout=0) == "first"
    assert stage.shown == ["first", "third"]


# Races


async def test_of_many_submitters_at_once_exactly_one_makes_a_job(
    stage: Stage, running_worker: RunningWorker
) -> None:
    await running_worker(stage.app)
    others = [Capelin(stage.server.url, name=f"other-{number}", settings=QUICK) for number in range(4)]
    requests = [stage.show.options(dedupe_key=KEY).job(f"submit-{number}") for number in range(200)]
    jobs = await asyncio.gather(
        *[others[number % 4].enqueue(request) for number, request in enumerate(requests)]
    )
    for other in others:
        await other.close()
    assert sorted(job.duplicate for job in jobs) == [False] + [True] * 199
    assert len({job.id for job in jobs}) == 1
    stage.gate.set()
    assert (await stage.app.job(jobs[0].id, stage.show).result(timeout=10)) in {
        f"submit-{number}" for number in range(200)
    }
    assert len(stage.shown) == 1


@pytest.mark.parametrize("on_duplicate", ["keep", "replace", "follow"])
async def test_while_workers_run_what_racing_submitters_submit_never_two_live_at_once(
    stage: Stage, running_worker: RunningWorker, on_duplicate: OnDuplicateName
) -> None:
    for _ in range(3):
        await running_worker(stage.app)
    stage.gate.set()
    submit = stage.show.options(dedupe_key=KEY, on_duplicate=on_duplicate)
    jobs: list[Job[str]] = []

    async def submitter(number: int) -> None:
        jobs.extend([await submit.enqueue(f"{number}-{turn}") for turn in range(30)])

    await asyncio.gather(*[submitter(number) for number in range(8)])
    new = {job.id for job in jobs if not job.duplicate}
    for job in new:
        await stage.app.job(job, stage.show).result(timeout=10)
    assert len(jobs) == 240
    assert {job.id for job in jobs} == new
    assert stage.most_live == 1
    assert stage.ledger.starts_of() == dict.fromkeys(new, 1)
    assert len(stage.shown) == len(new)
    assert take_census(stage.server).statuses == {"completed": len(new)}
