"""Guarantee 2: at least once, recorded once.

A zombie is a worker that was taken for dead and is not: it stood still for longer than its lease (SIGSTOP),
or the network was away. Its job went to another worker. Whatever became of the job there, the zombie's
outcome is refused.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any, Literal

import pytest

from capelin import lua
from capelin.connection import connect
from capelin.ids import JobId
from capelin.jobs import Job
from capelin.lua import Replayed
from capelin.requests import JobRequest
from tests.guarantees.apps import recording
from tests.guarantees.fleet import TTL, Fleet, Process
from tests.support.census import recordings
from tests.support.commands import CommandRecorder
from tests.support.proxy import RedisProxy
from tests.support.waiting import wait_until

REFUSED = "outcome refused"
STOPPED = "a job is not ours any more; its start is stopped"


async def test_a_frozen_worker_is_refused_when_another_has_completed_its_job(fleet: Fleet) -> None:
    with CommandRecorder(fleet.server) as recorder:
        job, zombie, other = await started_at_a_worker_that_freezes(fleet, recording.fenced.job("completes"))
        [account] = await fleet.all_completed([job])
        assert (account.token, account.crashes) == (2, 1)
        await thawed_and_refused(fleet, zombie)
        assert await job.result(timeout=5) == other.id
        await works_on(fleet)
    assert outcomes(recorder, job) == {"reaped": 1, "complete": 1}
    assert [start.token for start in fleet.starts(job)] == [1, 2]


async def test_a_frozen_worker_is_refused_when_another_has_handed_its_job_back(fleet: Fleet) -> None:
    with CommandRecorder(fleet.server) as recorder:
        job, zombie, other = await started_at_a_worker_that_freezes(
            fleet, recording.fenced.job("holds"), grace=0
        )
        await fleet.started(job, times=2)
        other.child.terminate()
        assert await other.child.wait() == 0
        assert fleet.statuses([job]) == ["queued"]
        await thawed_and_refused(fleet, zombie)
        # Nobody else is left: the very worker whose outcome was refused starts the job anew.
        third = await fleet.started(job, times=3)
        assert (third.token, third.worker) == (3, zombie.id)
        fleet.open_gate("third")
        [account] = await fleet.all_completed([job])
    assert (account.token, account.attempt, account.crashes) == (3, 0, 1)
    assert outcomes(recorder, job) == {"reaped": 1, "return": 1, "complete": 1}
    assert [start.token for start in fleet.starts(job)] == [1, 2, 3]


async def test_a_frozen_worker_is_refused_when_its_job_was_replayed_from_the_dlq(fleet: Fleet) -> None:
    with CommandRecorder(fleet.server) as recorder:
        job, zombie, other = await started_at_a_worker_that_freezes(
            fleet, recording.fenced.job("is rejected")
        )
        await wait_until(
            lambda: fleet.statuses([job]) == ["failed"], description="the job to be dead-lettered"
        )
        await replay(fleet, job)
        assert (await fleet.started(job, times=3)).worker == other.id
        await thawed_and_refused(fleet, zombie)
        assert fleet.statuses([job]) == ["running"]
        fleet.open_gate("third")
        [account] = await fleet.all_completed([job])
        assert await job.result(timeout=5) == other.id
        await works_on(fleet)
    assert account.token == 3
    assert outcomes(recorder, job) == {"reaped": 1, "dead": 1, "complete": 1}


@pytest.mark.parametrize("second", ["completes", "holds", "is rejected"])
async def test_an_outcome_that_was_on_its_way_while_the_network_was_away_is_refused(
    fleet: Fleet, proxied: Callable[[str], RedisProxy], second: Literal["completes", "holds", "is rejected"]
) -> None:
    """Here no heartbeat can be faster: the outcome is sent, and reaches Redis when all is over."""
    proxy = proxied(fleet.server.url)
    zombie = fleet.launch("zombie", lease_ttl=TTL, redis_url=proxy.url)
    await zombie.started()
    with CommandRecorder(fleet.server) as recorder:
        job = await fleet.enqueue(recording.fenced.job(second))
        assert (await fleet.started(job)).worker == zombie.id
        [other] = await fleet.start("other", lease_ttl=TTL, grace=0)
        proxy.blackhole()
        await fleet.started(job, times=2)
        match second:
            case "completes":
                await fleet.all_completed([job])
            case "holds":
                other.child.terminate()
                assert await other.child.wait() == 0
                assert fleet.statuses([job]) == ["queued"]
            case "is rejected":
                await wait_until(
                    lambda: fleet.statuses([job]) == ["failed"], description="the job to be dead"
                )
        fleet.open_gate("first")
        await wait_until(
            lambda: any(end.token == 1 for end in fleet.ends(job)), description="the first start to end, too"
        )
        proxy.accept()
        refused = await zombie.child.wait_for_event(REFUSED)
        assert (refused["job"], refused["token"], refused["verdict"]) == (job.id, 1, "stale")
        if second == "is rejected":
            assert fleet.statuses([job]) == ["failed"]
            await replay(fleet, job)
        fleet.open_gate("third")
        [account] = await fleet.all_completed([job])
        await works_on(fleet)
    assert account.token == len(fleet.starts(job)) == (2 if second == "completes" else 3)
    between = {"holds": {"return": 1}, "is rejected": {"dead": 1}}.get(second, {})
    assert outcomes(recorder, job) == {"reaped": 1, "complete": 1} | between


async def started_at_a_worker_that_freezes(
    fleet: Fleet, request: JobRequest[Any], grace: float = 25
) -> tuple[Job[Any], Process, Process]:
    """Start two workers; the one that starts the job stands still: the job, that worker, the other one."""
    one, two = await fleet.start("one", "two", lease_ttl=TTL, grace=grace)
    job = await fleet.enqueue(request)
    zombie = fleet.named((await fleet.started(job)).worker)
    zombie.child.freeze()
    return job, zombie, two if zombie is one else one


async def thawed_and_refused(fleet: Fleet, zombie: Process) -> None:
    """Let the zombie's start end, and return when it has been told that nobody waits for its outcome."""
    # Either its outcome reaches Redis first, or its heartbeat learns that the start is lost: both are right.
    fleet.open_gate("first")
    zombie.child.thaw()
    await wait_until(
        lambda: zombie.child.events(REFUSED) or zombie.child.events(STOPPED),
        description="the zombie to learn that its start is over",
    )


async def works_on(fleet: Fleet) -> None:
    """The zombie is a worker again like the others."""
    await fleet.shards_shared()
    await fleet.all_completed(await fleet.enqueue_many([recording.quick.job(number) for number in range(20)]))


async def replay(fleet: Fleet, job: Job[Any]) -> None:
    """Replay a dead job."""
    connection = connect(fleet.server.url)
    place = JobId.parse(job.id)
    verdict, _ = await connection.run(
        lua.replay(fleet.app.keys.shard(place.queue, place.shard), uid=place.uid)
    )
    await connection.close()
    assert verdict is Replayed.REPLAYED


def outcomes(recorder: CommandRecorder, job: Job[Any]) -> Counter[str]:
    """How often each outcome of the job was recorded."""
    return Counter(
        {kind: count for (job_id, kind), count in recordings(recorder).items() if job_id == job.id}
    )
