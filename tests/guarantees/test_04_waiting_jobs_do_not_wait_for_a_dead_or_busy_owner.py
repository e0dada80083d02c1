"""Guarantee 4: waiting jobs do not wait for a dead or busy owner.

What has waited for longer than `steal_after` any worker with free slots takes. Leases last longer here than
it takes to steal the jobs: nothing else can be the reason.
"""

from collections.abc import Callable
from statistics import mean
from typing import Any

import pytest

from capelin.jobs import Job
from tests.guarantees.apps import recording
from tests.guarantees.fleet import Fleet, Process, key_of
from tests.support.processes import ChildProcess

LONG = 6.0
STEAL_AFTER = 0.1
AVERAGE = STEAL_AFTER + 0.05
"""Seconds that a job waits on average for a thief."""
ROOM = 1.0
"""What a busy machine may add to that."""
A_SHARD = 6


async def test_jobs_in_the_shards_of_a_saturated_owner_are_stolen(fleet: Fleet) -> None:
    owner = await launch(fleet, "owner", "-c", "1")
    holding = await fleet.enqueue(recording.held.job("door"))
    assert (await fleet.started(holding)).worker == owner.id
    thief = await launch(fleet, "thief")

    jobs = await fill_the_shards_of(fleet, owner)
    await fleet.all_completed(jobs)
    assert {fleet.starts(job)[0].worker for job in jobs} == {thief.id}
    assert_stolen_in_time(fleet, jobs)
    fleet.open_gate("door")
    await fleet.all_completed([holding])


@pytest.mark.parametrize("end", [ChildProcess.freeze, ChildProcess.kill], ids=["frozen", "killed"])
async def test_jobs_in_the_shards_of_an_owner_that_is_gone_are_stolen(
    fleet: Fleet, end: Callable[[ChildProcess], object]
) -> None:
    owner, thief = await launch(fleet, "owner"), await launch(fleet, "thief")
    end(owner.child)
    jobs = await fill_the_shards_of(fleet, owner)
    await fleet.all_completed(jobs)
    assert {fleet.starts(job)[0].worker for job in jobs} == {thief.id}
    assert_stolen_in_time(fleet, jobs)
    assert fleet.shards_of(owner), "its lease ended: this was no theft"


async def test_an_idle_owner_is_robbed_of_nothing(fleet: Fleet) -> None:
    # Long enough for an owner on a busy machine.
    owner, _ = [await launch(fleet, name, steal_after=LONG / 3) for name in ("owner", "other")]
    jobs = await fill_the_shards_of(fleet, owner)
    await fleet.all_completed(jobs)
    assert {fleet.starts(job)[0].worker for job in jobs} == {owner.id}


async def launch(fleet: Fleet, name: str, *words: str, steal_after: float = STEAL_AFTER) -> Process:
    """Start a worker, and return once it has its share of the shards."""
    worker = fleet.launch(name, "-q", "default", *words, lease_ttl=LONG, steal_after=steal_after)
    await worker.started()
    await fleet.shards_shared()
    return worker


async def fill_the_shards_of(fleet: Fleet, owner: Process) -> list[Job[Any]]:
    """Enqueue jobs into each shard of a worker."""
    return await fleet.enqueue_many(
        [
            recording.quick.options(shard_key=key_of(shard)).job(number)
            for shard in fleet.shards_of(owner)
            for number in range(A_SHARD)
        ]
    )


def assert_stolen_in_time(fleet: Fleet, jobs: list[Job[Any]]) -> None:
    waited = fleet.waited(jobs)
    assert min(waited) >= STEAL_AFTER
    assert mean(waited) < AVERAGE + ROOM
