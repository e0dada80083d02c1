"""Guarantee 10: a rolling deploy loses nothing.

What the old release cannot run (a task that it does not know, arguments that only the newer signature
takes) waits parked until the new one runs it, whoever owns the shard and whoever came first. Only age dead-
letters it.
"""

from collections.abc import AsyncIterator, Callable, MutableMapping
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import pytest

import capelin.lua
from capelin import Capelin, FailedJob
from capelin.admin.access import open_access
from capelin.admin.queues import list_queues, pause_queue, resume_queue
from capelin.errors import JobFailed
from capelin.jobs import Job
from capelin.records import Cancellation, JobStatus
from capelin.requests import JobRequest
from capelin.settings import Settings
from capelin.workers import upkeep
from capelin.workers.assignment import assign
from tests.guarantees.apps import deploy_new, deploy_old
from tests.support.census import take_census
from tests.support.ledger import Ledger, noting_starts
from tests.support.processes import Processes
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until
from tests.support.workers import QUICK, LocalWorker, RunningWorker

Lines = list[MutableMapping[str, Any]]
ONE_SHARD = QUICK.model_copy(update={"shards": 1})


@dataclass(kw_only=True)
class Deploy:
    """Two releases of one app on one queue of one shard."""

    server: RedisServer
    old: Capelin[None]
    new: Capelin[None]
    ledger: Ledger
    begin: RunningWorker

    async def start_old(self, **options: Any) -> LocalWorker:
        """Start a worker of the old release, and wait until it owns the shard."""
        worker = await self.begin(self.old, **options)
        await wait_until(
            lambda: worker.worker.ownership.shards, description="the old worker to own the shard"
        )
        return worker

    async def start_new_beside(self, *old: LocalWorker, **options: Any) -> LocalWorker:
        """Start a worker of the new release which the shard does not go to."""
        ids = [worker.id for worker in old]
        worker = await self.begin(
            self.new, chosen=lambda new: assign("default", 1, [*ids, new])[0] in ids, **options
        )
        assert not worker.worker.ownership.shards
        return worker

    async def parked(self, *jobs: Job[Any]) -> None:
        """Return once these jobs are parked, and nothing else is the matter with them."""

        async def all_parked() -> bool:
            return {await job.status() for job in jobs} == {JobStatus.PARKED}

        await wait_until(all_parked, description="the jobs to be parked")


@pytest.fixture
async def deploy(
    redis_server: RedisServer, ledger: Ledger, running_worker: RunningWorker
) -> AsyncIterator[Deploy]:
    middleware = [noting_starts(ledger)]
    old = Capelin(redis_server.url, name="old", settings=ONE_SHARD, middleware=middleware)
    old.include(deploy_old.tasks)
    new = Capelin(redis_server.url, name="new", settings=ONE_SHARD, middleware=middleware)
    new.include(deploy_new.tasks)
    async with old, new:
        yield Deploy(server=redis_server, old=old, new=new, ledger=ledger, begin=running_worker)
    assert take_census(redis_server).misplaced == []


# What only the new release can run, and what comes of it.
NEWER: list[tuple[str, Callable[[], JobRequest[Any]], Any]] = [
    ("unknown-task", lambda: deploy_new.later.job(1), 2),
    ("newer-signature", lambda: deploy_new.greet.job("bob", loud=True), "HELLO BOB"),
]
newer = pytest.mark.parametrize(
    ("request_", "result"), [pytest.param(make(), result, id=name) for name, make, result in NEWER]
)


@newer
async def test_what_the_old_release_cannot_run_waits_parked_and_runs_when_the_new_one_joins(
    deploy: Deploy, request_: JobRequest[Any], result: object, logged: Lines
) -> None:
    old = await deploy.start_old()
    jobs = [
        await deploy.new.enqueue(request_) for _ in range(25)
    ]  # more than are taken out of the lot at once
    await deploy.parked(*jobs)
    assert take_census(deploy.server).misplaced == []
    assert deploy.ledger.starts() == {}
    told = [line for line in logged if line["event"] == "a job is parked: this worker cannot run it"]
    assert {line["job"] for line in told} == {job.id for job in jobs}
    new = await deploy.start_new_beside(old)
    assert [await job.result(timeout=5) for job in jobs] == [result] * 25
    assert deploy.ledger.starts_of() == {job.id: 1 for job in jobs}
    assert deploy.ledger.workers() == {new.id}
    info = await jobs[0].info()
    assert (info.attempt, info.crashes, info.failures) == (0, 0, ())


@newer
async def test_what_the_old_release_cannot_run_goes_on_at_once_when_a_new_worker_is_there_already(
    deploy: Deploy, request_: JobRequest[Any], result: object
) -> None:
    old = await deploy.start_old()
    new = await deploy.start_new_beside(old)
    await wait_until(
        lambda: len(old.worker.heartbeat.members) == 2, description="the old worker to know of the new one"
    )
    for _ in range(10):
        job = await deploy.new.enqueue(request_)
        assert await job.result(timeout=10) == result
    assert deploy.ledger.workers() == {new.id}


@newer
async def test_a_new_worker_that_joined_a_moment_ago_is_told_of_what_is_parked(
    deploy: Deploy, request_: JobRequest[Any], result: object
) -> None:
    # The old worker reads the fleet every 10 s: when it parks, it does not know yet that somebody has joined.
    slow = ONE_SHARD.model_copy(update={"lease_ttl": 30.0})
    old = await deploy.start_old(settings=slow)
    await deploy.start_new_beside(old, settings=slow)
    job = await deploy.new.enqueue(request_)
    assert await job.result(timeout=5) == result


async def test_what_a_member_was_told_of_is_told_to_another_when_the_first_is_gone(
    deploy: Deploy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "_RETAIN_EVERY", 0.2)  # else 10 s
    old = await deploy.start_old()
    new = await deploy.start_new_beside(old)
    await wait_until(
        lambda: len(old.worker.heartbeat.members) == 2, description="the old one to know the new"
    )
    [member] = [m for m in old.worker.heartbeat.members.values() if m.id == new.id]
    # A member that was there a moment ago; the shard is not its own.
    ghosts = (f"ghost-{number}" for number in count())
    name = next(name for name in ghosts if assign("default", 1, [old.id, new.id, name])[0] == old.id)
    ghost = member.to_json().replace(new.id, name)
    await deploy.old.client().connection.run(
        capelin.lua.fleet_beat(deploy.old.keys, worker=name, member=ghost, ttl=600_000, free=0, judge_until=0)
    )
    await wait_until(
        lambda: len(old.worker.heartbeat.members) == 3, description="the old one to know the ghost"
    )
    for number in range(8):  # each is told to either of the two, at random
        job = await deploy.new.enqueue(deploy_new.later.job(number))
        assert await job.result(timeout=10) == number + 1
    deploy.server.command("DEL", f"capelin:inbox:{name}")


async def test_a_worker_that_was_away_asks_for_what_was_parked_meanwhile(deploy: Deploy) -> None:
    old = await deploy.start_old()
    slow = ONE_SHARD.model_copy(update={"lease_ttl": 6.0})  # it does not come back at once
    new = await deploy.start_new_beside(old, settings=slow)
    keys = deploy.old.keys
    await wait_until(lambda: len(old.worker.heartbeat.members) == 2, description="both to be members")
    # As others do when a worker is silent for too long; it knows nothing of it until its next beat.
    with deploy.server.connect() as redis:
        redis.pipeline(
            ("MULTI",),
            ("HDEL", keys.fleet_members, new.id),
            ("HINCRBY", keys.fleet_members, "#version", 1),
            ("EXEC",),
        )
    await wait_until(lambda: len(old.worker.heartbeat.members) == 1, description="the old worker to be alone")
    job = await deploy.new.enqueue(deploy_new.later.job(1))
    assert await job.result(timeout=5) == 2


async def test_arguments_that_both_signatures_take_are_run_by_either(deploy: Deploy) -> None:
    old = await deploy.start_old()
    assert await (await deploy.new.enqueue(deploy_new.greet.job("bob"))).result(timeout=10) == "hello bob"
    await old.stop()
    await deploy.begin(deploy.new)
    assert await (await deploy.old.enqueue(deploy_old.greet.job("eve"))).result(timeout=10) == "hello eve"


async def test_arguments_that_only_the_older_signature_takes_wait_for_an_old_worker(
    redis_server: RedisServer, running_worker: RunningWorker
) -> None:
    new, old = (Capelin(redis_server.url, name=name, settings=ONE_SHARD) for name in ("new", "old"))

    @new.task(name="pay")
    async def pay_in_a_currency(amount: int, currency: str) -> str:
        return f"{amount} {currency}"

    @old.task
    async def pay(amount: int) -> str:
        return str(amount)

    async with new, old:
        await running_worker(new)
        job = await pay.enqueue(5)

        async def parked() -> bool:
            return await job.status() is JobStatus.PARKED

        await wait_until(parked, description="the job to be parked")
        assert (await job.info()).parked_by == pay_in_a_currency.signature.digest
        await running_worker(old)
        assert await job.result(timeout=10) == "5"


async def test_a_worker_of_the_same_signature_does_not_try_what_that_signature_refused(
    deploy: Deploy,
) -> None:
    await deploy.start_old()
    job = await deploy.new.enqueue(deploy_new.greet.job("bob", loud=True))
    await deploy.parked(job)
    token = (await job.info()).token
    await deploy.begin(deploy.old)
    other = await deploy.old.enqueue(deploy_old.steady.job(1))
    assert await other.result(timeout=10) == 1
    info = await job.info()
    assert (info.status, info.token) == (JobStatus.PARKED, token)


async def test_parked_jobs_are_counted_and_can_be_cancelled(deploy: Deploy) -> None:
    await deploy.start_old()
    first, second = [await deploy.new.enqueue(deploy_new.later.job(number)) for number in range(2)]
    await deploy.parked(first, second)
    async with open_access(deploy.server.url, prefix="capelin", settings=ONE_SHARD) as access:
        [standing] = await list_queues(access)
    assert standing.parked == {"later": 2}
    assert await first.cancel() is Cancellation.CANCELLED
    await deploy.begin(deploy.new)
    assert await second.result(timeout=10) == 2
    assert await first.status() is JobStatus.CANCELLED
    assert deploy.ledger.starts_of() == {second.id: 1}


async def test_a_parked_job_holds_its_dedupe_key(deploy: Deploy) -> None:
    await deploy.start_old()
    submit = deploy_new.later.options(dedupe_key="once")
    job = await deploy.new.enqueue(submit.job(1))
    await deploy.parked(job)
    again = await deploy.new.enqueue(submit.job(2))
    assert (again.id, again.duplicate) == (job.id, True)
    replaced = await deploy.new.enqueue(
        deploy_new.later.options(dedupe_key="once", on_duplicate="replace").job(3)
    )
    assert (replaced.id, replaced.duplicate) == (job.id, True)
    await deploy.begin(deploy.new)
    assert await job.result(timeout=10) == 4
    assert deploy.ledger.starts_of() == {job.id: 1}


# Pauses


async def test_nothing_that_is_parked_in_a_paused_queue_is_lost(deploy: Deploy) -> None:
    old = await deploy.start_old()
    jobs = [await deploy.new.enqueue(deploy_new.later.job(number)) for number in range(10)]
    await deploy.parked(*jobs)
    async with open_access(deploy.server.url, prefix="capelin", settings=ONE_SHARD) as access:
        assert await pause_queue(access, "default")
        await deploy.start_new_beside(old)

        async def all_queued() -> bool:
            return {await job.status() for job in jobs} == {JobStatus.QUEUED}

        await wait_until(all_queued, description="the jobs to wait for the end of the pause")
        assert take_census(deploy.server).misplaced == []
        assert deploy.ledger.starts() == {}
        assert await resume_queue(access, "default")
    assert [await job.result(timeout=10) for job in jobs] == list(range(1, 11))
    assert deploy.ledger.starts_of() == {job.id: 1 for job in jobs}


# Age


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        pytest.param(deploy_new.later.job(1), "UnknownTask", id="unknown-task"),
        pytest.param(deploy_new.greet.job("bob", loud=True), "NewerSignature", id="newer-signature"),
    ],
)
async def test_only_age_dead_letters_a_parked_job_and_that_is_told_once(
    *,
    deploy: Deploy,
    request_: JobRequest[Any],
    reason: str,
    logged: Lines,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(upkeep, "_RETAIN_EVERY", 0.1)  # else 10 s

    @deploy.old.task
    async def told(job: FailedJob) -> None:
        deploy.ledger.note("told", job.job_id, job.reason, job.attempt)

    settings: Settings = ONE_SHARD.model_copy(update={"parked_for": 0.5})
    await deploy.start_old(settings=settings)
    job = await deploy.old.enqueue(replace(request_, on_failure="told"))
    await deploy.parked(job)
    with pytest.raises(JobFailed) as caught:
        await job.result(timeout=10)
    assert caught.value.error_type == reason
    info = await job.info()
    assert info.finished is not None
    assert info.started is not None
    assert (info.finished - info.started).total_seconds() >= 0.5
    await wait_until(lambda: deploy.ledger.lines("told"), description="on_failure to be told")
    assert deploy.ledger.lines("told") == [[job.id, reason, "0"]]
    event = "parked jobs that no worker could run were dead-lettered"
    await wait_until(lambda: any(line["event"] == event for line in logged), description="the log to say so")
    assert take_census(deploy.server)[job.id].places == ["dlq"]


# The whole of it, with processes


async def test_a_rolling_deploy_under_load_loses_nothing(
    redis_server: RedisServer, processes: Processes, ledger: Ledger
) -> None:
    env = ledger.env | {"CAPELIN_LEASE_TTL": "1"}

    def start(release: str) -> Any:
        return processes.worker(f"tests.guarantees.apps.{release}:app", redis_url=redis_server.url, env=env)

    olds = [start("deploy_old") for _ in range(2)]
    for worker in olds:
        await worker.wait_for_event("worker started")
    async with Capelin(redis_server.url, name="clients") as app:
        app.include(deploy_new.tasks)
        jobs: list[Job[Any]] = []
        results: list[Any] = []

        async def submit(rounds: int) -> None:
            for number in range(rounds):
                requests: list[tuple[JobRequest[Any], Any]] = [
                    (deploy_new.later.job(number), number + 1),
                    (deploy_new.greet.job(f"n{number}", loud=True), f"HELLO N{number}"),
                    (deploy_new.steady.job(number), number),
                ]
                jobs.extend(await app.enqueue([request for request, _ in requests]))
                results.extend(result for _, result in requests)

        await submit(40)
        news = [start("deploy_new")]
        await news[0].wait_for_event("worker started")
        await submit(40)
        for old in olds:
            old.terminate()
            news.append(start("deploy_new"))
            await submit(40)
            assert await old.wait() == 0
        await submit(20)
        assert [await job.result(timeout=30) for job in jobs] == results
    for worker in news:
        await worker.wait_for_event("worker started")
        worker.terminate()
    assert [await worker.wait() for worker in news] == [0] * 3
    assert len(jobs) == 540
    assert ledger.starts_of() == {job.id: 1 for job in jobs}
    census = take_census(redis_server)
    assert census.misplaced == []
    assert census.statuses == {"completed": 540}
    assert {job.crashes for job in census.jobs.values()} == {0}
