"""A queue is cut anew under load: nothing is lost, nothing runs twice, no key has two live jobs, no tick two.

Worker processes work, and clients that know old layouts enqueue, through all of it (guarantees 1, 2, 7, 8).
"""

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from itertools import pairwise

import pytest

from capelin import Capelin
from capelin.admin import Access, Resharding, open_access, reshard_queue
from capelin.jobs import Job
from capelin.options import OnDuplicateName
from capelin.settings import Settings
from tests.guarantees.apps import recording
from tests.guarantees.fleet import TTL, Fleet, Noted
from tests.support.waiting import wait_until

KEYS = [f"key{number}" for number in range(12)]
WAYS: tuple[OnDuplicateName, ...] = ("keep", "follow", "replace")


class Load:
    """Clients that enqueue until they are told to stop.

    Attributes:
        accepted: The jobs that were accepted as new ones.
        keys: The key of those that have one, by id.
        duplicates: How often a key was found held.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._random = random.Random(7)  # noqa: S311 -- any will do
        self.stopping = asyncio.Event()
        self.accepted: list[Job[object]] = []
        self.keys: dict[str, str] = {}
        self.duplicates = 0

    async def enqueue(self, app: Capelin[None]) -> None:
        """Enqueue a list without keys, and some jobs with keys."""
        self.accepted += await app.enqueue([recording.quick.job(number) for number in range(5)])
        for key in self._random.sample(KEYS, 3):
            task = recording.lasting.options(dedupe_key=key, on_duplicate=self._random.choice(WAYS))
            job = await app.enqueue(task.job(0.3))
            if job.duplicate:
                self.duplicates += 1
            elif job.id not in self.keys:
                self.accepted.append(job)
                self.keys[job.id] = key

    async def run(self, app: Capelin[None]) -> None:
        """Enqueue until told to stop."""
        while not self.stopping.is_set():
            await self.enqueue(app)

    async def more(self, count: int) -> None:
        """Return when so many more jobs have been accepted, and run."""
        wanted = len(self.accepted) + count
        await wait_until(
            lambda: len(self.accepted) >= wanted and len(self._fleet.ends()) >= wanted - 200,
            description=f"{wanted} jobs to be accepted and most to have run",
            timeout=60,
        )


@asynccontextmanager
async def clients(fleet: Fleet, count: int) -> AsyncGenerator[list[Capelin[None]]]:
    """Apps with a client each: what one has learned of a layout the others have not."""
    async with AsyncExitStack() as ends:
        apps = [Capelin(fleet.server.url, name=f"client{number}") for number in range(count)]
        for app in apps:
            app.include(recording.tasks)
            await ends.enter_async_context(app)
        yield apps


@pytest.fixture
async def access(fleet: Fleet) -> AsyncIterator[Access]:
    """An operator's access."""
    async with open_access(fleet.server.url, prefix="capelin", settings=Settings()) as access:
        yield access


async def cut(fleet: Fleet, access: Access, shards: int) -> Resharding:
    """Cut the queue anew; return when workers serve all of its shards."""
    found = await reshard_queue(access, "default", shards)
    assert found.changed
    await wait_until(
        lambda: len(fleet.owners(shards=found.reach)) == found.reach,
        description=f"{found.reach} shards to be owned",
    )
    return found


async def test_from_8_to_32_and_back_under_load(fleet: Fleet, access: Access) -> None:
    await fleet.start("a", "b", lease_ttl=TTL)
    await fleet.app.schedule("beat", timedelta(seconds=1), recording.quick.job(0), overlap="skip")
    load = Load(fleet)
    async with clients(fleet, 3) as [first, second, sleeper], asyncio.TaskGroup() as group:
        await load.enqueue(sleeper)
        for app in (first, second):
            group.create_task(load.run(app))
        await load.more(200)
        await a_tick(fleet)
        await cut(fleet, access, 32)
        await a_tick(fleet)
        await load.more(300)
        await load.enqueue(sleeper)  # it still knows the first layout
        await cut(fleet, access, 8)
        await a_tick(fleet)
        await load.enqueue(sleeper)  # and now the second
        await load.more(300)
        load.stopping.set()
    await fleet.app.schedules.remove("beat")
    await nothing_is_lost_or_done_twice(fleet, load)
    no_key_had_two_live_jobs(fleet, load)
    no_tick_had_two_jobs(fleet)
    left = await reshard_queue(access, "default", 8)
    assert (left.changed, left.older, left.live, left.keys) == (False, (), 0, 0)


async def nothing_is_lost_or_done_twice(fleet: Fleet, load: Load) -> None:
    """Every job that was accepted ran once and is recorded once; nothing else did."""
    ids = {job.id for job in load.accepted}
    assert len(ids) == len(load.accepted), "no two requests were given one new job"
    accounts = await fleet.all_completed(load.accepted, timeout=60)
    assert [account for account in accounts if not account.clean] == []
    census = fleet.census()
    ticks = {job.id for job in census.jobs.values() if "schedule" in job.record}
    assert {job.id for job in census.jobs.values()} - ticks == ids
    assert {job.status for job in census.jobs.values()} == {"completed"}
    started = [(start.job, start.token) for start in fleet.starts()]
    assert sorted(started) == sorted((job, 1) for job in ids | ticks)
    used = {int(job.id.split(".")[1]) for job in census.jobs.values()}
    assert len(used) > 16, "the new shards had jobs"


def no_key_had_two_live_jobs(fleet: Fleet, load: Load) -> None:
    """Of the jobs with one key, each began after the one before was over."""
    runs: defaultdict[str, list[tuple[Noted, Noted]]] = defaultdict(list)
    overs = {(over.job, over.token): over for over in fleet.overs()}
    for start in fleet.starts():
        if start.job in load.keys:
            runs[load.keys[start.job]].append((start, overs[start.job, start.token]))
    assert set(runs) == set(KEYS)
    for of_key in runs.values():
        of_key.sort(key=lambda run: run[0].at)
        for (_, over), (start, _) in pairwise(of_key):
            assert start.at >= over.at, f"{start.job} ran beside {over.job}"
    assert load.duplicates > 0


def ticks_of(fleet: Fleet) -> list[str]:
    """The tick of each job of the schedule."""
    return [job.record["tick"] for job in fleet.census().jobs.values() if "schedule" in job.record]


async def a_tick(fleet: Fleet) -> None:
    """Wait until the schedule has ticked once more."""
    before = len(ticks_of(fleet))
    await wait_until(lambda: len(ticks_of(fleet)) > before, description="a tick to become a job")


def no_tick_had_two_jobs(fleet: Fleet) -> None:
    """Each tick is the tick of one job."""
    ticks = ticks_of(fleet)
    assert len(ticks) == len(set(ticks)) > 0
