"""Probes with real faults: what is broken is named within 10 seconds, and nothing else is."""

import socket
from typing import Any

import pytest

from capelin import Capelin
from capelin.errors import ConfigurationError
from capelin.keys import Keys
from capelin.probes.server import Address, ProbeServer
from tests.conftest import OwnCluster, OwnRedis
from tests.probes.asking import ANY_PORT, Asked
from tests.probes.conftest import Ask
from tests.support.processes import Processes
from tests.support.waiting import wait_until_sync

SOON = 10.0


def test_a_worker_that_is_well_says_so_and_how_long_each_dependency_took(ask: Ask) -> None:
    worker = ask()
    worker.until_ready()
    for path in ("/health", "/health/live", "/health/ready"):
        answer = worker.get(path)
        assert (answer.status, answer.failing) == (200, {}), answer
        assert answer.content_type == "application/json"
        assert '"latency_ms"' in answer.body
    assert worker.get("/health", method="HEAD").body == ""
    assert worker.get("/health?verbose=1").status == 200
    assert worker.get("/healthz").status == 404


@pytest.mark.parametrize("fault", ["killed", "frozen"])
def test_a_redis_that_is_gone_makes_a_worker_unready_not_dead_and_it_recovers(
    ask: Ask, own_redis: OwnRedis, fault: str
) -> None:
    server = own_redis()
    worker = ask(redis_url=server.url)
    worker.until_ready()
    server.kill() if fault == "killed" else server.pause()
    worker.until_failing("/health/ready", "redis", timeout=SOON)
    answer = worker.ready()
    assert answer.seconds < 4, "each check is bounded"
    if fault == "killed":
        worker.until_failing("/health/ready", "leases", timeout=SOON)
    assert worker.live().status == 200, "to start it anew would not bring Redis back"
    metrics = worker.metrics()
    assert metrics.of("capelin_slots", pool="loop") == 100
    server.restart() if fault == "killed" else server.resume()
    worker.until_ready()


def test_a_part_of_a_cluster_that_is_gone_makes_a_worker_unready(ask: Ask, own_cluster: OwnCluster) -> None:
    cluster = own_cluster(node_timeout=30)
    worker = ask(redis_url=cluster.url)
    worker.until_ready()
    keys = Keys("capelin")
    fleet = cluster.owner_of(cluster.slot_of(keys.fleet_members))
    shards = [keys.shard(queue, shard) for queue in ("default", "other") for shard in range(8)]
    owners = {str(shard): cluster.owner_of(cluster.slot_of(shard.meta)) for shard in shards}
    victim = next(node for node in owners.values() if node is not fleet)
    victim.pause()
    said = worker.until_failing("/health/ready", "leases", timeout=SOON)
    gone = {name for name, node in owners.items() if node is victim}
    assert said.partition("cannot be renewed, ")[2].removesuffix(" among them") in gone
    assert worker.live().status == 200
    victim.resume()
    worker.until_ready()


async def test_a_consumer_that_ended_is_named_and_the_worker_does_not_go_on_without(
    ask: Ask, client: Capelin[Any]
) -> None:
    worker = ask(env={"CAPELIN_GRACE": "1"})
    worker.until_ready()
    await client.task_named("kill_consumer").enqueue()
    said = worker.until_failing("/health/live", "services", timeout=SOON)
    assert said == "capelin consumer was cancelled, and not by the worker; the worker ends"
    assert await worker.process.wait() == 1


async def test_a_worker_that_takes_nothing_though_work_is_ready_is_not_live(
    ask: Ask, client: Capelin[Any]
) -> None:
    worker = ask()
    worker.until_ready()
    deafen = await client.task_named("deafen").enqueue()
    wait_until_sync(
        lambda: worker.metrics().of("capelin_jobs_completed_total", task="deafen"), description="it"
    )
    assert worker.live().status == 200, "there is no work"
    left = await client.task_named("quick").enqueue(1)
    said = worker.until_failing("/health/live", "consumer", timeout=SOON)
    assert said.startswith("work is ready in ")
    assert await left.status() == "queued"
    assert worker.ready().status == 200, "nothing else can tell"
    assert await deafen.status() == "completed"


async def test_a_blocked_event_loop_is_not_live_while_metrics_still_answer(
    ask: Ask, client: Capelin[Any]
) -> None:
    worker = ask(env={"CAPELIN_LIVE_AFTER": "1"})
    worker.until_ready()
    await client.task_named("block").enqueue(4)
    said = worker.until_failing("/health/live", "event_loop", timeout=SOON)
    assert said.startswith("it has made no progress for ")
    metrics = worker.metrics()
    assert metrics.of("capelin_event_loop_lag_seconds") > 1
    assert metrics.of("capelin_slots_used", pool="loop") == 1
    wait_until_sync(lambda: worker.live().status == 200, description="it to be live again")


def test_what_is_to_run_by_itself_and_is_silent_is_named(ask: Ask) -> None:
    worker = ask("tests.probes.apps.silent:app")
    assert worker.until_failing("/health/ready", "schedules", timeout=SOON) == "silent: mute"
    assert worker.until_failing("/health/ready", "singletons", timeout=SOON) == "silent: stuck"
    assert set(worker.ready().failing) == {"schedules", "singletons"}
    assert worker.live().status == 200
    metrics = worker.metrics()
    assert metrics.of("capelin_schedule_healthy", schedule="fine") == 1
    assert metrics.all("capelin_schedule_healthy", {"schedule": "mute"}) == [0]
    assert metrics.all("capelin_singleton_healthy", {"singleton": "stuck"}) == [0]
    assert metrics.of("capelin_singleton_last_run_timestamp_seconds", singleton="steady") > 1.7e9
    assert metrics.of("capelin_schedule_ticks_total", schedule="fine", outcome="fired") > 1


def test_a_scheduler_that_runs_no_jobs_serves_too(processes: Processes, redis_url: str) -> None:

    scheduler = Asked(
        processes.capelin(
            "scheduler", "tests.probes.apps.silent:app", "--http", ANY_PORT, "--redis", redis_url
        )
    )
    wait_until_sync(lambda: "worker" not in scheduler.ready().failing, description="it to have started")
    wait_until_sync(lambda: scheduler.metrics().of("capelin_leader") == 1, description="it to lead")


# Where it listens.


@pytest.mark.parametrize("text", ["9000", "localhost", ":", "a:b", ":70000", "::1:9000", ":-1", ":٩"])
def test_an_address_that_makes_no_sense_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(ConfigurationError, match="--http"):
        Address.parse(text)


@pytest.mark.parametrize(
    ("text", "address"),
    [(":9000", Address("", 9000)), ("h:0", Address("h", 0)), ("[::1]:9", Address("::1", 9))],
)
def test_addresses_are_read(text: str, address: Address) -> None:
    assert Address.parse(text) == address
    assert str(address) == text


def test_an_ipv6_address_is_listened_on() -> None:
    server = ProbeServer(Address.parse("[::1]:0"))
    assert server.address.host == "::1"
    server.close()


@pytest.mark.parametrize("processes_", ["1", "2"])
def test_a_port_that_is_taken_is_said_in_one_line(
    processes: Processes, redis_url: str, processes_: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        words = ("--processes", processes_, "--http", address)
        worker = processes.worker("tests.probes.apps.watched:app", *words, redis_url=redis_url)
        assert worker.wait_sync() == 2
    assert worker.lines == [f"capelin: cannot listen on --http {address}: Address already in use"]
