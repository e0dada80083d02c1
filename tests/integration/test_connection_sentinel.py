"""What a connection does with Sentinel: finds the master, and the new one after a failover."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import pytest

from capelin.connection import connect
from capelin.errors import ConfigurationError, Unreachable
from tests.conftest import OwnRedis
from tests.support.resp import encode, read_frame
from tests.support.scripts import add
from tests.support.sentinel import Watched
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until

FakeSentinels = Callable[[int, RedisServer], Coroutine[Any, Any, "tuple[list[FakeSentinel], str]"]]

pytestmark = pytest.mark.leaves_keys(reason="plain keys to try the connection on")


@pytest.fixture
def watched(redis_server: RedisServer) -> Iterator[Watched]:
    """A master with a replica and a sentinel; `redis_server` skips where there is no Redis at all."""
    del redis_server
    with Watched() as watched:
        yield watched


@pytest.fixture
async def fake_sentinels() -> AsyncIterator[FakeSentinels]:
    """A factory of sentinels that all name the same master at first; also gives the URL."""
    started: list[FakeSentinel] = []

    async def start(count: int, named: RedisServer) -> tuple[list[FakeSentinel], str]:
        sentinels = [FakeSentinel(named) for _ in range(count)]
        started.extend(sentinels)
        addresses = [await sentinel.start() for sentinel in sentinels]
        return sentinels, f"redis+sentinel://{','.join(addresses)}/main"

    yield start
    for sentinel in started:
        await sentinel.stop()


async def test_the_master_is_found_and_after_a_failover_the_new_one(watched: Watched) -> None:
    connection = connect(watched.url, socket_timeout=1)
    assert await connection.run(add("counter")) == 1
    assert await connection.masters() == [f"127.0.0.1:{watched.master.port}"]
    await connection.command("WAIT", 1, 1000)
    waiting = asyncio.create_task(connection.pop(["wake"], 0.9))

    watched.master.kill()
    with pytest.raises(Unreachable):
        await connection.run(add("other"))
    with pytest.raises(Unreachable):
        await waiting

    async def works() -> bool:
        try:
            return await connection.run(add("counter")) == 2
        except Unreachable:
            return False

    await wait_until(works, description="the replica to have been promoted and found", timeout=60)
    assert await connection.masters() == [f"127.0.0.1:{watched.replica.port}"]
    assert await connection.pop(["wake"], 0.05) is None
    await connection.close()


@pytest.mark.slow
async def test_a_failover_that_leaves_the_old_master_as_a_replica_is_noticed(watched: Watched) -> None:
    connection = connect(watched.url, socket_timeout=1)
    assert await connection.run(add("counter")) == 1
    await connection.command("WAIT", 1, 1000)

    await asyncio.to_thread(watched.sentinel.fail_over)

    async def moved() -> bool:
        try:
            await connection.run(add("counter"))
        except Unreachable:
            return False
        return await connection.masters() == [f"127.0.0.1:{watched.replica.port}"]

    await wait_until(moved, description="the new master to be used", timeout=60)
    await connection.close()


async def test_a_service_that_no_sentinel_knows_is_a_mistake_of_configuration(watched: Watched) -> None:
    connection = connect(f"redis+sentinel://{watched.sentinel.address}/nonsense")

    with pytest.raises(ConfigurationError, match="no sentinel knows a service 'nonsense'"):
        await connection.run(add("counter"))
    await connection.close()


async def test_when_no_sentinel_answers_every_one_is_named() -> None:
    connection = connect("redis+sentinel://127.0.0.1:1,127.0.0.1:2/main")

    with pytest.raises(Unreachable) as refusal:
        await connection.run(add("counter"))

    assert "127.0.0.1:1: connection refused; 127.0.0.1:2: connection refused" in str(refusal.value)
    await connection.close()


class FakeSentinel:
    """Says what it is told to say, as a sentinel that has heard of a failover, or has not."""

    def __init__(self, named: RedisServer) -> None:
        self.named, self.asked = named, 0
        self._server: asyncio.Server

    async def start(self) -> str:
        """Begin to listen; the address."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                if b"GET-MASTER" in await read_frame(reader):
                    self.asked += 1
                    writer.write(encode("127.0.0.1", self.named.port))
                else:
                    writer.write(b"+OK\r\n")
                await writer.drain()
        writer.close()


async def test_a_master_that_does_not_know_that_it_was_replaced_is_left(
    own_redis: OwnRedis, fake_sentinels: FakeSentinels
) -> None:
    old, new = own_redis(), own_redis()
    sentinels, url = await fake_sentinels(3, old)
    connection = connect(url, socket_timeout=30)
    assert await connection.run(add("counter")) == 1
    waiting = asyncio.create_task(connection.pop(["wake"], 29))
    await wait_until(lambda: old.info("clients")["blocked_clients"] == "1", description="it to wait there")
    assert await connection.masters() == [f"127.0.0.1:{old.port}"]

    # One of them has heard of it: that may be a mistake of its own.
    sentinels[0].named = new
    asked = sentinels[2].asked
    await wait_until(lambda: sentinels[2].asked >= asked + 2, description="the sentinels to be asked again")
    assert await connection.masters() == [f"127.0.0.1:{old.port}"]

    sentinels[1].named = new
    with pytest.raises(Unreachable, match="name another master"):  # what waited at the old one is told
        await waiting
    assert await connection.masters() == [f"127.0.0.1:{new.port}"]
    assert await connection.run(add("counter")) == 1
    assert old.command("GET", "counter") == "1"
    await connection.close()


async def test_an_old_master_that_comes_back_is_not_taken_for_one_from_memory(
    own_redis: OwnRedis, fake_sentinels: FakeSentinels
) -> None:
    old, new = own_redis(), own_redis()
    sentinels, url = await fake_sentinels(3, old)
    connection = connect(url, socket_timeout=1)
    assert await connection.run(add("counter")) == 1
    await wait_until(lambda: sentinels[2].asked >= 3, description="the sentinels to have named it again")
    old.kill()
    for sentinel in sentinels:
        sentinel.named = new
    old.restart()  # it still says that it is a master

    async def works() -> bool:
        try:
            return await connection.run(add("counter")) == 1
        except Unreachable:
            return False

    await wait_until(works, description="the new master to be used")
    assert (old.command("GET", "counter"), new.command("GET", "counter")) == (None, "1")
    await connection.close()


async def test_a_sentinel_that_is_gone_does_not_keep_the_others_from_being_heard(
    own_redis: OwnRedis, fake_sentinels: FakeSentinels
) -> None:
    old, new = own_redis(), own_redis()
    sentinels, url = await fake_sentinels(3, old)
    connection = connect(url)
    assert await connection.run(add("counter")) == 1
    await sentinels[0].stop()
    for sentinel in sentinels[1:]:
        sentinel.named = new

    async def moved() -> bool:
        return await connection.masters() == [f"127.0.0.1:{new.port}"]

    await wait_until(moved, description="the new master to be used")
    await connection.close()
