"""What a connection does in a Redis Cluster while slots move and masters die."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from capelin.connection import Connection, connect
from capelin.errors import ConfigurationError, RedisRefused, Unreachable
from capelin.lua.call import Call
from tests.conftest import OwnCluster
from tests.support.cluster import RedisCluster, SlotMigration
from tests.support.proxy import RedisProxy, mentions
from tests.support.scripts import add, add_both, append
from tests.support.waiting import wait_until

pytestmark = pytest.mark.leaves_keys(reason="plain keys to try the connection on")


@pytest.fixture
async def connection(cluster_url: str) -> AsyncIterator[Connection]:
    connection = connect(cluster_url)
    yield connection
    await connection.close()


def _migration(cluster: RedisCluster, key: str) -> SlotMigration:
    """The slot of `key`, to the next master."""
    slot = cluster.slot_of(key)
    source = cluster.owner_of(slot)
    index = cluster.masters.index(next(node for node in cluster.masters if node.port == source.port))
    return cluster.migrate_slot(slot, cluster.masters[(index + 1) % len(cluster.masters)])


async def test_a_pipeline_reaches_every_master_at_the_same_time(
    redis_cluster: RedisCluster, connection: Connection
) -> None:
    keys = [f"{{{number}}}key" for number in range(60)]

    assert await connection.run_many([add(key, place) for place, key in enumerate(keys)]) == list(range(60))
    for node in redis_cluster.masters:
        assert len(node.keys()) > 5


async def test_a_slot_that_moved_is_followed(redis_cluster: RedisCluster, connection: Connection) -> None:
    assert await connection.run_many([add("{a}counter"), add("{b}counter")]) == [1, 1]

    await asyncio.to_thread(_migration(redis_cluster, "{a}counter").run)

    calls = [add("{a}counter"), add("{b}counter"), append("{a}list", "x"), add("{a}counter")]
    assert await connection.run_many(calls) == [2, 2, 1, 3]
    assert await connection.command("GET", "{a}counter") == b"3"


async def test_keys_that_moved_ahead_of_their_slot_are_asked_for_where_they_are(
    redis_cluster: RedisCluster, connection: Connection
) -> None:
    assert await connection.run_many([add("{a}moved"), add("{a}stayed")]) == [1, 1]
    migration = _migration(redis_cluster, "{a}moved")
    migration.begin()
    migration.move("{a}moved")

    # The target has not seen the scripts yet.
    calls: list[Call[int]] = [add("{a}moved"), add("{a}stayed"), append("{a}new", "x")]
    assert await connection.run_many(calls) == [2, 2, 1]
    assert await connection.run_many(calls) == [3, 3, 2]
    await asyncio.to_thread(migration.finish)

    assert await connection.run_many(calls) == [4, 4, 3]


async def test_keys_on_both_sides_are_waited_for_until_the_slot_has_moved(
    redis_cluster: RedisCluster, connection: Connection
) -> None:
    assert await connection.run(add_both("{a}one", "{a}two")) == 1
    migration = _migration(redis_cluster, "{a}one")
    migration.begin()
    migration.move("{a}one")

    waiting = asyncio.create_task(connection.run_many([add_both("{a}one", "{a}two"), add("{b}counter")]))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    asked = migration.source.info("commandstats")["cmdstat_evalsha"]
    await asyncio.to_thread(migration.finish)

    assert await waiting == [2, 1]
    assert await connection.commands([("GET", "{a}one"), ("GET", "{a}two")]) == [b"2", b"2"]
    # With pauses between: a slot may be on its way for minutes.
    assert 0 < int(asked.split("rejected_calls=")[1].split(",")[0]) < 20


async def test_a_slot_that_takes_too_long_is_unreachable_and_nothing_ran(redis_cluster: RedisCluster) -> None:
    connection = connect(redis_cluster.url, socket_timeout=0.3)
    await connection.run(add_both("{a}one", "{a}two"))
    migration = _migration(redis_cluster, "{a}one")
    migration.begin()
    migration.move("{a}one")

    with pytest.raises(Unreachable, match="TRYAGAIN"):
        await connection.run(add_both("{a}one", "{a}two"))
    await asyncio.to_thread(migration.finish)

    assert await connection.run(add_both("{a}one", "{a}two")) == 2
    await connection.close()


async def test_under_load_a_moving_slot_loses_and_doubles_nothing(
    redis_cluster: RedisCluster, connection: Connection
) -> None:
    keys = [f"{{a}}{number}" for number in range(8)] + [f"{{{number}}}" for number in range(8)]
    counted = dict.fromkeys(keys, 0)
    stop = asyncio.Event()

    async def load() -> None:
        while not stop.is_set():
            replies = await connection.run_many([add(key) for key in keys])
            for key, reply in zip(keys, replies, strict=True):
                assert isinstance(reply, int), reply
                counted[key] += 1

    async def five_more(key: str) -> None:
        goal = counted[key] + 5
        await wait_until(lambda: counted[key] >= goal, description="calls in the middle of it")

    loads = [asyncio.create_task(load()) for _ in range(4)]
    for _ in range(3):
        await wait_until(lambda: min(counted.values()) > 50, description="the load to run")
        migration = _migration(redis_cluster, "{a}")
        migration.begin()
        for key in keys[:8]:
            migration.move(key)
            await five_more(key)
        await asyncio.to_thread(migration.finish)
    stop.set()
    await asyncio.gather(*loads)

    values = await connection.commands([("GET", key) for key in keys])
    assert [int(value) for value in values] == list(counted.values())


async def test_pop_finds_an_element_in_a_slot_that_moved_or_is_moving(
    redis_cluster: RedisCluster, connection: Connection
) -> None:
    lists = ["{a}wake", "{b}wake"]

    async def found(seconds: float) -> str | None:
        """As a worker does: None means look and wait again."""
        async with asyncio.timeout(seconds):
            while (name := await connection.pop(lists, 2)) is None:
                pass
        return name

    waiting = asyncio.create_task(found(10))
    await asyncio.sleep(0.05)
    migration = _migration(redis_cluster, "{a}wake")
    migration.begin()
    await connection.command("RPUSH", "{b}wake", "x")
    assert await waiting == "{b}wake"

    waiting = asyncio.create_task(found(10))
    await asyncio.sleep(0.05)
    await asyncio.to_thread(migration.finish)
    await connection.command("RPUSH", "{a}wake", "x")
    assert await waiting == "{a}wake"


async def test_a_stream_can_be_read_on_after_its_slot_moved(
    redis_cluster: RedisCluster, connection: Connection
) -> None:
    await connection.command("XADD", "{a}inbox", "1-1", "k", "v")
    assert await connection.read_stream("{a}inbox", "0", 1) == [("1-1", {"k": "v"})]

    await asyncio.to_thread(_migration(redis_cluster, "{a}inbox").run)

    with contextlib.suppress(Unreachable):
        await connection.read_stream("{a}inbox", "0", 1)
    assert await connection.read_stream("{a}inbox", "0", 1) == [("1-1", {"k": "v"})]


async def test_a_lost_connection_to_one_master_costs_the_others_nothing(
    redis_cluster: RedisCluster, connection: Connection
) -> None:
    keys = [f"{{{number}}}key" for number in range(30)]
    await connection.run_many([add(key) for key in keys])
    lost = redis_cluster.masters[1]
    lost.command("CLIENT", "KILL", "TYPE", "NORMAL")

    replies = await connection.run_many([add(key) for key in keys])
    mine = [redis_cluster.owner_of(redis_cluster.slot_of(key)).port == lost.port for key in keys]

    assert any(mine)
    for reply, on_lost in zip(replies, mine, strict=True):
        assert reply == 2 or (on_lost and isinstance(reply, Unreachable))
    assert all(isinstance(reply, int) for reply in await connection.run_many([add(key) for key in keys]))


async def test_a_dead_master_is_unreachable_until_its_replica_has_taken_over(own_cluster: OwnCluster) -> None:
    cluster = own_cluster(3, replicas=1, node_timeout=0.5)
    connection = connect(cluster.url, socket_timeout=1)
    keys = [f"{{{number}}}key" for number in range(20)]
    await connection.run_many([add(key) for key in keys])
    victim = cluster.masters[0]  # the seed of the URL, too
    port = victim.port

    victim.kill()
    replies = await connection.run_many([add(key) for key in keys])
    assert any(isinstance(reply, Unreachable) for reply in replies)

    async def all_answer() -> bool:
        replies = await connection.run_many([add(key) for key in keys])
        return all(isinstance(reply, int) for reply in replies)

    await wait_until(all_answer, description="the replica to serve", timeout=30)
    assert f"127.0.0.1:{port}" not in await connection.masters()
    assert await connection.pop([f"{key}wake" for key in keys], 0.05) is None
    await connection.close()


async def test_any_node_that_answers_tells_where_the_others_are(redis_cluster: RedisCluster) -> None:
    ports = ",".join(["127.0.0.1:1", f"127.0.0.1:{redis_cluster.masters[2].port}"])
    connection = connect(f"redis+cluster://{ports}")

    assert await connection.run(add("counter")) == 1
    assert len(await connection.masters()) == 3
    await connection.close()


async def test_when_no_node_answers_every_host_is_named() -> None:
    connection = connect("redis+cluster://127.0.0.1:1,127.0.0.1:2")

    with pytest.raises(Unreachable) as refusal:
        await connection.run(add("counter"))

    assert "127.0.0.1:1: connection refused; 127.0.0.1:2: connection refused" in str(refusal.value)
    await connection.close()


async def test_the_wrong_kind_of_url_is_said_so(redis_url: str, cluster_url: str) -> None:
    cluster_as_one = connect(cluster_url.replace("redis+cluster", "redis"))
    one_as_cluster = connect(redis_url.replace("redis", "redis+cluster"))

    replies = await cluster_as_one.run_many([add(f"{{{number}}}counter") for number in range(30)])
    refusals = [reply for reply in replies if isinstance(reply, RedisRefused)]
    assert refusals
    assert all("use a redis+cluster:// URL" in str(refusal) for refusal in refusals)
    with pytest.raises(ConfigurationError, match="write redis:// for a single server"):
        await one_as_cluster.run(add("counter"))
    for connection in (cluster_as_one, one_as_cluster):
        await connection.close()


async def test_keys_of_two_slots_in_one_call_are_refused(connection: Connection) -> None:
    with pytest.raises(RedisRefused, match="CROSSSLOT"):
        await connection.run(add_both("{a}one", "{b}two"))


async def test_a_script_whose_reply_is_lost_ran_once_and_the_other_masters_answered(
    own_cluster: OwnCluster, proxied: Callable[[str], RedisProxy]
) -> None:
    cluster = own_cluster()
    node = cluster.masters[0]
    proxy = proxied(node.url)
    keys = [f"{{{number}}}key" for number in range(30)]
    mine = [key for key in keys if cluster.owner_of(cluster.slot_of(key)) is node]
    node.command("CONFIG", "SET", "cluster-announce-port", proxy.port)
    connection = connect(f"redis+cluster://127.0.0.1:{proxy.port}")
    await connection.run_many([add(f"{key}warm") for key in keys])
    proxy.cut_reply_after(mentions("EVALSHA", f"{mine[2]}\r\n"))

    replies = dict(zip(keys, await connection.run_many([add(key) for key in keys]), strict=True))

    assert [isinstance(replies[key], Unreachable) for key in mine] == [False, False] + [True] * len(mine[2:])
    assert all(replies[key] == 1 for key in keys if key not in mine)
    assert node.command("GET", mine[2]) == "1"
    assert await connection.run(add(mine[2])) == 2
    await connection.close()
