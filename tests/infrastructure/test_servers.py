"""The servers that other tests rely on really die, freeze and come back, and keep what they should keep."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.conftest import OwnCluster, OwnRedis
from tests.support.cluster import RedisCluster
from tests.support.resp import RespError
from tests.support.servers import RedisServer, ServerDiedError
from tests.support.waiting import wait_until_sync


def test_a_killed_server_with_an_append_only_file_comes_back_with_its_keys(own_redis: OwnRedis) -> None:
    server = own_redis(appendonly=True)
    server.command("SET", "kept", "yes", "EX", 100)
    port = server.port
    server.kill()
    assert not server.running
    with pytest.raises(ConnectionRefusedError):
        server.command("PING")
    server.restart()
    assert server.port == port
    assert server.command("GET", "kept") == "yes"


def test_a_server_without_an_append_only_file_forgets(own_redis: OwnRedis) -> None:
    server = own_redis()
    server.command("SET", "kept", "no", "EX", 100)
    server.kill()
    server.restart()
    assert server.keys() == set()


def test_a_paused_server_keeps_its_connections_and_answers_after_resume(own_redis: OwnRedis) -> None:
    server = own_redis()
    with server.connect(timeout=0.2) as redis:
        assert redis("PING") == "PONG"
        server.pause()
        assert not server.answering
        redis.send("ECHO", "late")
        with pytest.raises(TimeoutError):
            redis.read()
        server.resume()
    assert server.command("PING") == "PONG"


def test_a_full_server_refuses_writes(own_redis: OwnRedis) -> None:
    server = own_redis(maxmemory="1mb")

    def fill() -> None:
        for number in range(100):
            server.command("SET", f"k{number}", "x" * 100_000, "EX", 100)

    with pytest.raises(RespError, match="OOM"):
        fill()


@pytest.mark.usefixtures("redis_binary")
def test_a_server_with_a_wrong_option_fails_at_once_with_its_own_words() -> None:
    with pytest.raises(ServerDiedError), RedisServer(config={"no-such-option": "1"}):
        pass


@pytest.mark.usefixtures("redis_binary")
def test_a_stopped_server_leaves_no_folder_and_no_process() -> None:
    server = RedisServer().start()
    pid = server.pid
    folder = Path(psutil.Process(pid).cwd())
    assert folder.exists()
    server.stop()
    server.stop()
    assert not folder.exists()
    assert not psutil.pid_exists(pid)


def test_the_shared_server_is_empty_for_each_test(redis_server: RedisServer) -> None:
    assert redis_server.keys() == set()


@pytest.mark.usefixtures("redis_binary")
def test_a_server_dies_with_a_test_run_that_is_killed() -> None:
    program = """
from tests.support.servers import RedisServer
server = RedisServer().start()
print(server.pid, flush=True)
input()
"""
    run = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert run.stdout is not None
        server = psutil.Process(int(run.stdout.readline()))
        assert server.is_running()
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
        wait_until_sync(lambda: not server.is_running(), description="the orphaned redis-server to be ended")
    finally:
        run.kill()
        run.communicate()


def test_every_master_of_the_shared_cluster_serves_a_third_of_the_slots(redis_cluster: RedisCluster) -> None:
    owners = {redis_cluster.owner_of(slot).port for slot in (0, 8_000, 16_383)}
    assert owners == {node.port for node in redis_cluster.masters}


def test_a_migration_stopped_half_way_shows_both_sides_and_then_ends(own_cluster: OwnCluster) -> None:
    cluster = own_cluster()
    slot = cluster.slot_of("{tag}")
    source = cluster.owner_of(slot)
    target = next(node for node in cluster.masters if node is not source)
    for number in range(4):
        source.command("SET", f"{{tag}}{number}", number, "EX", 100)

    migration = cluster.migrate_slot(slot, target)
    migration.begin()
    moved = migration.move(count=2)
    assert len(moved) == 2
    stayed = migration.remaining()
    assert len(stayed) == 2
    with pytest.raises(RespError, match="ASK"):
        source.command("GET", moved[0])
    with pytest.raises(RespError, match="TRYAGAIN"):
        source.command("MGET", moved[0], stayed[0])

    migration.finish()
    assert cluster.owner_of(slot) is target
    assert len(target.keys()) == 4
    for node in cluster.masters:
        if node is not target:
            with pytest.raises(RespError, match=f"MOVED {slot} 127.0.0.1:{target.port}"):
                node.command("GET", moved[0])


@pytest.mark.slow
def test_a_replica_takes_over_from_a_killed_master(own_cluster: OwnCluster) -> None:
    cluster = own_cluster(replicas=1, node_timeout=1)
    slot = cluster.slot_of("x")
    dead = cluster.owner_of(slot)

    def replicated() -> bool:
        with dead.connect() as redis:  # WAIT waits for what its own connection wrote
            redis("SET", "x", "1", "EX", 100)
            return redis("WAIT", 1, 500) == 1

    wait_until_sync(replicated, description="a replica to have the key")
    dead.kill()
    heirs = [node for node in cluster.running if node in cluster.replicas]
    wait_until_sync(
        lambda: any(node in heirs for node in cluster.running_masters), description="a replica to be promoted"
    )
    # The heir knows first; the others hear of it a little later.
    wait_until_sync(lambda: cluster.owner_of(slot) in heirs, description="the news of the heir to spread")
    cluster.wait_until_whole()
    assert cluster.owner_of(slot).command("GET", "x") == "1"
