"""Waiting for results over a network that breaks, and how little it costs."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable

import pytest

from capelin import _waiting, lua
from capelin.lua import OutcomeKind, Verdict
from tests.conformance.conftest import Shop
from tests.conftest import OwnRedis
from tests.support.commands import CommandRecorder, counting_commands
from tests.support.proxy import RedisProxy, mentions
from tests.support.resp import Reply
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until

Proxied = Callable[[str], RedisProxy]


class Setting:
    """A shop whose client is behind a proxy, and one with a worker that is not."""

    def __init__(self, proxy: RedisProxy, server: RedisServer) -> None:
        self.proxy, self.server = proxy, server
        self.shop, self.factory = Shop(proxy.url), Shop(server.url)

    async def waiter(self, number: int = 1) -> "asyncio.Task[int]":
        """Enqueue a job and wait for its result."""
        job = await self.shop.risky.enqueue(number)
        task = asyncio.create_task(job.result(timeout=30))
        uid = job.id.rsplit(".", 1)[1]
        key = self.shop.app.keys.shard("default", job.shard).job(uid)
        await wait_until(
            lambda: self.server.command("HEXISTS", key, "waited"), description="the waiter to be noted"
        )
        return task


@pytest.fixture
async def setting(proxied: Proxied, redis_server: RedisServer) -> AsyncIterator[Setting]:
    setting = Setting(proxied(redis_server.url), redis_server)
    async with setting.shop.app, setting.factory.app:
        yield setting


async def test_an_end_that_was_missed_while_the_socket_was_down_is_read_after_the_reconnect(
    setting: Setting,
) -> None:
    waiter = await setting.waiter()
    setting.proxy.refuse()
    await setting.factory.hand.complete(result="5")
    await asyncio.wait([waiter], timeout=0.2)
    assert not waiter.done()
    setting.proxy.accept()
    assert await asyncio.wait_for(waiter, _waiting.REREAD_SECONDS - 1) == 5


async def test_a_dropped_socket_is_noticed_and_replaced(setting: Setting) -> None:
    waiter = await setting.waiter()
    setting.proxy.drop_all()
    await wait_until(lambda: setting.proxy.connections == 2, description="the client to connect anew")
    await setting.factory.hand.complete(result="5")
    assert await waiter == 5


async def test_a_wait_outlives_several_interruptions(setting: Setting) -> None:
    waiter = await setting.waiter()
    fault = setting.proxy.cut_before(mentions("subscribe"), times=2)
    setting.proxy.drop_all()
    await wait_until(lambda: fault.hits == 2, description="two attempts to be cut")
    await setting.factory.hand.complete(result="5")
    assert await waiter == 5


async def test_an_end_that_nobody_announced_is_found_by_reading_again(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_waiting, "REREAD_SECONDS", 0.2)
    waiter = await setting.waiter()
    shard, delivery = await setting.factory.hand.take_one()
    key = setting.factory.app.keys.shard("default", shard).job(delivery.uid)
    with setting.server.connect() as redis:
        # In one step, so that no reading comes in between and marks the job again.
        redis.pipeline(
            ("MULTI",),
            ("HDEL", key, "waited"),
            ("HSET", key, "status", "completed", "result", "5"),
            ("EXEC",),
        )
        assert await waiter == 5
        redis("HSET", key, "status", "running")
        redis("HDEL", key, "result")
    verdict = await setting.factory.hand.finish("default", shard, delivery, OutcomeKind.COMPLETE, "5")
    assert verdict is Verdict.RECORDED


async def test_a_result_arrives_while_redis_is_full(own_redis: OwnRedis) -> None:
    server = own_redis()
    shop = Shop(server.url)
    async with shop.app:
        job = await shop.risky.enqueue(1)
        server.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
        server.command("CONFIG", "SET", "maxmemory", "1")
        waiter = asyncio.create_task(job.result(timeout=30))
        key = shop.app.keys.shard("default", job.shard).job(job.id.rsplit(".", 1)[1])
        await wait_until(
            lambda: server.command("HEXISTS", key, "waited"), description="the waiter to be noted"
        )
        await shop.hand.complete(result="5")
        assert await waiter == 5


async def test_a_hundred_waiters_share_two_sockets_and_do_not_poll(setting: Setting) -> None:
    jobs = await setting.shop.app.enqueue([setting.shop.risky.job(n) for n in range(100)])
    waiters = [asyncio.create_task(job.result(timeout=60)) for job in jobs]
    keys = [
        setting.factory.app.keys.shard("default", job.shard).job(job.id.rsplit(".", 1)[1]) for job in jobs
    ]
    with setting.server.connect() as redis:
        await wait_until(
            lambda: all(redis.pipeline(*[("HEXISTS", key, "waited") for key in keys])),
            description="all waiters to be noted",
        )
    assert setting.proxy.connections == 2
    with counting_commands(setting.server) as counts:
        await asyncio.wait(waiters, timeout=1)
    assert counts.total() == 0
    for shard, delivery in await setting.factory.hand.take(count=100):
        number = json.loads(delivery.args)[0][0]
        await setting.factory.hand.finish("default", shard, delivery, OutcomeKind.COMPLETE, str(number))
    assert await asyncio.gather(*waiters) == list(range(100))
    assert setting.proxy.connections == 2


async def test_all_jobs_that_are_waited_for_are_read_again_in_one_pipeline(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_waiting, "REREAD_SECONDS", 1.0)
    waiters = [await setting.waiter(n) for n in range(5)]
    watch = lua.watch(setting.shop.app.keys.shard("default", 0), uid="x").script.sha
    with CommandRecorder(setting.server) as recorder:
        await wait_until(lambda: len(recorder.sent("evalsha")) >= 5, description="the jobs to be read again")
    seen = [command for command in recorder.sent("evalsha") if watch in command.words]
    assert len(seen) == 5
    for shard, delivery in await setting.factory.hand.take():
        await setting.factory.hand.finish("default", shard, delivery, OutcomeKind.COMPLETE, "5")
    assert await asyncio.gather(*waiters) == [5] * 5


async def test_who_stops_waiting_leaves_nothing_behind(setting: Setting) -> None:
    first, second = await setting.waiter(1), await setting.waiter(2)
    first.cancel()
    await asyncio.wait([first])
    with setting.server.connect() as redis:
        await wait_until(
            lambda: len(_list(redis("PUBSUB", "CHANNELS"))) == 1, description="one channel to be left"
        )
        second.cancel()
        await asyncio.wait([second])
        await wait_until(lambda: not _list(redis("PUBSUB", "CHANNELS")), description="no channel to be left")


async def test_closing_the_app_ends_the_waits(setting: Setting) -> None:
    waiter = await setting.waiter()
    await setting.shop.app.close()
    await asyncio.wait([waiter], timeout=5)
    assert waiter.cancelled()


def _list(reply: Reply) -> list[Reply]:
    assert isinstance(reply, list)
    return reply
