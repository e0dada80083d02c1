"""Schedules on every kind of Redis: declared, fired, paused, changed at run time, fired for others."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from capelin import Capelin, JobStatus, current_job
from capelin.errors import ScheduleExists, ScheduleNotFound
from capelin.lua import lease_acquire
from capelin.scheduler.clock import RedisClock
from capelin.scheduler.firing import Deposed, Firing
from capelin.timetable import Timetable
from tests.support.schedules import Fate, Gate, made
from tests.support.waiting import wait_until
from tests.support.workers import QUICK, LocalWorker, start_worker

PERIOD = timedelta(milliseconds=200)


class Town:
    """Apps and workers on one backend.

    Attributes:
        ran: The schedule, tick and job id of each run, in order.
    """

    def __init__(self, url: str, ends: AsyncExitStack) -> None:
        self.url, self._ends = url, ends
        self.ran: list[tuple[str | None, datetime | None, str]] = []

    def app(self, name: str = "shop") -> Capelin[Any]:
        """An app; its connections close with the test."""
        app: Capelin[Any] = Capelin(self.url, name=name, settings=QUICK)
        self._ends.push_async_callback(app.close)
        return app

    def shop(self, name: str = "shop", *, queue: str = "default") -> Capelin[Any]:
        """An app with the schedule `tidy`."""
        app = self.app(name)

        @app.every(PERIOD, queue=queue, catch_up="all", skip_if_older_than=None)
        async def tidy() -> None:
            self.note()

        return app

    def note(self) -> None:
        """Say what runs."""
        job = current_job()
        self.ran.append((job.schedule, job.tick, job.id))

    async def start(self, app: Capelin[Any]) -> LocalWorker:
        """Start a worker."""
        return await start_worker(self._ends, app)

    async def runs(self, more: int, schedule: str = "tidy") -> list[datetime]:
        """Return the ticks that ran, once some more have."""

        def ticks() -> list[datetime]:
            return [tick for name, tick, _ in self.ran if name == schedule and tick is not None]

        before = len(ticks())
        await wait_until(lambda: len(ticks()) >= before + more, description=f"{more} more runs of {schedule}")
        return ticks()


@pytest.fixture
async def town(backend_url: str) -> AsyncIterator[Town]:
    """Each backend."""
    async with AsyncExitStack() as ends:
        yield Town(backend_url, ends)


def without_gaps(ticks: list[datetime]) -> bool:
    """Whether each tick is there once."""
    first = min(ticks)
    return sorted(ticks) == [first + number * PERIOD for number in range(len(ticks))]


async def test_what_code_declares_is_fired_and_its_runs_complete(town: Town) -> None:
    app = town.shop()
    worker = await town.start(app)
    assert without_gaps(await town.runs(3))

    async def noted() -> bool:
        return (await app.schedules.info("tidy")).last_run is not None

    await wait_until(noted, description="a run to be noted")
    info = await app.schedules.info("tidy")
    assert (info.app, info.source, info.task, info.last_outcome) == ("shop", "code", "tidy", "fired")
    assert info.fired >= 3
    assert info.skipped == {}
    assert (await app.schedules.leader()).worker == worker.id
    job = town.ran[0][2]
    assert (await app.job(job).info()).status is JobStatus.COMPLETED


async def test_what_it_knows_survives_the_death_of_all(town: Town) -> None:
    app = town.shop()
    first = await town.start(app)
    await town.runs(2)
    await first.stop()
    state = (await app.schedules.info("tidy")).fired
    began = datetime.now(UTC)
    await wait_until(lambda: datetime.now(UTC) > began + 3 * PERIOD, description="some ticks with nobody")
    assert (await app.schedules.info("tidy")).fired == state

    second = await town.start(town.shop())
    ticks = await town.runs(5)
    assert without_gaps(ticks)
    info = await app.schedules.info("tidy")
    assert info.fired >= state + 5
    leader = await app.schedules.leader()
    assert leader.worker == second.id


async def test_a_paused_one_is_not_fired_and_owes_nothing_when_it_goes_on(town: Town) -> None:
    app = town.shop()
    await town.start(app)
    await town.runs(1)
    assert await app.schedules.pause("tidy")
    assert not await app.schedules.pause("tidy")
    info = await app.schedules.info("tidy")
    assert (info.status, info.next) == ("paused", None)
    assert info.paused is not None
    began = datetime.now(UTC)
    await wait_until(lambda: datetime.now(UTC) > began + 3 * PERIOD, description="some ticks of the pause")
    assert await app.schedules.resume("tidy")
    assert not await app.schedules.resume("tidy")
    resumed = (await app.schedules.info("tidy")).since
    assert resumed is not None
    ticks = await town.runs(2)
    # One that was under way when it was paused may still have run.
    assert [tick for tick in ticks if info.paused < tick <= resumed] == []
    assert without_gaps([tick for tick in ticks if tick > resumed])


async def test_schedules_are_added_changed_triggered_and_removed_at_run_time(town: Town) -> None:
    app = town.app()

    @app.task
    async def greet(whom: str) -> str:
        town.note()
        return whom

    await town.start(app)
    await app.schedule("greeting", PERIOD, greet.job("you"), catch_up="all", skip_if_older_than=None)
    assert without_gaps(await town.runs(2, "greeting"))
    with pytest.raises(ScheduleNotFound, match="greeting"):
        await app.schedules.pause("greting")

    await app.schedule("greeting", "0 0 1 1 *", greet.job("them"))
    changed = await app.schedules.info("greeting")
    assert (changed.args, changed.source) == (("them",), "api")
    count = len(town.ran)
    triggered = await app.schedules.trigger("greeting")
    assert await app.job(triggered.job_id, greet).result(timeout=20) == "them"
    assert [(name, tick) for name, tick, job in town.ran if job == triggered.job_id] == [("greeting", None)]
    assert len(town.ran) <= count + 2, "besides the triggered one, at most a tick that was under way"

    await app.schedules.remove("greeting")
    with pytest.raises(ScheduleNotFound):
        await app.schedules.info("greeting")


async def test_what_code_declares_is_not_removed_and_a_name_belongs_to_one_app(town: Town) -> None:
    app, other = town.shop(), town.shop("other")
    await town.start(app)
    await town.runs(1)
    with pytest.raises(ScheduleExists, match="code declares it"):
        await app.schedules.remove("tidy")
    with pytest.raises(ScheduleExists, match="shop"):
        await other.schedule("tidy", PERIOD, other.task_named("tidy").job())


@pytest.mark.parametrize("served", [True, False])
async def test_the_schedule_of_an_app_that_nobody_runs_is_fired_and_its_jobs_wait(
    town: Town, *, served: bool
) -> None:
    app = town.shop(queue="default" if served else "aside")
    first = await town.start(app)
    await town.runs(1)
    await first.stop()

    other = town.app("another")

    @other.task
    async def nothing() -> None: ...

    stranger = await town.start(other)
    before = await app.schedules.info("tidy")

    async def fired() -> bool:
        return (await app.schedules.info("tidy")).fired >= before.fired + 3

    await wait_until(fired, description="the stranger to fire ticks")
    assert (await app.schedules.leader()).worker == stranger.id
    info = await app.schedules.info("tidy")
    assert info.last_job is not None
    waits = JobStatus.PARKED if served else JobStatus.QUEUED

    async def waiting() -> bool:
        return await app.job(info.last_job or "").status() is waits

    await wait_until(waiting, description=f"the job to be {waits}")
    count = len(town.ran)
    await town.start(town.shop(queue="default" if served else "aside"))
    await wait_until(
        lambda: info.last_job in {job for _, _, job in town.ran}, description="the job that waited to run"
    )
    await wait_until(lambda: len(town.ran) >= count + 3, description="the others that waited to run")
    ticks = await town.runs(1)

    async def all_ran() -> bool:
        last = (await app.schedules.info("tidy")).last_tick
        return last is not None and {tick for _, tick, _ in town.ran} >= {
            last - number * PERIOD for number in range(1, 4)
        }

    await wait_until(all_ran, description="the jobs that waited to run")
    ticks = [tick for _, tick, _ in town.ran if tick is not None]
    assert len(ticks) == len(set(ticks))


@pytest.mark.parametrize("late", [False, True])
async def test_what_a_leader_sends_after_its_successor_has_committed_adds_nothing(
    town: Town, *, late: bool
) -> None:
    app = town.app()
    client = app.client()
    timetable = Timetable(client.connection, app.keys)
    await timetable.put("shop", made())
    gates = [Gate(town.url, shut=False) for _ in range(2)]

    async def lead(owner: str, gate: Gate) -> tuple[Firing, int]:
        call = lease_acquire(app.keys.schedules_lease, owner=owner, ttl=1)
        epoch = 0
        while not epoch:  # the one before holds it for another millisecond
            epoch = (await client.connection.run(call)).epoch
        return Firing(gate, app.keys, QUICK, owner=owner, clock=RedisClock()), epoch

    try:
        await owes_of_a_minute(app, "tidy")
        zombie, old = await lead("w1", gates[0])
        gates[0].shut = True
        turning = asyncio.create_task(zombie.turn(old))
        while not gates[0].asks("enqueue"):
            assert not turning.done()
            for asked in [asked for asked in gates[0].waiting if not asked.fate.done()]:
                asked.fate.set_result(Fate.ANSWERED)
            await asyncio.sleep(0)
        intent = (await timetable.get("tidy")).intent
        assert intent is not None

        heir, epoch = await lead("w2", gates[1])
        await heir.turn(epoch)
        state = (await timetable.get("tidy")).state
        assert state.last is not None
        assert state.last >= intent.tick
        record = await app.job(intent.job).info()
        assert record.status is JobStatus.QUEUED
        await app.job(intent.job).cancel()

        gates[0].shut = False
        gates[0].waiting[0].fate.set_result(Fate.LATE if late else Fate.ANSWERED)
        [outcome] = await asyncio.gather(turning, return_exceptions=True)
        assert late or isinstance(outcome, Deposed)
        assert bool(gates[0].late) is late
        for calls in gates[0].late:
            await client.connection.run_many(calls)
        with pytest.raises(Deposed):
            await zombie.turn(old)
        assert (await app.job(intent.job).info()).status is JobStatus.CANCELLED
        assert (await timetable.get("tidy")).state == state
    finally:
        for gate in gates:
            await gate.close()


async def owes_of_a_minute(app: Capelin[Any], name: str) -> None:
    """Let a schedule owe the ticks of the last minute, as if nobody had led."""
    connection, key = app.client().connection, app.keys.schedules_items
    item = json.loads(await connection.command("HGET", key, name))
    await connection.command("HSET", key, name, json.dumps(item | {"since": item["since"] - 60_000}))
