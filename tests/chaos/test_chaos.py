"""A short form of chaos and of the soak; the long ones are `make chaos` and `make soak`."""

import pytest

from tests.chaos.backends import AppendOnly
from tests.chaos.disturbances import (
    block_loop,
    cut_connections,
    cut_off_worker,
    deploy,
    kill_redis,
    kill_worker,
    pause_worker,
)
from tests.chaos.run import Plan, run_chaos
from tests.chaos.scene import Kind
from tests.chaos.soak import soak
from tests.support.servers import RedisServer

PLAYS = (kill_worker, pause_worker, cut_off_worker, cut_connections, block_loop, kill_redis, deploy)
PLAN = Plan(seconds=12, rate=40, workers=3, ttl=1.0, pause=1.0, only=tuple(play.__name__ for play in PLAYS))
MINUTE = 60.0
"""Seconds of a soak that rests before its load and after it, too."""


@pytest.mark.slow
async def test_chaos_loses_nothing_and_explains_every_second_start(redis_server: RedisServer) -> None:
    del redis_server  # it skips where there is no Redis at all
    result = await run_chaos(AppendOnly, PLAN, lambda _: None)
    account = result.account
    assert (account.problems, account.lost, account.gone) == ([], [], 0)
    assert account.enqueued == account.once > 100
    assert {one.kind for one in result.happened} > {Kind.DEPLOYED}
    assert account.ticks
    assert account.saves


@pytest.mark.slow
async def test_a_minute_of_load_leaves_nothing_behind(redis_server: RedisServer) -> None:
    del redis_server
    found = await soak(MINUTE / 2)
    assert found.problems == []
    assert found.cuts >= 5
    assert found.jobs > 500
    assert set(found.before) == set(found.after)
