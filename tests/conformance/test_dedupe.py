"""Dedupe keys, as a client sees them, on every backend (guarantee 7)."""

import asyncio

import pytest

from capelin import InvalidOption, JobStatus
from capelin.lua import OutcomeKind
from tests.conformance.conftest import Shop


async def test_a_second_submit_gets_the_first_jobs_handle_and_is_told_so(shop: Shop) -> None:
    once = shop.risky.options(dedupe_key="x")
    first, second = await once.enqueue(1), await once.enqueue(2)
    assert (first.duplicate, second.duplicate) == (False, True)
    assert first == second
    assert (await second.info()).args == (1,)
    assert len(await shop.hand.take()) == 1


async def test_many_submits_at_once_are_one_job(shop: Shop) -> None:
    once = shop.risky.options(dedupe_key="x")
    jobs = await asyncio.gather(*[once.enqueue(n) for n in range(20)])
    assert len(set(jobs)) == 1
    assert sum(not job.duplicate for job in jobs) == 1


async def test_in_one_list_the_first_wins(shop: Shop) -> None:
    once = shop.risky.options(dedupe_key="x")
    jobs = await shop.app.enqueue([once.job(1), once.job(2), shop.risky.job(3)])
    assert [job.duplicate for job in jobs] == [False, True, False]
    assert jobs[0] == jobs[1] != jobs[2]


async def test_keys_of_other_tasks_and_queues_are_other_keys(shop: Shop) -> None:
    jobs = [
        await shop.risky.options(dedupe_key="x").enqueue(1),
        await shop.nothing.options(dedupe_key="x").enqueue(),
        await shop.risky.options(dedupe_key="x", queue="others").enqueue(1),
        await shop.risky.options(dedupe_key="y").enqueue(1),
    ]
    assert not any(job.duplicate for job in jobs)
    assert len(set(jobs)) == 4


@pytest.mark.parametrize("end", ["completed", "failed", "cancelled"])
async def test_every_end_frees_the_key(shop: Shop, end: str) -> None:
    once = shop.send.options(dedupe_key="x")
    first = await once.enqueue("a")
    match end:
        case "completed":
            await shop.hand.complete("emails", "1")
        case "failed":
            await shop.hand.bury("emails")
        case _:
            assert await first.cancel()
    assert await first.status() == end
    second = await once.enqueue("b")
    assert not second.duplicate
    assert second != first


async def test_a_window_outlives_the_job(shop: Shop) -> None:
    once = shop.risky.options(dedupe_key="x", dedupe_for=3600)
    first = await once.enqueue(1)
    await shop.hand.complete(result="1")
    again = await once.enqueue(2)
    assert again.duplicate
    assert again == first


async def test_replace_changes_the_job_that_waits_in_place(shop: Shop) -> None:
    first = await shop.risky.options(dedupe_key="x", delay=600).enqueue(1)
    second = await shop.risky.options(dedupe_key="x", on_duplicate="replace", priority="low").enqueue(2)
    assert second == first
    assert second.duplicate
    info = await second.info()
    assert (info.status, info.args, info.priority) == (JobStatus.QUEUED, (2,), "low")
    [(_, delivery)] = await shop.hand.take()
    assert delivery.args == b"[[2],{}]"


async def test_follow_adds_one_job_after_the_one_that_runs(shop: Shop) -> None:
    follow = shop.risky.options(dedupe_key="x", on_duplicate="follow")
    first = await follow.enqueue(1)
    shard, delivery = await shop.hand.take_one()
    second, third = await follow.enqueue(2), await follow.enqueue(3)
    assert (second.duplicate, third.duplicate) == (False, True)
    assert second == third != first
    info = await second.info()
    assert (info.status, info.follows) == (JobStatus.SCHEDULED, first.id)
    assert (await first.info()).follower == second.id
    assert await shop.hand.take() == []
    await shop.hand.finish("default", shard, delivery, OutcomeKind.COMPLETE, "1")
    _, following = await shop.hand.take_one()
    assert following.args == b"[[2],{}]"


async def test_a_dedupe_key_and_a_shard_key_together_are_refused(shop: Shop) -> None:
    with pytest.raises(InvalidOption, match="not together with dedupe_key"):
        shop.nothing.options(dedupe_key="x", shard_key="y")
