"""Orders to workers: quiet, resume, stop, on every kind of Redis.

Leases hold for a minute here, so that whatever moves within a test was given up, and did not end.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from capelin import Capelin, Leader, inbox
from capelin.admin import (
    Access,
    NotObeyed,
    NotThere,
    Order,
    WorkerState,
    find_worker,
    list_queues,
    list_workers,
    open_access,
    read_leader,
    tell_worker,
)
from capelin.records import JobStatus
from capelin.settings import Settings
from capelin.workers.fleet import Member
from tests.support.waiting import wait_until
from tests.support.workers import LocalWorker, start_worker

LONG = Settings(lease_ttl=60.0, grace=60.0)


class Crew:
    """Workers, and a task that runs until the test lets it go."""

    def __init__(self, url: str, access: Access, ends: AsyncExitStack) -> None:
        self.access, self.ends = access, ends
        self.app = Capelin(url, name="crew", settings=LONG)
        self.door = asyncio.Event()
        self.hosted: list[str] = []

        @self.app.task
        async def held() -> str:
            await self.door.wait()
            return "done"

        @self.app.task
        async def quick() -> str:
            return "quick"

        self.held, self.quick = held, quick

    async def hire(self, *, scheduler: bool = False) -> LocalWorker:
        worker = await start_worker(self.ends, self.app, scheduler=scheduler)

        async def joined() -> bool:
            return any(one.id == worker.id for one in await list_workers(self.access))

        await wait_until(joined, description="the worker to be a member")
        others = [one.id for one in await list_workers(self.access) if one.id != worker.id]
        # Who joins is seen at the next renewal, which is long in coming here.
        await inbox.post_many(self.access.connection, self.access.keys, others, inbox.Kind.FLEET)
        return worker

    async def owned(self) -> dict[str, int]:
        return {one.id: len(one.shards) for one in await list_workers(self.access) if one.shards}

    async def state(self, worker: LocalWorker) -> WorkerState:
        return next(one.state for one in await list_workers(self.access) if one.id == worker.id)


@pytest.fixture
async def crew(backend_url: str) -> AsyncIterator[Crew]:
    async with AsyncExitStack() as ends:
        access = await ends.enter_async_context(
            open_access(backend_url, prefix="capelin", settings=Settings())
        )
        crew = Crew(backend_url, access, ends)
        await ends.enter_async_context(crew.app)
        yield crew
        crew.door.set()


async def test_a_quiet_worker_finishes_what_runs_and_the_others_own_its_shards_at_once(crew: Crew) -> None:
    first = await crew.hire()
    job = await crew.held.enqueue()
    await wait_until(lambda: len(first.worker.running) == 1, description="the job to run")
    second = await crew.hire()

    async def shared() -> bool:
        return await crew.owned() == {first.id: 4, second.id: 4}

    await wait_until(shared, description="both to own shards")
    await tell_worker(crew.access, first.id, Order.QUIET)
    assert await crew.state(first) is WorkerState.QUIET

    async def taken_over() -> bool:
        return await crew.owned() == {second.id: 8}

    await wait_until(taken_over, description="the second to own all shards")
    results = [await (await crew.quick.enqueue()).result(timeout=20) for _ in range(8)]
    assert results == ["quick"] * 8
    [standing] = [one for one in await list_workers(crew.access) if one.id == first.id]
    assert (standing.queues, standing.running) == (("default",), {"default": 1})
    [queue] = await list_queues(crew.access)
    assert queue.workers == (second.id,), "a quiet worker serves no queue"
    crew.door.set()
    assert await job.result(timeout=20) == "done"


async def test_a_quiet_worker_takes_nothing_until_it_is_told_to_go_on(crew: Crew) -> None:
    worker = await crew.hire()
    await tell_worker(crew.access, worker.id, Order.QUIET)

    async def gave_up() -> bool:
        return await crew.owned() == {}

    await wait_until(gave_up, description="it to give its shards up")
    job = await crew.quick.enqueue()
    rounds = worker.worker.heartbeat.rounds
    await tell_worker(crew.access, worker.id, Order.QUIET)  # again: nothing changes, and it looks around
    await wait_until(lambda: worker.worker.heartbeat.rounds > rounds, description="it to look around")
    assert await job.status() is JobStatus.QUEUED
    await tell_worker(crew.access, worker.id, Order.RESUME)
    assert await job.result(timeout=20) == "quick"
    assert await crew.state(worker) is WorkerState.ALIVE


async def test_a_quiet_worker_leads_no_more_and_hosts_no_singleton(crew: Crew) -> None:
    hosts: list[str] = []

    @crew.app.singleton("watch", interval=0.05)
    async def watch(leader: Leader[None]) -> None:
        hosts.append(leader.worker_id)

    first = await crew.hire(scheduler=True)
    await wait_until(lambda: first.worker.leads() and first.id in hosts, description="the first to lead")
    second = await crew.hire(scheduler=True)
    await tell_worker(crew.access, first.id, Order.QUIET)
    await wait_until(lambda: second.worker.leads() and second.id in hosts, description="the second to lead")
    led = await read_leader(crew.access)
    assert (led.worker, led.candidates) == (second.id, ())
    assert not first.worker.leads()


async def test_a_stopped_worker_ends_as_after_a_sigterm(crew: Crew) -> None:
    worker = await crew.hire()
    job = await crew.held.enqueue()
    await wait_until(lambda: len(worker.worker.running) == 1, description="the job to run")
    await tell_worker(crew.access, worker.id, Order.STOP)
    assert await crew.state(worker) is WorkerState.STOPPING
    crew.door.set()
    await worker.task
    assert await job.result(timeout=20) == "done"
    assert await list_workers(crew.access) == []


async def test_a_second_stop_hands_back_at_once_what_still_runs(crew: Crew) -> None:
    worker = await crew.hire()
    job = await crew.held.enqueue()
    await wait_until(lambda: len(worker.worker.running) == 1, description="the job to run")
    await tell_worker(crew.access, worker.id, Order.STOP)
    again = await find_worker(crew.access, worker.id[:-2])
    await tell_worker(crew.access, again.id, Order.STOP)
    await worker.task
    assert await job.status() is JobStatus.QUEUED
    assert (await job.info()).attempt == 0
    await job.cancel()


async def test_a_worker_that_does_not_do_as_it_is_told_is_named(crew: Crew) -> None:
    deaf = Member(
        id="deaf-1-x", app="crew", host="h", pid=1, version="0", started=0, queues=(), slots=1, tasks={}
    )
    keys = crew.app.keys
    await crew.access.commands(
        [
            ("HSET", keys.fleet_members, deaf.id, deaf.to_json()),
            ("ZADD", keys.fleet_expiry, 1e15, deaf.id),
        ]
    )
    with pytest.raises(NotObeyed, match="deaf-1-x was told to quiet and has not within"):
        await tell_worker(crew.access, deaf.id, Order.QUIET, patience=0)
    with pytest.raises(NotThere, match="did you mean"):
        await find_worker(crew.access, "daef-1-x")
