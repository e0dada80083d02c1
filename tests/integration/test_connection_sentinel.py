"""What a connection does with Sentinel: finds the master, and the new one after a failover."""

import asyncio
from collections.abc import Iterator

import pytest

from capelin.connection import connect
from capelin.errors import ConfigurationError, Unreachable
from tests.support.scripts import add
from tests.support.sentinel import Watched
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until

pytestmark = pytest.mark.leaves_keys(reason="plain keys to try the connection on")


@pytest.fixture
def watched(redis_server: RedisServer) -> Iterator[Watched]:
    """A master with a replica and a sentinel; `redis_server` skips where there is no Redis at all."""
    del redis_server
    with Watched() as watched:
        yield watched


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
