"""Guarantees 1, 2, 3, 6 and 7 at once: whatever is done to a shard in whatever order, it agrees with a model.

`CAPELIN_HYPOTHESIS=nightly` looks for longer.
"""

import os
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.scripts.machine import JUMPS, ShardMachine, event
from tests.scripts.servers import MemoryServer, RealServer, Server
from tests.support.cluster import RedisCluster
from tests.support.servers import RedisServer

NIGHTLY = os.environ.get("CAPELIN_HYPOTHESIS") == "nightly"


def look_for_a_difference(make_server: Callable[[], Server], examples: int, steps: int) -> None:
    class Machine(ShardMachine):
        def __init__(self) -> None:
            super().__init__(make_server())

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
            phases=[Phase.explicit, Phase.generate, Phase.shrink],
            derandomize=not NIGHTLY,
            database=None,
        ),
    )


def live_through(machine: ShardMachine, seed: int, events: int) -> None:
    """One long life of a shard, by even chance; what happened is part of the failure."""
    random = Random(seed)  # noqa: S311 -- so that a life can be repeated
    happened: list[str] = []
    try:
        for _ in range(events):
            ms, (name, arguments) = random.choice(JUMPS), event.draw(random)
            happened.append(f"+{ms} ms: {name} {arguments}")
            machine.happen(ms, name, arguments)
    except AssertionError as error:
        error.add_note("\n".join(happened[-40:]))
        raise
    finally:
        machine.teardown()


@pytest.fixture
def fresh_server(shared_redis: RedisServer) -> Callable[[], RealServer]:
    """Makes the real server empty again; what a run leaves behind, it has compared with the model."""

    def fresh() -> RealServer:
        shared_redis.flush()
        return RealServer(shared_redis)

    return fresh


@pytest.fixture
def fresh_cluster(shared_cluster: RedisCluster) -> Callable[[], RealServer]:
    """The same on a cluster, where a shard is in one slot of one master."""

    def fresh() -> RealServer:
        shared_cluster.flush()
        return RealServer(shared_cluster)

    return fresh


def test_no_order_of_events_makes_the_shard_differ_from_its_model() -> None:
    look_for_a_difference(MemoryServer, *((1_000, 100) if NIGHTLY else (25, 60)))


def test_the_same_holds_on_a_real_server(fresh_server: Callable[[], RealServer]) -> None:
    look_for_a_difference(fresh_server, *((200, 100) if NIGHTLY else (8, 60)))


def test_the_same_holds_on_a_cluster(fresh_cluster: Callable[[], RealServer]) -> None:
    look_for_a_difference(fresh_cluster, *((200, 100) if NIGHTLY else (4, 60)))


@pytest.mark.parametrize("seed", range(500 if NIGHTLY else 12))
def test_a_long_life_agrees_with_the_model(seed: int) -> None:
    live_through(ShardMachine(MemoryServer()), seed, 150)


@pytest.mark.parametrize("seed", range(100 if NIGHTLY else 6))
def test_a_long_life_on_a_real_server_agrees_with_the_model(
    fresh_server: Callable[[], RealServer], seed: int
) -> None:
    live_through(ShardMachine(fresh_server()), 1_000 + seed, 150)


@pytest.mark.parametrize("seed", range(100 if NIGHTLY else 3))
def test_a_long_life_on_a_cluster_agrees_with_the_model(
    fresh_cluster: Callable[[], RealServer], seed: int
) -> None:
    live_through(ShardMachine(fresh_cluster()), 2_000 + seed, 150)
