"""Listings page by page: nothing left out, nothing twice, whatever a page holds, on every kind of Redis."""

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

import pytest

from capelin.admin import (
    WAITING,
    Access,
    JobList,
    Selection,
    cancel_jobs,
    count_matching,
    each_page,
    list_dead,
    list_jobs,
    matching,
    named,
    open_access,
    until_none,
)
from capelin.errors import InvalidOption
from capelin.lua import OutcomeKind
from capelin.records import JobStatus
from capelin.settings import Settings
from tests.conformance.conftest import Shop

MOST_PAGES = 100
DEATHS = ("TimeoutError", "ValueError")


@pytest.fixture
async def access(backend_url: str) -> AsyncIterator[Access]:
    async with open_access(backend_url, prefix="capelin", settings=Settings()) as access:
        yield access


@pytest.fixture
async def shelves(shop: Shop) -> dict[str, set[str]]:
    """Jobs in every place there is: ids by status. Many lie at the very same moment."""
    emails = [shop.send.options(queue="default").job(str(number)) for number in range(40)]
    first = [job.id for job in await shop.app.enqueue(emails)]
    taken = await shop.hand.take(count=3)
    ends = (OutcomeKind.COMPLETE, OutcomeKind.DEAD, OutcomeKind.RETRY, OutcomeKind.PARK)
    found: dict[str, set[str]] = {status.value: set() for status in JobStatus}
    became = dict(zip(ends, ("completed", "failed", "scheduled", "parked"), strict=True))
    for place, (shard, delivery) in enumerate(taken):
        job_id = f"default.{shard}.{delivery.uid}"
        if place % 5 == 4:
            found["running"].add(job_id)
            continue
        kind = ends[place % 5]
        death = f'{{"type":"{DEATHS[place % 2]}","message":"no answer from {place}"}}'
        fails = kind in (OutcomeKind.DEAD, OutcomeKind.RETRY)
        body = {OutcomeKind.COMPLETE: "1", OutcomeKind.DEAD: "failed"}.get(kind, "")
        due = "+60000" if kind is OutcomeKind.RETRY else ""
        await shop.hand.finish(
            "default", shard, delivery, kind, body, due=due, failure=death if fails else ""
        )
        found[became[kind]].add(job_id)
    found["queued"] = set(first).difference(*found.values())
    held = shop.send.options(queue="default", dedupe_key="k")
    holder = await held.enqueue("holder")
    found["queued"].add(holder.id)
    later = await shop.app.enqueue([shop.send.options(queue="default", delay=60).job("x") for _ in range(6)])
    found["scheduled"] |= {job.id for job in later}
    for job in later[:2]:
        await job.cancel()
        found["scheduled"].remove(job.id)
        found["cancelled"].add(job.id)
    gone = sorted(found["queued"] - {holder.id})[:3]
    for job_id in gone:
        await shop.app.job(job_id).cancel()
        found["queued"].remove(job_id)
        found["cancelled"].add(job_id)
    assert all(found.values()), "a status is missing, and the tests below would not see it"
    return found


async def pages(access: Access, wanted: Selection, *, limit: int, scan: int = 10_000) -> list[JobList]:
    found = [await list_jobs(access, wanted, limit=limit, scan=scan)]
    while found[-1].cursor is not None:
        assert len(found) < MOST_PAGES, "pages come again and again"
        found.append(await list_jobs(access, wanted, limit=limit, scan=scan, after=found[-1].cursor))
    return found


def ids(found: Sequence[JobList]) -> list[str]:
    return [job.id for page in found for job in page.jobs]


@pytest.mark.parametrize("limit", [3, 500])
async def test_pages_hold_every_job_once_whatever_their_size(
    access: Access, shelves: dict[str, set[str]], limit: int
) -> None:
    every = set[str]().union(*shelves.values())
    found = await pages(access, Selection(), limit=limit)
    assert sorted(ids(found)) == sorted(every)
    assert all(len(page.jobs) <= limit for page in found)
    if limit < len(every):
        assert found[0].more


async def test_each_status_is_listed_for_itself(access: Access, shelves: dict[str, set[str]]) -> None:
    for status, wanted in shelves.items():
        selection = Selection(statuses=frozenset({JobStatus(status)}))
        found = ids(await pages(access, selection, limit=2))
        assert (len(found), set(found)) == (len(wanted), wanted), status
    both = Selection(statuses=frozenset({JobStatus.RUNNING, JobStatus.CANCELLED}))
    assert set(ids(await pages(access, both, limit=3))) == shelves["running"] | shelves["cancelled"]


async def test_a_page_that_looked_at_enough_says_where_to_go_on(
    access: Access, shelves: dict[str, set[str]]
) -> None:
    wanted = Selection(error="timeout*")
    found = await pages(access, wanted, limit=50, scan=5)
    assert all(page.scanned <= 5 for page in found)
    assert len(found) > 5
    dead = {job for job in shelves["failed"] | shelves["scheduled"] if job in set(ids(found))}
    whole = await list_jobs(access, wanted, limit=500)
    assert set(ids(found)) == {job.id for job in whole.jobs} == dead
    assert dead & shelves["failed"], "none of the dead died like this"
    assert dead & shelves["scheduled"], "an attempt that failed is no error of a job that waits for its next"


async def test_the_last_error_is_held_against_type_and_message(
    access: Access, shelves: dict[str, set[str]]
) -> None:
    failed = frozenset({JobStatus.FAILED})

    async def count(error: str) -> int:
        return await count_matching(access, Selection(statuses=failed, error=error))

    assert await count("TimeoutError") + await count("valueerror") == len(shelves["failed"])
    assert await count("*no answer*") == len(shelves["failed"])
    assert await count("no answer") == 0
    assert len((await list_dead(access, Selection(error="Value*"))).jobs) == await count("Value*")


async def test_tasks_are_named_by_pattern_and_ages_by_seconds(
    access: Access, shop: Shop, shelves: dict[str, set[str]]
) -> None:
    other = await shop.nothing.enqueue()
    assert [job.id for job in (await list_jobs(access, Selection(task="noth*"))).jobs] == [other.id]
    every = sum(map(len, shelves.values()))
    assert await count_matching(access, Selection(task="email.*")) == every
    assert await count_matching(access, Selection(newer_than=3600)) == every + 1
    assert await count_matching(access, Selection(older_than=3600)) == 0


async def test_a_job_that_moves_between_two_pages_spoils_no_page(
    access: Access, shop: Shop, shelves: dict[str, set[str]]
) -> None:
    waiting = Selection(statuses=frozenset({JobStatus.QUEUED, JobStatus.SCHEDULED}))
    first = await list_jobs(access, waiting, limit=5)
    last = first.jobs[-1]
    await shop.app.job(last.id).cancel()  # the very job at which the page ended
    rest = await pages_after(access, waiting, first)
    wanted = shelves["queued"] | shelves["scheduled"]
    assert sorted([*ids([first]), *ids(rest)]) == sorted(wanted)


async def pages_after(access: Access, wanted: Selection, page: JobList) -> list[JobList]:
    found: list[JobList] = []
    while page.cursor is not None:
        page = await list_jobs(access, wanted, limit=4, after=page.cursor)
        found.append(page)
    return found


async def test_what_is_kept_longer_than_usual_does_not_hide_what_ended_a_moment_ago(
    access: Access, shop: Shop
) -> None:
    for number in range(3):
        kept = shop.send.options(queue="default", retention=timedelta(days=30), shard_key="one")
        await kept.enqueue(str(number))
        await shop.hand.complete()
    usual = await shop.send.options(queue="default", shard_key="one").enqueue("usual")
    await shop.hand.complete()
    done = Selection(statuses=frozenset({JobStatus.COMPLETED}))
    found = await pages(access, done, limit=1)
    assert ids(found)[0] == usual.id
    assert len(ids(found)) == 4


async def test_all_that_is_meant_comes_in_batches(access: Access, shelves: dict[str, set[str]]) -> None:
    cancelled = Selection(statuses=frozenset({JobStatus.CANCELLED}))
    found = [[seen.id for seen in batch] async for batch in matching(access, cancelled, batch=2)]
    assert [len(batch) for batch in found] == [2, 2, 1]
    assert {job_id for batch in found for job_id in batch} == shelves["cancelled"]
    assert await count_matching(access, cancelled, until=0) == 0
    streamed = [job.id async for page in each_page(access, cancelled, limit=3) for job in page]
    assert len(streamed) == 3


@pytest.mark.parametrize(
    "text", ["", "nonsense", "a:b:c:d", "1:q4:z-1:default.0.x:y", "1:x4:1-1:default.0.x"]
)
async def test_a_cursor_that_is_none_is_refused(access: Access, text: str) -> None:
    with pytest.raises(InvalidOption, match="--after"):
        await list_jobs(access, after=text)


async def test_a_cursor_of_another_listing_is_refused(access: Access, shelves: dict[str, set[str]]) -> None:
    del shelves
    running = Selection(statuses=frozenset({JobStatus.RUNNING}))
    page = await list_jobs(access, running, limit=1)
    with pytest.raises(InvalidOption, match="another listing"):
        await list_jobs(access, Selection(statuses=frozenset({JobStatus.FAILED})), after=page.cursor)


async def test_what_a_walk_sets_free_behind_its_back_is_met_too(access: Access, shop: Shop) -> None:
    follow = shop.risky.options(dedupe_key="x", on_duplicate="follow")
    first = await follow.enqueue(1)
    shard, delivery = await shop.hand.take_one()
    second = await follow.enqueue(2)
    await shop.hand.finish("default", shard, delivery, OutcomeKind.RETRY, due="+60000", failure="{}")
    waiting = Selection(statuses=WAITING)
    met: list[str] = []
    async for batch in until_none(access, waiting, batch=1):
        met += [seen.id for seen in batch]
        await cancel_jobs(access, named(seen.id for seen in batch), only_waiting=True)
    assert met == [first.id, second.id]
    assert {await first.status(), await second.status()} == {JobStatus.CANCELLED}
