"""Guarantee 3: a dead worker's jobs start again within lease TTL + one renew interval, ahead of new work.

There is no visibility timeout: how long a job runs says nothing about whether its worker lives.
"""

import time

from tests.guarantees.apps import recording
from tests.guarantees.fleet import INTERVAL, MARGIN, TTL, Fleet
from tests.support.waiting import wait_until

HELD = 24


async def test_the_jobs_of_a_killed_worker_start_again_at_the_survivors(fleet: Fleet) -> None:
    victim, *_ = await fleet.start("victim", "one", "two", lease_ttl=TTL)
    jobs = await fleet.hold("door", HELD)
    lost = {job.id for job in jobs if fleet.starts(job)[0].worker == victim.id}
    assert lost

    killed_at = time.time()
    victim.child.kill()
    seconds = [(await fleet.started(job, times=2)).at - killed_at for job in jobs if job.id in lost]
    assert max(seconds) < TTL + INTERVAL + MARGIN

    fleet.open_gate("door")
    for job in await fleet.all_completed(jobs):
        assert (job.token, job.crashes, job.failures) == ((2, 1, 1) if job.id in lost else (1, 0, 0))
    assert len(fleet.starts()) == HELD + len(lost)


async def test_a_worker_that_starts_after_all_have_died_finds_their_jobs(fleet: Fleet) -> None:
    [victim] = await fleet.start("victim", lease_ttl=TTL)
    jobs = await fleet.hold("door", HELD)
    victim.child.kill()

    heir = fleet.launch("heir", lease_ttl=TTL)
    await heir.started()
    began = time.time()
    seconds = [(await fleet.started(job, times=2)).at - began for job in jobs]
    # It may judge nobody before it has itself been there for that long.
    assert max(seconds) < TTL + INTERVAL + MARGIN
    fleet.open_gate("door")
    assert {(job.token, job.crashes) for job in await fleet.all_completed(jobs)} == {(2, 1)}


async def test_jobs_that_come_back_go_ahead_of_work_that_waits(fleet: Fleet) -> None:
    await fleet.start("one", "two", words=("-c", "1"), lease_ttl=TTL)
    here = "in one shard, where order can be told"
    first = await fleet.enqueue(recording.held.options(shard_key=here).job("never"))
    victim = fleet.named((await fleet.started(first)).worker)
    second = await fleet.enqueue(recording.held.options(shard_key=here).job("door"))
    assert (await fleet.started(second)).worker != victim.id
    waiting = await fleet.enqueue_many(
        [
            recording.quick.options(shard_key=here, priority=priority).job(number)
            for priority in ("normal", "critical")
            for number in range(5)
        ]
    )

    victim.child.kill()
    returned = f"capelin:{{default:{first.shard}}}:stream:returned"
    await wait_until(lambda: fleet.server.command("XLEN", returned) == 1, description="the job to come back")
    assert len(fleet.starts()) == 2
    fleet.open_gate("door")
    await fleet.started(first, times=2)
    assert [start.job for start in fleet.starts()][2] == first.id
    fleet.open_gate("never")
    await fleet.all_completed([first, second, *waiting])


async def test_a_job_may_run_for_many_times_the_ttl_while_its_worker_lives(fleet: Fleet) -> None:
    await fleet.start("one", "two", lease_ttl=TTL)
    # A little longer than is asked for below: a sleep is measured by another clock than the ledger's.
    job = await fleet.enqueue(recording.lasting.job(5.1 * TTL))
    [account] = await fleet.all_completed([job])
    assert account.clean
    [start], [end] = fleet.starts(job), fleet.ends(job)
    assert start.worker == end.worker
    assert end.at - start.at >= 5 * TTL
