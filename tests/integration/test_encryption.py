"""Encrypted jobs, end to end: what Redis holds, who can run and read them, and what a lacking key does."""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from capelin import (
    Capelin,
    FailedJob,
    Job,
    JobFailed,
    JobStatus,
    KeyMissing,
    Reject,
    Settings,
    current_job,
)
from capelin.connection import connect
from capelin.ids import JobId
from capelin.sealing import new_key, seal_of
from tests.conftest import OwnRedis
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until
from tests.support.workers import QUICK, RunningWorker

OLD, NEW = new_key(), new_key()
SECRET = "sesame"  # noqa: S105 -- what Redis must not hold


def settings(keys: str) -> Settings:
    return Settings.model_validate(QUICK.model_dump() | {"encryption_keys": keys})


@dataclass
class Shop:
    """An app, and what its tasks saw."""

    url: str
    keys: str = OLD
    seen: list[Any] = field(default_factory=list[Any])

    def __post_init__(self) -> None:
        self.app = app = Capelin(self.url, name="shop", settings=settings(self.keys))

        @app.task
        async def told(failure: FailedJob) -> None:
            self.seen.append(failure)

        @app.task
        async def after(word: str) -> None:
            self.seen.append(word)

        @app.task
        async def echo(word: str, *, twice: bool = False) -> str:
            self.seen.append(word)
            return word * (2 if twice else 1)

        @app.task(on_failure=told)
        async def fail(word: str) -> None:
            if current_job().attempt == 1:
                raise Reject(f"{word} is wrong")

        self.told, self.after, self.echo, self.fail = told, after, echo, fail


@pytest.fixture
def server(own_redis: OwnRedis) -> RedisServer:
    return own_redis(config={"rdbcompression": "no"})


def everything(server: RedisServer) -> bytes:
    """All that the server holds."""
    found = b""
    with server.connect() as redis:
        for key in sorted(server.keys()):
            redis.send("DUMP", key)
            reply: Any = redis.read()
            found += key.encode() + (
                reply if isinstance(reply, bytes) else str(reply).encode("latin-1", "replace")
            )
    return found


async def test_redis_holds_no_word_of_what_jobs_carry(
    server: RedisServer, running_worker: RunningWorker
) -> None:
    plain, shop = Shop(server.url, keys=""), Shop(server.url)
    async with plain.app:
        await plain.echo.options(delay=3600).enqueue("openly")
        assert b"openly" in everything(server)
    async with shop.app:
        job = await shop.echo.options(then=shop.after.job(SECRET)).enqueue(SECRET, twice=True)
        dead = await shop.fail.enqueue(SECRET)
        later = await shop.echo.options(delay=3600).enqueue(SECRET)
        await shop.app.schedule("daily", "0 9 * * *", shop.echo.job(SECRET))
        await running_worker(shop.app)
        assert await job.result(timeout=20) == SECRET * 2
        with pytest.raises(JobFailed, match=f"{SECRET} is wrong"):
            await dead.result(timeout=20)
        await wait_until(lambda: len(shop.seen) == 3, description="the jobs that followed to run")
        assert SECRET.encode() not in everything(server)
        # And who has the key sees it all.
        assert (await later.info()).args == (SECRET,)
        info = await dead.info()
        assert info.error is not None
        assert info.error.message == f"{SECRET} is wrong"
        assert SECRET in str(info.failures[0].error and info.failures[0].error.traceback)
        [failure] = [seen for seen in shop.seen if isinstance(seen, FailedJob)]
        assert failure.args == ([SECRET], {})
        assert failure.error.message == f"{SECRET} is wrong"
        assert (await shop.app.schedules.info("daily")).args == (SECRET,)
        await later.cancel()


async def test_a_worker_without_the_key_parks_the_job_for_one_that_has_it(
    server: RedisServer, running_worker: RunningWorker
) -> None:
    shop, blind = Shop(server.url), Shop(server.url, keys="")
    async with shop.app, blind.app:
        await running_worker(blind.app)
        job = await shop.echo.enqueue(SECRET)
        await wait_until(lambda: _is(job, JobStatus.PARKED), description="the job to be parked")
        info = await blind.app.job(job.id).info()
        assert info.parked_by == f"key:{seal_of(OLD).key_ids[0]}"
        assert (info.encrypted, info.args) == (True, ())
        starts = info.token
        # The same blind worker, or another, does not try again and again.
        await running_worker(blind.app)
        assert (await job.info()).token == starts
        await running_worker(shop.app)
        assert await job.result(timeout=20) == SECRET
        assert (blind.seen, shop.seen) == ([], [SECRET])
        assert (await job.info()).attempt == 0


async def test_a_result_that_cannot_be_decrypted_says_which_key_lacks(
    server: RedisServer, running_worker: RunningWorker
) -> None:
    shop, blind = Shop(server.url), Shop(server.url, keys=NEW)
    async with shop.app, blind.app:
        await running_worker(shop.app)
        job = await shop.echo.enqueue(SECRET)
        dead = await shop.fail.enqueue(SECRET)
        await job.result(timeout=20)
        with pytest.raises(KeyMissing, match=seal_of(OLD).key_ids[0]):
            await blind.app.job(job.id).result(timeout=20)
        with pytest.raises(JobFailed, match="encrypted"):
            await blind.app.job(dead.id).result(timeout=20)


async def test_keys_are_rotated_without_a_pause(server: RedisServer, running_worker: RunningWorker) -> None:
    # First every process learns the new key, then they begin to use it, and at last forget the old one.
    before = Shop(server.url, keys=f"{OLD},{NEW}")
    both, after = Shop(server.url, keys=f"{NEW},{OLD}"), Shop(server.url, keys=NEW)
    async with before.app, both.app, after.app:
        old = await before.echo.enqueue("old")
        new = await both.echo.enqueue("new")
        await running_worker(both.app)
        assert await old.result(timeout=20) == "old"
        assert await new.result(timeout=20) == "new"
        assert await after.app.job(new.id, after.echo).result(timeout=20) == "new"


async def test_jobs_of_before_there_were_keys_still_run(
    server: RedisServer, running_worker: RunningWorker
) -> None:
    plain, shop = Shop(server.url, keys=""), Shop(server.url)
    async with plain.app, shop.app:
        job = await plain.echo.enqueue("old")
        await running_worker(shop.app)
        assert await shop.app.job(job.id, shop.echo).result(timeout=20) == "old"


async def test_arguments_that_were_moved_to_another_task_go_to_the_dead_letters(
    server: RedisServer, running_worker: RunningWorker
) -> None:
    shop = Shop(server.url)
    async with shop.app:
        good = await shop.echo.options(delay=3600).enqueue(SECRET)
        moved = await shop.after.options(delay=3600).enqueue("other")
        connection = connect(server.url)
        keys = [
            shop.app.keys.shard(job.queue, job.shard).job(job.id.rpartition(".")[2]) for job in (good, moved)
        ]
        await connection.command("HSET", keys[1], "a", await connection.command("HGET", keys[0], "a"))
        await connection.close()
        await running_worker(shop.app)
        for job in (good, moved):
            await shop.app.client().replay(JobId.parse(job.id))
        assert await good.result(timeout=20) == SECRET
        with pytest.raises(JobFailed, match="SealBroken"):
            await moved.result(timeout=20)
        assert shop.seen == [SECRET]


async def test_process_tasks_and_tests_of_apps_know_nothing_of_it(memory_url: str) -> None:
    shop = Shop(memory_url)
    async with shop.app.testing() as t:
        job = await shop.echo.enqueue(SECRET)
        assert t.enqueued(shop.echo, SECRET)
        await t.drain(raise_errors=True)
        assert await job.result() == SECRET


async def test_a_schedule_is_not_taken_for_changed_at_each_start(
    server: RedisServer, running_worker: RunningWorker
) -> None:
    def app() -> Capelin[None]:
        made = Capelin(server.url, name="shop", settings=settings(OLD))

        @made.cron("0 9 * * *", args=(SECRET,))
        async def digest(word: str) -> None:
            del word

        return made

    async with app() as first, app() as second:
        await running_worker(first)
        await wait_until(lambda: _stored(first), description="the schedule to be written")
        before = await _stored(first)
        await running_worker(second)
        await second.schedules.ls()
        assert await _stored(second) == before
        assert SECRET not in str(before)
        assert (await second.schedules.ls())[0].args == (SECRET,)


async def _stored(app: Capelin[None]) -> list[Any]:
    found = await app.client().connection.command("HGETALL", app.keys.schedules_items)
    return [json.loads(text)["def"] for text in found[1::2]]


async def _is(job: Job[Any], status: JobStatus) -> bool:
    return await job.status() is status
