"""`min_replicas=`: an enqueue that returned is on so many replicas, and one that cannot say so tells.

What Redis promises then, and what not, is in docs/guarantees.md: WAIT is no consensus.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, suppress
from typing import Any

import pytest

from capelin import (
    Capelin,
    InvalidOption,
    Job,
    JobNotFound,
    JobStatus,
    NotReplicated,
    Settings,
    TaskOptions,
    lua,
)
from capelin.connection import connect
from capelin.keys import Keys
from capelin.lua import NewJob
from capelin.tasks import AsyncTask
from tests.conftest import OwnCluster, OwnRedis
from tests.support.ports import LOOPBACK
from tests.support.proxy import RedisProxy, mentions
from tests.support.resp import RespError
from tests.support.sentinel import Watched
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until, wait_until_sync

_SHARD = Keys("capelin").shard("default", 0)
ENQUEUE = mentions("evalsha", lua.enqueue(_SHARD, most=None, resend_window=1, jobs=()).script.sha)
WAIT = mentions("\r\nwait\r\n")
LATE = 0.2  # how long to wait for a replica of which the test knows that it will not answer


def an_app(url: str, **settings: float) -> tuple[Capelin[None], AsyncTask[[int], None]]:
    """An app with one task."""
    app = Capelin(url, settings=Settings.model_validate({"replication_timeout": 4} | settings))

    @app.task
    async def number(n: int) -> None:
        del n

    return app, number


def follow(replica: RedisServer, master: RedisServer) -> None:
    """Make one server the replica of another, and return when it has all of its data."""
    replica.command("REPLICAOF", LOOPBACK, master.port)
    wait_until_sync(
        lambda: (
            replica.info("replication").get("master_link_status") == "up"
            and master.info("replication").get("slave0", "").find("state=online") > 0
        ),
        description="the replica to follow its master",
    )


class Pair:
    """A master and its replica."""

    def __init__(self, own_redis: OwnRedis) -> None:
        quick: dict[str, str | int] = {"repl-diskless-sync-delay": 0}
        self.master, self.replica = own_redis(config=quick), own_redis(config=quick)
        follow(self.replica, self.master)


@pytest.fixture
def pair(own_redis: OwnRedis) -> Iterator[Pair]:
    """A master and its replica, which may be stopped."""
    made = Pair(own_redis)
    yield made
    if made.replica.running:
        made.replica.resume()


async def on(server: RedisServer, job: Job[Any]) -> bool:
    """Whether a server has a job, asked directly."""
    shard = Keys("capelin").shard(job.queue, job.shard)
    with server.connect() as redis, suppress(RespError):
        return redis("EXISTS", shard.job(job.id.rpartition(".")[2])) == 1
    return False


async def test_a_job_that_was_enqueued_is_on_the_replica(pair: Pair) -> None:
    app, number = an_app(pair.master.url)
    async with app:
        job = await number.options(min_replicas=1).enqueue(1)
        assert await on(pair.replica, job)
        pair.replica.pause()
        plain = await number.enqueue(2)  # and who does not ask is not made to wait
        assert await plain.status() is JobStatus.QUEUED


async def test_too_few_replicas_are_told_with_the_job_which_exists(pair: Pair) -> None:
    pair.replica.pause()
    app, number = an_app(pair.master.url, replication_timeout=LATE)
    async with app:
        with pytest.raises(NotReplicated, match="0 of 1 replicas confirmed it in time") as caught:
            await number.options(min_replicas=1).enqueue(1)
        error = caught.value
        assert (error.wanted, error.got, error.why) == (1, 0, None)
        assert error.jobs == error.lacking == [error.job]
        assert not error.retryable
        assert await error.job.status() is JobStatus.QUEUED
        with pytest.raises(NotReplicated) as caught:
            await number.options(min_replicas=2).enqueue(2)
        assert (caught.value.wanted, caught.value.got) == (2, 0)


async def test_a_server_without_replicas_says_so(redis_url: str) -> None:
    app, number = an_app(redis_url, replication_timeout=LATE)
    async with app:
        with pytest.raises(NotReplicated, match="0 of 1"):
            await number.options(min_replicas=1).enqueue(1)


async def test_of_many_jobs_each_is_asked_about_once_for_all(
    pair: Pair, proxied: Callable[[str], RedisProxy]
) -> None:
    proxy = proxied(pair.master.url)
    app, number = an_app(proxy.url)
    async with app:
        jobs = await app.enqueue([number.options(min_replicas=1).job(n) for n in range(1000)])
        assert len(jobs) == 1000
        with pair.master.connect() as redis:
            told = str(redis("INFO", "commandstats"))
        assert "cmdstat_wait:calls=1," in told
        assert all([await on(pair.replica, job) for job in jobs[::100]])


async def test_the_jobs_that_asked_for_more_than_there_is_are_told_apart(pair: Pair) -> None:
    app, number = an_app(pair.master.url, replication_timeout=1)
    async with app:
        with pytest.raises(NotReplicated) as caught:
            await app.enqueue(
                [number.job(0), number.options(min_replicas=1).job(1), number.options(min_replicas=2).job(2)]
            )
        error = caught.value
        assert [(await job.info()).args for job in error.jobs] == [(0,), (1,), (2,)]
        assert error.lacking == [error.jobs[2]]
        assert (error.wanted, error.got) == (2, 1)


async def test_an_enqueue_that_is_sent_again_is_not_taken_for_replicated(
    pair: Pair, proxied: Callable[[str], RedisProxy]
) -> None:
    """Its job is there already, so the second time writes none; and Redis vouches for what was written."""
    proxy = proxied(pair.master.url)
    app, number = an_app(proxy.url, replication_timeout=LATE)
    async with app:
        await number.enqueue(0)
        pair.replica.pause()
        lost = proxy.cut_reply_after(ENQUEUE)
        with pytest.raises(NotReplicated, match="0 of 1"):
            await number.options(min_replicas=1).enqueue(1)
        assert lost.hits == 1


@pytest.mark.parametrize("full", [False, True])
async def test_a_known_job_is_written_about_when_copies_are_asked_for(
    own_redis: OwnRedis, *, full: bool
) -> None:
    """From Redis 7.2 on, WAIT vouches for its connection's last write, and before for its last command."""
    server = own_redis(config={"save": ""})
    connection = connect(server.url)
    known = NewJob("a", "number")
    once = NewJob("b", "number", unique_key="x")

    async def changes(*jobs: NewJob, touch: bool) -> int:
        before = int(server.info("persistence")["rdb_changes_since_last_save"])
        await connection.run(lua.enqueue(_SHARD, most=None, resend_window=120_000, touch=touch, jobs=jobs))
        return int(server.info("persistence")["rdb_changes_since_last_save"]) - before

    assert await changes(known, once, touch=True) > 0
    if full:
        server.command("CONFIG", "SET", "maxmemory", 1)
    assert await changes(known, touch=False) == 0
    assert await changes(known, touch=True) > 0
    assert await changes(known, once, touch=True) > 0
    assert server.command("PTTL", _SHARD.meta) == -1
    await connection.close()


async def test_a_lost_answer_of_the_replicas_is_asked_for_again(
    pair: Pair, proxied: Callable[[str], RedisProxy]
) -> None:
    proxy = proxied(pair.master.url)
    app, number = an_app(proxy.url)
    async with app:
        lost = proxy.cut_reply_after(WAIT)
        job = await number.options(min_replicas=1).enqueue(1)
        assert lost.hits == 1
        assert not job.duplicate
        assert await on(pair.replica, job)
        keys = pair.master.keys()
        assert sum(":job:" in key for key in keys) == 1


async def test_a_duplicate_is_confirmed_like_a_new_job(pair: Pair) -> None:
    app, number = an_app(pair.master.url, replication_timeout=1)
    once = number.options(dedupe_key="x")
    async with app:
        pair.replica.pause()
        first = await once.enqueue(1)
        with pytest.raises(NotReplicated) as caught:
            await number.options(dedupe_key="x", min_replicas=1).enqueue(1)
        assert caught.value.job == first
        pair.replica.resume()
        again = await number.options(dedupe_key="x", min_replicas=1).enqueue(1)
        assert again.duplicate
        assert again == first
        assert await on(pair.replica, first)


async def test_a_full_redis_still_confirms_what_it_has(
    own_redis: OwnRedis, proxied: Callable[[str], RedisProxy]
) -> None:
    pair = Pair(own_redis)
    proxy = proxied(pair.master.url)
    app, number = an_app(proxy.url)
    async with app:
        await number.enqueue(0)
        held = proxy.cut_reply_after(ENQUEUE)

        def fill() -> bool:
            if held.hits:
                pair.master.command("CONFIG", "SET", "maxmemory", 1)
            return bool(held.hits)

        job, _ = await asyncio.gather(
            number.options(min_replicas=1).enqueue(1), wait_until(fill, description="the reply to be lost")
        )
        pair.master.command("CONFIG", "SET", "maxmemory", 0)
        assert await on(pair.replica, job)


async def test_others_do_not_wait_for_replicas_that_are_late(pair: Pair) -> None:
    app, number = an_app(pair.master.url, replication_timeout=4)
    async with app:
        await number.enqueue(0)
        pair.replica.pause()
        slow = asyncio.create_task(number.options(min_replicas=1).enqueue(1))
        await wait_until(
            lambda: "blocked_clients:1" in str(pair.master.command("INFO", "clients")),
            description="an enqueue to wait for the replica",
        )
        for n in range(20):
            await number.enqueue(n)
        assert not slow.done()
        pair.replica.resume()
        await slow


async def test_a_hundred_who_wait_for_a_replica_that_is_gone_wait_together(pair: Pair) -> None:
    app, number = an_app(pair.master.url, replication_timeout=LATE)
    async with app:
        await number.enqueue(0)
        pair.replica.pause()
        ends = await asyncio.gather(
            *(number.options(min_replicas=1).enqueue(n) for n in range(100)), return_exceptions=True
        )
        assert {type(end) for end in ends} == {NotReplicated}
        with pair.master.connect() as redis:
            waits = str(redis("INFO", "commandstats")).partition("cmdstat_wait:calls=")[2].partition(",")[0]
        assert int(waits) <= 3


def test_code_without_an_event_loop_is_told_too(pair: Pair) -> None:
    app, number = an_app(pair.master.url, replication_timeout=1)
    try:
        job = number.options(min_replicas=1).enqueue_sync(1)
        assert asyncio.run(on(pair.replica, job))
        pair.replica.pause()
        with pytest.raises(NotReplicated) as caught:
            number.options(min_replicas=1).enqueue_sync(2)
        assert caught.value.job.status_sync() is JobStatus.QUEUED
    finally:
        app.close_sync()


async def test_a_task_an_app_or_the_settings_can_ask_for_all_their_jobs(redis_url: str) -> None:
    late = Settings(replication_timeout=LATE)
    apps = [
        Capelin(redis_url, settings=late),
        Capelin(redis_url, settings=late, defaults=TaskOptions(min_replicas=1)),
        Capelin(redis_url, settings=Settings(replication_timeout=LATE, min_replicas=1)),
    ]

    async def pay() -> None: ...

    for place, app in enumerate(apps):
        task = app.task(min_replicas=1)(pay) if place == 0 else app.task(pay)
        async with app:
            with pytest.raises(NotReplicated):
                await task.enqueue()
            await task.options(min_replicas=0).enqueue()


async def test_in_process_there_is_nothing_that_could_lack(memory_url: str) -> None:
    app, number = an_app(memory_url)
    async with app, AsyncExitStack() as stack:
        job = await number.options(min_replicas=2, fsync=True).enqueue(1)
        assert await job.status() is JobStatus.QUEUED
        t = await stack.enter_async_context(app.testing())
        await number.options(min_replicas=2).enqueue(1)
        assert t.enqueued(number)


@pytest.mark.parametrize("value", [-1, 1.5, True, "1"])
def test_a_number_of_replicas_that_makes_no_sense_is_refused(value: Any) -> None:
    _, number = an_app("memory://")
    with pytest.raises(InvalidOption, match="min_replicas"):
        number.options(min_replicas=value)
    with pytest.raises(InvalidOption, match="min_replicas"):
        TaskOptions(min_replicas=value)
    with pytest.raises(InvalidOption, match="fsync"):
        number.options(fsync=1)  # type: ignore[arg-type]


async def test_disks_are_waited_for_or_it_is_said_why_not(own_redis: OwnRedis) -> None:
    server = own_redis(appendonly=True)
    app, number = an_app(server.url)
    async with app:
        if _has_waitaof(server):
            job = await number.options(fsync=True).enqueue(1)
            server.kill()
            server.restart()
            assert await job.status() is JobStatus.QUEUED
            server.command("CONFIG", "SET", "appendonly", "no")
            reason = "appendonly is disabled"
        else:
            reason = "unknown command"
        with pytest.raises(NotReplicated, match=reason) as caught:
            await number.options(fsync=True).enqueue(1)
        assert await caught.value.job.status() is JobStatus.QUEUED


def _has_waitaof(server: RedisServer) -> bool:
    with server.connect() as redis:
        return redis("COMMAND", "INFO", "WAITAOF") != [None]


# Failovers.


async def _lost(jobs: list[Job[Any]]) -> list[str]:
    lost: list[str] = []
    for job in jobs:
        try:
            await job.status()
        except JobNotFound:
            lost.append(job.id)
    return lost


async def test_a_failover_takes_no_job_that_the_replica_confirmed(own_redis: OwnRedis) -> None:
    del own_redis  # it skips where there is no Redis
    with Watched() as watched:
        app, number = an_app(watched.url, enqueue_timeout=20)
        async with app:
            counted: list[int] = []

            async def kill_the_master() -> None:
                await wait_until(lambda: len(counted) > 200, description="jobs to be enqueued")
                watched.master.kill()
                await wait_until(
                    lambda: watched.replica.info("replication")["role"] == "master",
                    description="the replica to take over",
                    timeout=30,
                )

            killed = asyncio.create_task(kill_the_master())
            jobs: list[Job[None]] = []
            while not killed.done():
                with suppress(NotReplicated):  # whoever is alone now has nobody to confirm
                    jobs.append(await number.options(min_replicas=1).enqueue(len(jobs)))
                counted.append(1)
            await killed
            assert len(jobs) > 200
            assert await _lost([*jobs]) == []


async def test_what_the_replica_did_not_confirm_a_failover_does_take(pair: Pair) -> None:
    """The other side of it: here Redis itself loses an acknowledged job, and capelin had said so."""
    app, number = an_app(pair.master.url, replication_timeout=1)
    survivor, _ = an_app(pair.replica.url)
    async with app, survivor:
        kept = await number.options(min_replicas=1).enqueue(1)
        # From here on it hears nothing; what is on its way to a paused process would still arrive.
        pair.replica.pause()
        pair.master.command("CLIENT", "KILL", "TYPE", "replica")
        with pytest.raises(NotReplicated) as caught:
            await number.options(min_replicas=1).enqueue(2)
        pair.master.kill()
        pair.replica.resume()
        pair.replica.command("REPLICAOF", "NO", "ONE")
        assert await survivor.job(kept.id).status() is JobStatus.QUEUED
        with pytest.raises(JobNotFound):
            await survivor.job(caught.value.job.id).status()


@pytest.mark.slow
async def test_a_failover_of_a_cluster_takes_no_job_that_a_replica_confirmed(own_cluster: OwnCluster) -> None:
    cluster = own_cluster(replicas=1, node_timeout=1)
    app, number = an_app(cluster.url, enqueue_timeout=20)
    async with app:
        await app.enqueue([number.options(min_replicas=1).job(n) for n in range(100)])
        victim = cluster.masters[0]
        counted: list[int] = []

        async def kill_a_master() -> None:
            await wait_until(lambda: len(counted) > 100, description="jobs to be enqueued")
            victim.kill()
            await wait_until(
                lambda: len(cluster.running_masters) == len(cluster.masters),
                description="a replica to take over",
                timeout=30,
            )

        killed = asyncio.create_task(kill_a_master())
        jobs: list[Job[None]] = []
        while not killed.done():
            with suppress(NotReplicated):
                jobs.append(await number.options(min_replicas=1).enqueue(len(jobs)))
            counted.append(1)
        await killed
        assert await _lost([*jobs]) == []


async def test_in_a_cluster_the_node_of_the_shard_is_asked(own_cluster: OwnCluster) -> None:
    cluster = own_cluster(replicas=1)
    app, number = an_app(cluster.url, replication_timeout=1)
    with ExitStack() as stack:
        async with app:
            await app.enqueue([number.options(min_replicas=1).job(n) for n in range(100)])
            keys = Keys("capelin")
            owners = {n: cluster.owner_of(cluster.slot_of(keys.shard("default", n).meta)) for n in range(8)}
            muted = owners[0]
            replica = next(
                node
                for node in cluster.replicas
                if node.info("replication")["master_port"] == str(muted.port)
            )
            replica.pause()
            stack.callback(replica.resume)
            with pytest.raises(NotReplicated) as caught:
                await app.enqueue([number.options(min_replicas=1).job(n) for n in range(200)])
            assert len(caught.value.jobs) == 200
            lacking = {job.shard for job in caught.value.lacking}
            assert lacking == {shard for shard, owner in owners.items() if owner is muted}
