"""Guarantee 5: a blocked event loop loses no stake, so its job is not run twice.

Stakes are renewed by a thread of their own. What a blocked worker does not need it gives up: its shards
after `stall_after`, its process after `stall_limit`.
"""

import time

from capelin.workers.heartbeat import EXIT_STALLED
from tests.guarantees.apps import recording
from tests.guarantees.fleet import INTERVAL, MARGIN, SHARDS, TTL, Fleet, Tuned, key_of
from tests.support.waiting import wait_until

SERVED_WITHIN = 3.0
STALL_LIMIT = 2.0
TICK = 0.25
"""Seconds between signs of progress: so much before the job the last one may have been."""


async def test_a_job_that_blocks_its_loop_runs_once_and_the_shards_of_its_worker_are_served_by_others(
    fleet: Fleet,
) -> None:
    await fleet.start("one", "two", lease_ttl=TTL)
    job = await fleet.enqueue(recording.sleeping.job(4 * TTL))
    start = await fleet.started(job)
    other = next(worker for worker in fleet.workers.values() if worker.id != start.worker)

    await wait_until(
        lambda: len(fleet.shards_of(other)) == SHARDS, description="the other worker to own all shards"
    )
    assert time.time() - start.at < SERVED_WITHIN
    # It does not steal them: it is woken for them.
    jobs = await fleet.enqueue_many(
        [recording.quick.options(shard_key=key_of(shard)).job(shard) for shard in range(SHARDS)]
    )
    await fleet.all_completed(jobs)
    assert fleet.statuses([job]) == ["running"]
    assert {fleet.starts(quick)[0].worker for quick in jobs} == {other.id}

    [account] = await fleet.all_completed([job])
    assert account.clean
    assert len(fleet.starts(job)) == 1
    await fleet.shards_shared()


async def test_a_worker_that_stays_blocked_shows_its_stacks_and_ends_and_its_job_comes_back(
    fleet: Fleet,
) -> None:
    settings: Tuned = {"lease_ttl": TTL, "stall_after": STALL_LIMIT / 2, "stall_limit": STALL_LIMIT}
    await fleet.start("one", "two", **settings)
    job = await fleet.enqueue(recording.sleeping_once.job(60))
    start = await fleet.started(job)
    blocked = fleet.named(start.worker)

    assert await blocked.child.wait() == EXIT_STALLED
    assert time.time() - start.at > STALL_LIMIT - TICK
    assert "sleeping_once" in blocked.child.output, "its stacks do not show the job that blocked"
    [account] = await fleet.all_completed([job])
    assert (account.token, account.crashes) == (2, 1)
    again = fleet.starts(job)[1]
    assert again.worker != blocked.id
    assert again.at - start.at < STALL_LIMIT + INTERVAL + TTL + INTERVAL + MARGIN


async def test_a_loop_that_is_blocked_for_less_gives_up_nothing(fleet: Fleet) -> None:
    one, two = await fleet.start("one", "two", lease_ttl=TTL)
    owned = fleet.owners()
    job = await fleet.enqueue(recording.sleeping.job(1.2 * TTL))
    [account] = await fleet.all_completed([job])
    assert account.clean
    assert fleet.owners() == owned
    assert not any(worker.child.events("gives up its shards") for worker in (one, two))
