"""Guarantee 9: poison does no harm.

Wrong arguments go to the DLQ at once; a job that kills its workers goes there after `max_crashes` of them;
a record or an entry that cannot be read is set aside and reported, and the others of its batch go on.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, MutableMapping
from typing import Any

import pytest
from tenacity import stop_after_attempt, wait_none

from capelin import Capelin, RetryPolicy
from capelin.errors import JobFailed
from capelin.jobs import Job
from capelin.keys import ShardKeys
from capelin.records import JobStatus
from capelin.tasks import AsyncTask
from tests.guarantees.apps import poison
from tests.support.census import take_census
from tests.support.ledger import Ledger, noting_starts
from tests.support.processes import ChildProcess, Processes
from tests.support.resp import Connection
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until
from tests.support.workers import QUICK, RunningWorker

Lines = list[MutableMapping[str, Any]]
ONE_SHARD = QUICK.model_copy(update={"shards": 1})


@pytest.fixture
async def app(redis_server: RedisServer, ledger: Ledger) -> AsyncIterator[Capelin[None]]:
    """An app with one shard, so that its jobs are one batch."""
    app = Capelin(redis_server.url, name="poison", settings=ONE_SHARD, middleware=[noting_starts(ledger)])

    @app.task
    async def add(number: int) -> int:
        return number + 1

    async with app:
        yield app
    assert take_census(redis_server).misplaced == []


def add_of(app: Capelin[None]) -> AsyncTask[[int], int]:
    """The app's task."""
    task = app.tasks["add"]
    assert isinstance(task, AsyncTask)
    return task


# Wrong arguments


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        (("seven",), {}),
        ((), {}),
        ((1, 2), {}),
        ((), {"numbre": 1}),
        ((None,), {}),
        ((True,), {}),
    ],
    ids=["wrong-type", "missing", "too-many", "misspelt", "null", "bool"],
)
async def test_wrong_arguments_are_dead_lettered_at_once(
    *,
    app: Capelin[None],
    redis_server: RedisServer,
    running_worker: RunningWorker,
    ledger: Ledger,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> None:
    await running_worker(app)
    job = await app.task_named("add").enqueue(*args, **kwargs)  # as a program does that has no signature
    with pytest.raises(JobFailed) as caught:
        await job.result(timeout=10)
    assert caught.value.error_type == "InvalidArguments"
    assert ledger.starts_of()[job.id] == 0
    info = await job.info()
    assert (info.status, info.token, info.attempt, len(info.failures)) == (JobStatus.FAILED, 1, 1, 1)
    assert take_census(redis_server)[job.id].places == ["dlq"]


async def test_arguments_that_are_not_even_json_are_dead_lettered_at_once(
    app: Capelin[None], redis_server: RedisServer, running_worker: RunningWorker, ledger: Ledger
) -> None:
    job = await add_of(app).enqueue(1)
    redis_server.command("HSET", record_of(app, job), "a", "\x80[not json")
    await running_worker(app)
    with pytest.raises(JobFailed, match="InvalidArguments"):
        await job.result(timeout=10)
    assert not ledger.starts()[job.id, 1]


# Jobs that kill their workers


def start_workers(
    processes: Processes, server: RedisServer, ledger: Ledger, count: int
) -> list[ChildProcess]:
    """Start worker processes with a TTL of one second."""
    env = ledger.env | {"CAPELIN_LEASE_TTL": "1"}
    return [
        processes.worker("tests.guarantees.apps.poison:app", redis_url=server.url, env=env)
        for _ in range(count)
    ]


@pytest.mark.parametrize(
    ("task", "how", "crashes", "exit_status"),
    [(poison.die, "exit", 3, 1), (poison.die_once, "kill", 1, -9)],
    ids=["three-exits", "one-kill"],
)
async def test_a_job_that_kills_its_workers_is_dead_lettered_after_max_crashes_of_them(
    *,
    redis_server: RedisServer,
    processes: Processes,
    ledger: Ledger,
    task: AsyncTask[[str], None],
    how: str,
    crashes: int,
    exit_status: int,
) -> None:
    workers = start_workers(processes, redis_server, ledger, crashes + 1)
    for worker in workers:
        await worker.wait_for_event("worker started")
    async with Capelin(redis_server.url, name="clients") as app:
        app.include(poison.tasks)
        job = await app.enqueue(task.job(how))
        jobs = await app.enqueue([poison.quick.job(number) for number in range(100)])
        with pytest.raises(JobFailed) as caught:
            await job.result(timeout=60)
        assert caught.value.error_type == "WorkerLost"
        # What ran beside it came back and ran; what came later never stopped.
        jobs += await app.enqueue([poison.quick.job(number) for number in range(100, 200)])
        assert [await other.result(timeout=20) for other in jobs] == list(range(200))
        await wait_until(lambda: ledger.lines("told"), description="on_failure to be told")
        info = await job.info()
    assert (info.crashes, info.token, info.attempt) == (crashes, crashes, 0)
    assert [failed.crashes for failed in info.failures] == list(range(1, crashes + 1))
    assert {failed.error.type for failed in info.failures if failed.error} == {"WorkerLost"}
    assert sorted(worker.returncode is None for worker in workers) == [False] * crashes + [True]
    assert {worker.returncode for worker in workers} == {None, exit_status}
    [survivor] = [worker for worker in workers if worker.running]
    survivor.terminate()
    assert await survivor.wait() == 0
    assert ledger.starts_of()[job.id] == crashes
    assert ledger.lines("told") == [[job.id, "WorkerLost", str(crashes), how]]
    assert len([line for line in survivor.lines if "jobs of dead workers came back" in line]) >= 1
    census = take_census(redis_server)
    assert census.misplaced == []
    assert census.statuses == {"completed": 201, "failed": 1}


# Records and entries that cannot be read


Tear = Callable[[Connection, ShardKeys, str], None]


def record_of(app: Capelin[None], job: Job[Any]) -> str:
    """The key of a job's record."""
    return app.keys.shard(job.queue, job.shard).job(job.id.rsplit(".", 1)[1])


def without_a_record(redis: Connection, shard: ShardKeys, uid: str) -> None:
    redis("DEL", shard.job(uid))


def of_a_wrong_type(redis: Connection, shard: ShardKeys, uid: str) -> None:
    redis("DEL", shard.job(uid))
    redis("SET", shard.job(uid), "not a hash")


def without_a_task(redis: Connection, shard: ShardKeys, uid: str) -> None:
    redis("HDEL", shard.job(uid), "task")


def of_a_start_without_a_status(redis: Connection, shard: ShardKeys, uid: str) -> None:
    redis("HSET", shard.job(uid), "token", "1")


def of_an_unknown_status(redis: Connection, shard: ShardKeys, uid: str) -> None:
    redis("HSET", shard.job(uid), "status", "dreaming")


def with_a_token_that_is_no_number(redis: Connection, shard: ShardKeys, uid: str) -> None:
    redis("HSET", shard.job(uid), "token", "first")


def with_attempts_that_are_no_number(redis: Connection, shard: ShardKeys, uid: str) -> None:
    redis("HSET", shard.job(uid), "attempt", "-")


def with_a_timeout_that_is_no_number(redis: Connection, shard: ShardKeys, uid: str) -> None:
    redis("HSET", shard.job(uid), "timeout", "soon")


def with_a_tick_that_is_no_number(redis: Connection, shard: ShardKeys, uid: str) -> None:
    redis("HSET", shard.job(uid), "tick", "0x10")


def with_a_token_beyond_all_numbers(redis: Connection, shard: ShardKeys, uid: str) -> None:
    redis("HSET", shard.job(uid), "token", "9" * 25)


def with_headers_that_are_no_json(redis: Connection, shard: ShardKeys, uid: str) -> None:
    redis("HSET", shard.job(uid), "headers", "{trace")


def with_headers_that_are_no_words(redis: Connection, shard: ShardKeys, uid: str) -> None:
    redis("HSET", shard.job(uid), "headers", "[1, 2]")


TEARS = [
    without_a_record,
    of_a_wrong_type,
    without_a_task,
    of_a_start_without_a_status,
    of_an_unknown_status,
    with_a_token_that_is_no_number,
    with_attempts_that_are_no_number,
    with_a_timeout_that_is_no_number,
    with_a_tick_that_is_no_number,
    with_a_token_beyond_all_numbers,
    with_headers_that_are_no_json,
    with_headers_that_are_no_words,
]


@pytest.mark.parametrize("tear", TEARS, ids=lambda tear: getattr(tear, "__name__", ""))
async def test_a_torn_record_is_set_aside_and_the_others_of_its_batch_go_on(
    *,
    app: Capelin[None],
    redis_server: RedisServer,
    running_worker: RunningWorker,
    ledger: Ledger,
    logged: Lines,
    tear: Tear,
) -> None:
    jobs = await app.enqueue([add_of(app).job(number) for number in range(21)])
    torn = jobs.pop(10)
    shard = app.keys.shard("default", 0)
    uid = torn.id.rsplit(".", 1)[1]
    with redis_server.connect() as redis:
        tear(redis, shard, uid)
    worker = await running_worker(app)
    assert [await job.result(timeout=10) for job in jobs] == [*range(1, 11), *range(12, 22)]
    await wait_until(
        lambda: redis_server.command("XLEN", shard.dlq) == 1, description="the torn job in the DLQ"
    )
    later = await add_of(app).enqueue(100)
    assert await later.result(timeout=10) == 101
    assert tells_of(logged, uid)
    assert ledger.starts_of() == {job.id: 1 for job in [*jobs, later]}
    await worker.stop()
    census = take_census(redis_server)
    assert census[torn.id].places == ["dlq"]
    assert census.statuses["completed"] == 21


def tells_of(logged: Lines, word: str) -> bool:
    """Whether an error was logged in which this word occurs."""
    return any(line["log_level"] == "error" and word in str(line) for line in logged)


@pytest.mark.parametrize(
    "fields",
    [
        ("colour", "blue"),
        ("j", "no-such-job"),
        ("j", ""),
        ("j", b"\xff\xfe"),
        ("j", "a b"),
        ("J", "x", "j", "y"),
    ],
    ids=["no-job", "unknown", "empty", "no-text", "no-name", "not-first"],
)
async def test_an_alien_entry_is_set_aside_and_the_others_of_its_batch_go_on(
    app: Capelin[None],
    redis_server: RedisServer,
    running_worker: RunningWorker,
    logged: Lines,
    fields: tuple[str | bytes, ...],
) -> None:
    shard = app.keys.shard("default", 0)
    stream = f"{shard.base}:stream:normal"
    jobs = await app.enqueue([add_of(app).job(number) for number in range(10)])
    entry = str(redis_server.command("XADD", stream, "*", *fields))
    jobs += await app.enqueue([add_of(app).job(number) for number in range(10, 20)])
    worker = await running_worker(app)
    assert [await job.result(timeout=10) for job in jobs] == list(range(1, 21))
    await wait_until(lambda: redis_server.command("XLEN", shard.dlq) == 1, description="the entry in the DLQ")
    await worker.stop()
    assert redis_server.command("XLEN", stream) == 0
    assert any(
        line["event"] == "unreadable entries set aside in the DLQ" and len(line["entries"]) == 1
        for line in logged
    ), (entry, logged)
    redis_server.command("DEL", shard.dlq)


@pytest.mark.parametrize("place", ["scheduled", "parked:add"])
async def test_an_alien_member_of_a_set_is_set_aside_and_the_others_go_on(
    app: Capelin[None], redis_server: RedisServer, running_worker: RunningWorker, place: str
) -> None:
    shard = app.keys.shard("default", 0)
    jobs = await app.enqueue([add_of(app).options(delay=0.01).job(number) for number in range(10)])
    redis_server.command("ZADD", f"{shard.base}:{place}", 1, "no-such-job")
    await running_worker(app)
    assert [await job.result(timeout=10) for job in jobs] == list(range(1, 11))
    await wait_until(
        lambda: redis_server.command("XLEN", shard.dlq) == 1, description="the member in the DLQ"
    )
    assert redis_server.command("EXISTS", f"{shard.base}:{place}") == 0
    redis_server.command("DEL", shard.dlq)


@pytest.mark.parametrize("field", ["task", "d", "retry", "parent", "correlation", "batch", "priority"])
async def test_a_text_that_is_no_text_costs_no_other_job_its_start(
    app: Capelin[None], redis_server: RedisServer, running_worker: RunningWorker, field: str
) -> None:
    jobs = await app.enqueue([add_of(app).job(number) for number in range(21)])
    torn = jobs.pop(10)
    redis_server.command("HSET", record_of(app, torn), field, b"\xff\xfe")
    await running_worker(app)
    assert [await job.result(timeout=10) for job in jobs] == [*range(1, 11), *range(12, 22)]

    async def settled() -> bool:
        return await torn.status() in {JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.PARKED}

    await wait_until(settled, description="the torn job to be somewhere")


async def test_a_record_that_is_torn_while_its_job_runs_is_set_aside_and_its_outcome_refused(
    app: Capelin[None], redis_server: RedisServer, running_worker: RunningWorker, logged: Lines
) -> None:
    gate = asyncio.Event()

    @app.task
    async def wait(number: int) -> int:
        await gate.wait()
        return number

    worker = await running_worker(app)
    jobs = await app.enqueue([wait.job(number) for number in range(11)])
    torn = jobs.pop(5)
    shard = app.keys.shard("default", 0)

    async def all_run() -> bool:
        return {await job.status() for job in [torn, *jobs]} == {JobStatus.RUNNING}

    await wait_until(all_run, description="all jobs to run")
    redis_server.command("DEL", record_of(app, torn))
    gate.set()
    assert [await job.result(timeout=10) for job in jobs] == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10]
    await wait_until(
        lambda: redis_server.command("XLEN", shard.dlq) == 1, description="the torn job in the DLQ"
    )
    await worker.stop()
    assert redis_server.command("XLEN", f"{shard.base}:stream:normal") == 0
    refused = [line for line in logged if line["event"] == "outcome refused"]
    assert [line["job"] for line in refused] in ([torn.id], [])  # not even sent when the renewal came first


@pytest.mark.parametrize(
    ("field", "value"), [("worker", "nobody"), ("status", "dreaming"), ("token", "9" * 25)], ids=str
)
async def test_a_record_that_lies_while_its_job_runs_is_set_aside_by_the_next_renewal(
    *,
    app: Capelin[None],
    redis_server: RedisServer,
    running_worker: RunningWorker,
    logged: Lines,
    field: str,
    value: str,
) -> None:
    gate = asyncio.Event()

    @app.task
    async def wait() -> None:
        await gate.wait()

    await running_worker(app)
    job = await wait.enqueue()

    async def runs() -> bool:
        return await job.status() == JobStatus.RUNNING

    await wait_until(runs, description="the job to run")
    redis_server.command("HSET", record_of(app, job), field, value)
    gate.set()
    shard = app.keys.shard("default", 0)
    await wait_until(lambda: redis_server.command("XLEN", shard.dlq) == 1, description="the job in the DLQ")
    assert await job.status() == JobStatus.FAILED
    await wait_until(lambda: tells_of(logged, job.id.rsplit(".", 1)[1]), description="somebody to be told")
    assert redis_server.command("XLEN", f"{shard.base}:stream:normal") == 0
    assert await (await add_of(app).enqueue(1)).result(timeout=10) == 2


async def test_messages_that_make_no_sense_stop_no_worker(
    app: Capelin[None], redis_server: RedisServer, running_worker: RunningWorker
) -> None:
    @app.task
    async def hold() -> None:
        await asyncio.Event().wait()

    worker = await running_worker(app)
    job = await hold.enqueue()

    async def has_status(status: JobStatus) -> bool:
        return await job.status() == status

    await wait_until(lambda: has_status(JobStatus.RUNNING), description="the job to run")
    inbox = app.keys.inbox(worker.id)
    for kind in ("parked", "cancel", "nothing", b"\xff"):
        for data in ('{"job": "other.0.x"}', '{"job": "default.99999.x"}', '{"job": 5}', "[]", b"\xff", ""):
            redis_server.command("XADD", inbox, "*", "kind", kind, "data", data)
    redis_server.command("XADD", inbox, "*", "odd", "entry")
    # Messages are read in order: when this one is heeded, the others were met.
    await job.cancel()
    await wait_until(lambda: has_status(JobStatus.CANCELLED), description="the job to end")
    assert not worker.task.done()
    assert await (await add_of(app).enqueue(1)).result(timeout=10) == 2


async def test_a_retry_policy_that_cannot_be_read_loses_no_attempt_and_no_outcome(
    app: Capelin[None], redis_server: RedisServer, running_worker: RunningWorker
) -> None:
    attempts = 0

    @app.task(retry=RetryPolicy(stop=stop_after_attempt(2), wait=wait_none()))
    async def fail() -> None:
        nonlocal attempts
        attempts += 1
        raise OSError("down")

    job = await fail.enqueue()
    redis_server.command("HSET", record_of(app, job), "retry", '{"stop": {"no_such_stop": []}}')
    await running_worker(app)
    with pytest.raises(JobFailed, match="OSError: down"):
        await job.result(timeout=10)
    assert attempts == 2  # as its task says


async def test_a_deadline_beyond_the_calendar_is_no_poison(
    app: Capelin[None], running_worker: RunningWorker
) -> None:
    await running_worker(app)
    job = await add_of(app).options(timeout=1e18).enqueue(1)
    assert await job.result(timeout=10) == 2
    assert await (await add_of(app).enqueue(2)).result(timeout=10) == 3


class Unspeakable(Exception):
    """An exception that raises whatever is asked of it."""

    def __str__(self) -> str:
        raise RuntimeError("no")

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"no {name}")


class Escape(BaseException):
    """Not even an Exception."""


@pytest.mark.parametrize("error", [Unspeakable, Escape, SystemExit, KeyboardInterrupt, GeneratorExit])
async def test_whatever_a_task_raises_ends_its_attempt_and_nothing_else(
    app: Capelin[None], running_worker: RunningWorker, error: type[BaseException]
) -> None:
    @app.task(retry=RetryPolicy(stop=stop_after_attempt(1)))
    async def fail() -> None:
        raise error("now")

    worker = await running_worker(app)
    job = await fail.enqueue()
    with pytest.raises(JobFailed) as caught:
        await job.result(timeout=10)
    assert caught.value.error_type == error.__name__
    assert await (await add_of(app).enqueue(2)).result(timeout=10) == 3
    assert not worker.task.done()
