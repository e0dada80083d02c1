"""``app.health()``: every process sees which schedules and singletons are silent, on every backend."""

from collections.abc import AsyncIterator

import pytest

from capelin import Capelin, Health, Leader
from capelin.lua.scheduling import schedule_beat
from capelin.settings import Settings
from tests.support.waiting import wait_until
from tests.support.workers import QUICK, RunningWorker


@pytest.fixture
async def app(backend_url: str) -> AsyncIterator[Capelin[None]]:
    app = Capelin(backend_url, name="watched", settings=Settings(lease_ttl=1.0))
    async with app:
        yield app


async def unhealthy(app: Capelin[None]) -> set[str]:
    return {check.name for check in (await app.health()).checks if not check.healthy}


async def test_nothing_declared_is_healthy_and_nobody_leads(app: Capelin[None]) -> None:
    health = await app.health()
    assert health.healthy
    assert health.checks == ()
    assert health.leader.worker is None


async def test_a_schedule_that_nobody_runs_is_silent_after_two_ticks(app: Capelin[None]) -> None:
    @app.task
    async def work() -> None: ...

    # No worker at all: nothing gives grace.
    await app.schedule("quick", 0.2, work.job())
    await app.schedule("slow", 3600, work.job())
    [one] = [check for check in (await app.health()).checks if check.name == "quick"]
    assert one.last is None
    assert one.due_by is not None

    async def silent() -> bool:
        return await unhealthy(app) == {"quick"}

    await wait_until(silent, description="the quick schedule to have been silent for too long")
    assert not (await app.health()).healthy

    await app.schedules.pause("quick")
    assert await unhealthy(app) == set(), "nothing is expected of a paused one"
    await app.schedules.resume("quick")
    assert await unhealthy(app) == set(), "and what it missed in its pause is not owed"


async def test_runs_and_signs_of_life_are_seen_by_every_process(
    app: Capelin[None], running_worker: RunningWorker
) -> None:
    @app.every(0.5)
    async def beat() -> None: ...

    @app.singleton("host", interval=0.5)
    async def host(leader: Leader[None]) -> None:
        await leader.heartbeat()

    worker = await running_worker(app, settings=QUICK)

    async def health_of(onlooker: Capelin[None]) -> Health:
        return await onlooker.health()

    async with Capelin(app.url, name="onlooker") as other:

        async def both() -> bool:
            checks = (await health_of(other)).checks
            return len(checks) == 2 and all(check.last is not None for check in checks)

        await wait_until(both, description="a run of the schedule and of the singleton to be seen")
        health = await health_of(other)
        assert health.leader.worker == worker.id
        assert {(check.kind.value, check.name, check.app) for check in health.checks} == {
            ("schedule", "beat", "watched"),
            ("singleton", "host", "watched"),
        }

        await worker.stop()

        async def both_silent() -> bool:
            return await unhealthy(other) == {"beat", "host"}

        await wait_until(both_silent, description="both to have been silent for too long")
        assert (await health_of(other)).leader.worker is None


async def test_a_run_of_a_schedule_that_was_removed_leaves_nothing(app: Capelin[None]) -> None:
    connection = app.client().connection
    assert not await connection.run(schedule_beat(app.keys, name="gone"))
    assert await connection.command("HGETALL", app.keys.schedules_beats) == []
