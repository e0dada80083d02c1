"""Finished jobs leave nothing behind when their time is over: no keys, no consumers."""

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from capelin import Capelin, Reject, lua
from capelin.errors import JobFailed, JobNotFound
from capelin.jobs import Job
from capelin.lua import NewJob
from capelin.records import JobStatus
from capelin.settings import Settings
from capelin.workers import upkeep
from tests.support.census import take_census
from tests.support.ledger import Ledger, noting_starts
from tests.support.resp import texts
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until
from tests.support.workers import RunningWorker

SHARDS = 8
WINDOW = 2.0
SETTINGS = Settings(
    lease_ttl=1.0,
    grace=5.0,
    socket_timeout=0.6,
    block=0.3,
    enqueue_timeout=0.5,
    resend_window=WINDOW,
    retention=1.0,
    dlq_retention=1.0,
)
# What a queue, a shard and the fleet have for good, however many jobs there were. An empty stream stays.
STRUCTURE = re.compile(
    r"capelin:(queues|\{default\}:meta|\{fleet\}:(members|expiry|free|pulse:.+)|inbox:.+|\{schedules\}:(lease|declared)"
    r"|\{default:\d\}:(meta|lease|(?P<stream>dlq|stream:.+)))"
)


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Owners look after their shards often."""
    monkeypatch.setattr(upkeep, "_RETAIN_EVERY", 0.2)  # else 10 s


@pytest.fixture
async def app(redis_server: RedisServer, ledger: Ledger) -> AsyncIterator[Capelin[None]]:
    async with make_app(redis_server, ledger, SETTINGS) as app:
        yield app


def make_app(server: RedisServer, ledger: Ledger, settings: Settings) -> Capelin[None]:
    """An app with tasks of every retention."""
    app = Capelin(server.url, name="retention", settings=settings, middleware=[noting_starts(ledger)])

    @app.task
    async def keep(number: int) -> int:
        return number

    @app.task(retention=0)
    async def forget(number: int) -> int:
        return number

    @app.task
    async def reject(number: int) -> int:
        raise Reject(str(number))

    @app.task(retention=3600)
    async def treasure(number: int) -> int:
        return number

    return app


def left_behind(server: RedisServer) -> list[str]:
    """Keys that are there because of a job."""
    found: list[str] = []
    with server.connect() as redis:
        for key in texts(redis("KEYS", "*")):
            match = STRUCTURE.fullmatch(key)
            if match is None or (match["stream"] and redis("XLEN", key)):
                found.append(key)
    return sorted(found)


def consumers(server: RedisServer) -> list[Any]:
    """Every consumer of every stream."""
    found: list[Any] = []
    with server.connect() as redis:
        for key in texts(redis("KEYS", "*:stream:*")):
            groups = redis("XINFO", "GROUPS", key)
            found.append(redis("XINFO", "CONSUMERS", key, "workers") if groups else None)
    return [one for one in found if one]


async def test_two_thousand_finished_jobs_leave_nothing_behind(
    app: Capelin[None], redis_server: RedisServer, running_worker: RunningWorker, ledger: Ledger
) -> None:
    workers = [await running_worker(app) for _ in range(2)]
    requests = [app.tasks["keep"].options(headers={"n": str(n)}).job(n) for n in range(900)]
    requests += [app.tasks["forget"].job(n) for n in range(900)]
    requests += [app.tasks["reject"].options(dedupe_key=str(n)).job(n) for n in range(100)]
    cancelled = [app.tasks["keep"].options(delay=600, dedupe_key=f"c{n}").job(n) for n in range(100)]
    jobs = await app.enqueue(requests)
    for job in await app.enqueue(cancelled):
        assert await job.cancel()
    kept: Job[Any] = await app.tasks["treasure"].enqueue(1)
    await wait_until(
        lambda: (
            {key.rpartition(":")[2] for key in left_behind(redis_server)} <= {kept.id, "finished"}
            and len(left_behind(redis_server)) == 2
        ),
        description="all but the treasure to be gone",
        timeout=30,
    )
    assert await kept.result(timeout=10) == 1
    for job in jobs[::100]:
        with pytest.raises(JobNotFound):
            await job.info()
    assert ledger.starts_of() == {job.id: 1 for job in [*jobs, kept]}
    for worker in workers:
        await worker.stop()
    assert consumers(redis_server) == []
    assert take_census(redis_server).statuses == {"completed": 1}
    redis_server.flush()


async def test_a_record_is_there_for_as_long_as_its_retention_says(
    app: Capelin[None], redis_server: RedisServer, running_worker: RunningWorker
) -> None:
    await running_worker(app)
    longer = app.tasks["keep"].options(retention=4)
    job, long_job, dead = [
        await app.tasks["keep"].enqueue(1),
        await longer.enqueue(2),
        await app.tasks["reject"].enqueue(3),
    ]
    assert (await job.result(timeout=10), await long_job.result(timeout=10)) == (1, 2)
    with pytest.raises(JobFailed):
        await dead.result(timeout=10)
    times = [(await one.info()).finished for one in (job, long_job, dead)]

    async def gone(one: Job[Any]) -> bool:
        try:
            await one.status()
        except JobNotFound:
            return True
        return False

    ends: list[float] = []
    for one, finished, at_least in zip((job, dead, long_job), times, (WINDOW, 1.0, 4.0), strict=True):
        await wait_until(lambda: gone(one), description=f"{one} to be gone")  # noqa: B023 -- awaited here
        assert finished is not None
        ends.append(now(redis_server) - finished.timestamp())
        assert ends[-1] >= at_least - 0.01
    assert ends[-1] < 8
    assert left_behind(redis_server) == []


def now(server: RedisServer) -> float:
    """Redis's clock."""
    match server.command("TIME"):
        case [str(seconds), str(micros)]:
            return int(seconds) + int(micros) / 1e6
        case other:
            raise TypeError(other)


async def test_retention_0_leaves_a_stub_that_recognises_a_request_sent_again(
    app: Capelin[None], redis_server: RedisServer, running_worker: RunningWorker
) -> None:
    await running_worker(app)
    job = await app.tasks["forget"].enqueue(5)

    async def completed() -> bool:
        return await job.status() is JobStatus.COMPLETED

    await wait_until(completed, description="the job to complete")
    record = take_census(redis_server)[job.id].record
    assert not {"args", "result", "headers"} & set(record)
    uid = job.id.rpartition(".")[2]
    shard = app.keys.shard(job.queue, job.shard)
    again = await app.client().connection.run(
        lua.enqueue(shard, most=None, resend_window=1000, jobs=[NewJob(uid, "forget", args="[[5],{}]")])
    )
    assert again == [(lua.Submitted.AGAIN, uid)]
    await wait_until(lambda: left_behind(redis_server) == [], description="the stub to be gone")


async def test_no_more_than_the_newest_are_kept(
    redis_server: RedisServer, running_worker: RunningWorker, ledger: Ledger
) -> None:
    settings = SETTINGS.model_copy(
        update={"retention": 3600.0, "dlq_retention": 3600.0, "max_finished": 80, "max_dead": 40}
    )
    async with make_app(redis_server, ledger, settings) as app:
        await running_worker(app)
        jobs = await app.enqueue([app.tasks["keep"].job(number) for number in range(400)])
        dead = await app.enqueue([app.tasks["reject"].job(number) for number in range(200)])
        newest = await app.enqueue([app.tasks["keep"].options(shard_key=str(n)).job(n) for n in range(8)])
        await wait_until(
            lambda: take_census(redis_server).statuses == {"completed": 80, "failed": 40},
            description="the oldest to be gone",
            timeout=30,
        )
        left = set(take_census(redis_server).jobs)
        assert {job.id for job in newest} <= left
        assert left <= {job.id for job in [*jobs, *dead, *newest]}
    assert take_census(redis_server).misplaced == []


async def test_a_dead_workers_name_goes_with_its_jobs(
    app: Capelin[None], redis_server: RedisServer, running_worker: RunningWorker
) -> None:
    shard = app.keys.shard("default", 2)
    client = app.client()
    await client.queues.open(["default"])
    await client.connection.run(
        lua.enqueue(shard, most=None, resend_window=2000, jobs=[NewJob("a", "keep", args="[[1],{}]")])
    )
    taken = await client.connection.run(
        lua.take(
            shard, worker="dead", count=1, ttl=300, waits=False, older_than=None, resend_window=2000,
            default_retention=1000, critical=0, high=0, normal=1, low=0,
        )
    )  # fmt: skip
    assert len(taken.jobs) == 1
    assert consumers(redis_server)
    worker = await running_worker(app)
    await wait_until(lambda: left_behind(redis_server) == [], description="the job to run and be gone")
    await worker.stop()
    assert consumers(redis_server) == []


async def test_a_worker_that_stops_takes_its_name_off_every_shard(
    *,
    app: Capelin[None],
    redis_server: RedisServer,
    running_worker: RunningWorker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(upkeep, "_RETAIN_EVERY", 600.0)  # so that no owner removes the streams themselves
    worker = await running_worker(app)
    jobs = await app.enqueue([app.tasks["keep"].options(shard_key=str(n)).job(n) for n in range(100)])
    assert [await job.result(timeout=10) for job in jobs] == list(range(100))
    assert len(consumers(redis_server)) == SHARDS
    await worker.stop()
    assert consumers(redis_server) == []
    stakes = [app.keys.shard("default", shard).stakes for shard in range(SHARDS)]
    assert redis_server.command("EXISTS", *stakes) == 0
