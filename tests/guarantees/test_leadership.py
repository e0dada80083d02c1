"""Who leads: a process whose event loop makes no progress gives up the lead, though its heartbeat goes on."""

from collections.abc import AsyncIterator

import pytest

from capelin import Capelin
from tests.guarantees.apps import leading
from tests.guarantees.fleet import MARGIN
from tests.guarantees.ticking import Candidates
from tests.support.ledger import Ledger
from tests.support.processes import Processes
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until

APP = "tests.guarantees.apps.leading:app"
LEASE = 30.0
"""Seconds: so long that only a lease that was given up is another's in the time of this test."""
STALL_AFTER = 1.0


@pytest.fixture
async def candidates(
    processes: Processes, redis_server: RedisServer, ledger: Ledger
) -> AsyncIterator[Candidates]:
    found = Candidates(processes, redis_server, ledger, APP)
    yield found
    found.stop()


async def test_a_leader_whose_event_loop_is_blocked_gives_up_the_lead(
    candidates: Candidates, redis_server: RedisServer, ledger: Ledger
) -> None:
    for _ in range(2):
        candidates.launch(lease_ttl=LEASE, stall_after=STALL_AFTER)
    for child in candidates.children.values():
        await child.wait_for_event("worker started")
    blocked = await candidates.leader()
    async with Capelin(redis_server.url) as client:
        job = await client.task_named("block_the_leader").enqueue()
        await wait_until(lambda: bool(ledger.lines("blocked")), description="the leader to be blocked")
        [(worker, at)] = ledger.lines("blocked")

        await candidates.successor_of(blocked)

        assert candidates.children[worker.partition("-")[0]] is blocked
        assert not ledger.lines("unblocked"), "it was blocked when another took the lead"
        taken = candidates.lease().epoch / 1000
        assert taken - float(at) < STALL_AFTER + MARGIN
        assert blocked.running
        await candidates.ticks_more("quick", 2)

        await job.result(timeout=leading.BLOCKED + 10)
        [(_, leads, _)] = ledger.lines("unblocked")
        assert leads == "False", "it believed that it led though it had given up"
        info = await job.info()
        assert info.token == 1 + len(ledger.lines("looked")), "its stake was kept, so its job ran once"
