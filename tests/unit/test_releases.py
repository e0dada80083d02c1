"""Which release's schedules count: the first pod of a new one decides, and old ones do not fight it."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from capelin import Capelin
from capelin.lua.scheduling import schedule_declare
from capelin.scheduler import releases
from capelin.scheduler.firing import Deposed
from capelin.scheduler.releases import GONE_FOR, Choice, Declaration, Releases
from capelin.schedules import Schedule
from capelin.timing import Every
from tests.support.schedules import APP, Leader, Stage, made
from tests.support.waiting import wait_until
from tests.support.workers import QUICK, LocalWorker, start_worker

HOUR = 3600.0


class TestChoice:
    """What is decided, from who was seen when."""

    def setup_method(self) -> None:
        self.seconds = 0.0
        self.choice = Choice(clock=lambda: self.seconds)
        self.first = {"old": 1_000, "new": 2_000}

    def decide(self, *live: str) -> str | None:
        """See the fleet, and decide."""
        self.choice.see([("shop", one) for one in self.first], [("shop", one) for one in live])
        return self.choice.decide("shop", self.first, set(live))

    def test_the_newest_that_lives_counts(self) -> None:
        assert self.decide("old", "new") == "new"
        assert self.decide("new") == "new"

    def test_the_first_pod_of_a_new_one_decides_however_many_old_ones_there_are(self) -> None:
        del self.first["new"]
        assert self.decide("old") == "old"
        self.first["new"] = 2_000
        assert self.decide("old", "new") == "new"

    def test_one_that_has_just_died_is_waited_for(self) -> None:
        assert self.decide("old", "new") == "new"
        for _ in range(10):
            self.seconds += GONE_FOR / 10 - 0.1
            assert self.decide("old") is None
        self.seconds += 1.1
        assert self.decide("old") == "old"

    def test_one_that_comes_and_goes_is_not_given_up(self) -> None:
        self.decide("old", "new")
        for _ in range(5):
            self.seconds += GONE_FOR - 1
            assert self.decide("old") is None
            assert self.decide("old", "new") == "new"

    def test_a_new_leader_waits_as_long_as_if_it_had_just_seen_everybody(self) -> None:
        self.seconds = 5 * HOUR
        assert self.decide("old") is None
        self.seconds += GONE_FOR
        assert self.decide("old") == "old"

    def test_an_app_that_nobody_runs_keeps_what_it_has(self) -> None:
        assert self.decide("old", "new") == "new"
        self.seconds += 10 * GONE_FOR
        assert self.decide() is None

    def test_two_that_were_first_seen_in_the_same_moment_are_told_apart_alike_by_all(self) -> None:
        self.first = {"b": 1_000, "a": 1_000}
        assert self.decide("a", "b") == "b"
        self.first = {"a": 1_000, "b": 1_000}
        assert self.decide("a", "b") == "b"

    def test_one_of_three_that_is_gone_is_passed_over_and_the_next_is_not(self) -> None:
        self.first = {"oldest": 500, "old": 1_000, "new": 2_000}
        self.decide("oldest", "old", "new")
        self.seconds += GONE_FOR - 1
        assert self.decide("oldest", "old") is None
        self.seconds += 1
        assert self.decide("oldest", "old") == "old"
        assert self.decide("oldest") is None
        self.seconds += GONE_FOR
        assert self.decide("oldest") == "oldest"

    def test_another_apps_releases_do_not_count(self) -> None:
        self.choice.see([("shop", "old"), ("other", "new")], [("shop", "old")])
        assert self.choice.decide("shop", {"old": 1_000}, {"old"}) == "old"


class Deploys:
    """Releases of apps as a leader finds them in Redis, with its clock in the test's hand."""

    def __init__(self, stage: Stage, leader: Leader) -> None:
        self.stage, self.leader = stage, leader
        self.seconds = 0.0
        self.releases = self.new()

    def new(self) -> Releases:
        """What a leader that has just begun knows."""
        stage, leader = self.stage, self.leader
        return Releases(stage.connection, stage.keys, owner=leader.owner, clock=lambda: self.seconds)

    async def declare(self, *schedules: Schedule, app: str = APP) -> Declaration:
        """A worker of a release starts; a millisecond passes, so that two are not alike."""
        self.stage.advance(1)
        declared = Declaration.of(app, schedules, ())
        call = schedule_declare(self.stage.keys, release=declared.key, text=declared.to_json())
        await self.stage.connection.run(call)
        return declared

    async def live(self, *live: Declaration, after: float = 0.0) -> None:
        """Let time pass, and the leader look at the fleet: one worker of each of these."""
        self.seconds += after
        members = {f"w{number}": (one.app, one.digest) for number, one in enumerate(live)}
        await self.releases.settle(self.leader.epoch, members)

    async def standing(self) -> dict[str, str]:
        """Schedules by name: `active` or `retired`."""
        _, entries = await self.stage.timetable.read()
        return {name: "active" if entry.retired is None else "retired" for name, entry in entries.items()}


@pytest.fixture
async def deploys() -> AsyncIterator[Deploys]:
    """A leader, and no release yet."""
    async with Stage() as stage:
        yield Deploys(stage, await stage.leader("w1"))


OLD, NEW, BOTH = made("old"), made("new"), made("both")
BOTH_SLOWER = made("both", Every(60_000))


async def test_a_rolling_deploy_adds_changes_and_retires_with_its_first_pod(deploys: Deploys) -> None:
    first = await deploys.declare(OLD, BOTH)
    await deploys.live(first)
    assert await deploys.standing() == {"old": "active", "both": "active"}
    since = (await deploys.stage.entry("both")).since
    deploys.stage.advance(5_000)
    second = await deploys.declare(NEW, BOTH)
    await deploys.live(first, first, second)
    assert await deploys.standing() == {"old": "retired", "both": "active", "new": "active"}
    assert (await deploys.stage.entry("both")).since == since, "what did not change owes what it owed"
    # Old pods restart, and say again what they declare.
    version = (await deploys.stage.timetable.read())[0]
    await deploys.declare(OLD, BOTH)
    await deploys.live(first, first, first, second, after=20)
    await deploys.live(second, first, after=20)
    assert (await deploys.stage.timetable.read())[0] == version
    await deploys.live(second)
    assert await deploys.standing() == {"old": "retired", "both": "active", "new": "active"}


async def test_a_rollback_takes_effect_when_the_newer_one_has_been_gone_for_a_minute(
    deploys: Deploys,
) -> None:
    first = await deploys.declare(OLD, BOTH)
    await deploys.live(first)
    second = await deploys.declare(NEW, BOTH_SLOWER)
    await deploys.live(first, second)
    assert (await deploys.stage.entry("both")).schedule == BOTH_SLOWER
    await deploys.live(first, after=GONE_FOR - 1)
    assert (await deploys.stage.entry("both")).schedule == BOTH_SLOWER
    await deploys.live(first, after=1)
    assert await deploys.standing() == {"old": "active", "both": "active", "new": "retired"}
    assert (await deploys.stage.entry("both")).schedule == BOTH
    # And forward again.
    await deploys.live(first, second, after=1)
    assert await deploys.standing() == {"old": "retired", "both": "active", "new": "active"}


async def test_one_that_was_retired_keeps_its_pause_and_its_counts_and_owes_nothing(deploys: Deploys) -> None:
    stage = deploys.stage
    first = await deploys.declare(OLD)
    await deploys.live(first)
    stage.advance(10_000)
    await deploys.leader.turn()
    await stage.timetable.pause("old")
    second = await deploys.declare(NEW)
    await deploys.live(second)
    stage.advance(100_000)
    await deploys.live(first, after=2 * GONE_FOR)
    entry = await stage.entry("old")
    assert entry.retired is None
    assert entry.paused is not None
    assert entry.state.fired == 1
    await stage.timetable.resume("old")
    stage.advance(10_000)
    await deploys.leader.turn()
    assert len(stage.ticks("old")) == 2


async def test_a_singleton_that_an_old_pod_declares_again_goes_again(deploys: Deploys) -> None:
    stage = deploys.stage
    declared = await deploys.declare(NEW)
    key = stage.keys.singletons
    for _ in range(2):  # the second time, an old pod has restarted
        await stage.connection.command("HSET", key, "gone", json.dumps({"app": APP}))
        await stage.connection.command("HSET", key, "others", '{"app":"other"}')
        await deploys.live(declared, after=20)
        assert await stage.connection.command("HKEYS", key) == [b"others"]


async def test_schedules_that_redis_lost_are_put_in_place_again(deploys: Deploys) -> None:
    declared = await deploys.declare(OLD, BOTH)
    await deploys.live(declared)
    await deploys.stage.connection.command("HDEL", deploys.stage.keys.schedules_items, "old")
    await deploys.live(declared, after=20)
    assert await deploys.standing() == {"old": "active", "both": "active"}


async def test_a_retired_one_is_not_fired(deploys: Deploys) -> None:
    first = await deploys.declare(OLD)
    await deploys.live(first)
    await deploys.leader.turn()
    await deploys.live(await deploys.declare(NEW))
    deploys.stage.advance(10_000)
    await deploys.leader.turn()
    assert [job.schedule for job in deploys.stage.jobs()] == ["new"]


async def test_another_leader_decides_alike(deploys: Deploys) -> None:
    first, second = await deploys.declare(OLD), await deploys.declare(NEW)
    await deploys.live(first, second)
    assert await deploys.standing() == {"new": "active"}
    version = (await deploys.stage.timetable.read())[0]
    deploys.releases = deploys.new()
    await deploys.live(first, second)
    await deploys.live(first, after=1)
    assert (await deploys.stage.timetable.read())[0] == version


async def test_a_leader_that_was_deposed_changes_nothing(deploys: Deploys) -> None:
    first = await deploys.declare(OLD)
    await deploys.stage.leader("w2")
    with pytest.raises(Deposed):
        await deploys.live(first)
    assert await deploys.standing() == {}


async def test_apps_do_not_touch_each_others_schedules_nor_those_of_run_time(deploys: Deploys) -> None:
    await deploys.stage.put(made("by-hand"))
    first = await deploys.declare(OLD)
    other = await deploys.declare(made("theirs"), app="other")
    await deploys.live(first, other)
    second = await deploys.declare(NEW)
    await deploys.live(second, other)
    await deploys.live(second, await deploys.declare(app="other"))
    assert await deploys.standing() == {
        "by-hand": "active",
        "old": "retired",
        "new": "active",
        "theirs": "retired",
    }


async def test_a_name_that_another_app_gives_up_is_taken_over(deploys: Deploys) -> None:
    theirs = await deploys.declare(OLD, app="other")
    await deploys.live(theirs)
    mine = await deploys.declare(OLD, NEW)
    await deploys.live(mine, theirs)
    assert (await deploys.stage.entry("old")).app == "other"
    assert (await deploys.stage.entry("new")).app == APP
    await deploys.live(mine, await deploys.declare(app="other"))
    await deploys.live(mine, after=GONE_FOR)
    entry = await deploys.stage.entry("old")
    assert (entry.app, entry.retired) == (APP, None)


async def test_a_release_that_nobody_runs_for_an_hour_is_forgotten_and_then_new_again(
    deploys: Deploys,
) -> None:
    first, second = await deploys.declare(OLD), await deploys.declare(NEW)
    await deploys.live(first, second)
    await deploys.live(first, after=GONE_FOR)
    assert await deploys.standing() == {"old": "active", "new": "retired"}
    third = await deploys.declare(BOTH)
    await deploys.live(first, third, after=HOUR)
    assert await deploys.standing() == {"old": "retired", "new": "retired", "both": "active"}
    await deploys.live(third, await deploys.declare(NEW))
    assert await deploys.standing() == {"old": "retired", "new": "active", "both": "retired"}


async def test_what_was_retired_a_week_ago_is_removed(deploys: Deploys) -> None:
    first = await deploys.declare(OLD)
    await deploys.live(first)
    second = await deploys.declare(NEW)
    await deploys.live(second, first)
    deploys.stage.advance(7 * 86_400_000 - 1_000)
    await deploys.live(second, after=20)
    assert await deploys.standing() == {"old": "retired", "new": "active"}
    deploys.stage.advance(2_000)
    await deploys.live(second, after=20)
    assert await deploys.standing() == {"new": "active"}


async def test_a_release_that_redis_does_not_know_is_asked_for_it_soon(deploys: Deploys) -> None:
    stage = deploys.stage
    unknown = Declaration.of(APP, [OLD], ())
    await deploys.live(unknown)
    assert stage.redis("XLEN", stage.keys.inbox("w0")) == 1
    await deploys.declare(OLD)
    await deploys.live(unknown, after=1)
    assert await deploys.standing() == {"old": "active"}


async def test_one_that_never_answers_is_asked_ever_more_rarely(deploys: Deploys) -> None:
    stage = deploys.stage
    unknown = Declaration.of(APP, [OLD], ())
    for _ in range(600):
        await deploys.live(unknown, after=0.1)
    assert 3 <= int(str(stage.redis("XLEN", stage.keys.inbox("w0")))) <= 12


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"first":1,"text":"{"}', '{"first":1,"text":"[]"}', '{"text":""}']
)
async def test_a_torn_declaration_holds_up_no_other(deploys: Deploys, text: str) -> None:
    stage = deploys.stage
    stage.redis("HSET", stage.keys.schedules_declared, "torn 1", text)
    stage.redis("HSET", stage.keys.singletons, "torn", text)
    await deploys.live(await deploys.declare(OLD))
    assert await deploys.standing() == {"old": "active"}


async def test_many_schedules_are_put_in_place_in_parts(deploys: Deploys) -> None:
    many = [made(f"s{number:04}") for number in range(600)]
    first = await deploys.declare(*many)
    await deploys.live(first)
    assert list((await deploys.standing()).values()) == ["active"] * 600
    await deploys.live(first, await deploys.declare(many[0]))
    assert sorted((await deploys.standing()).values()) == ["active"] + ["retired"] * 599


class TestWithWorkers:
    """Two releases of one app, as workers."""

    @pytest.fixture
    async def ends(self) -> AsyncIterator[AsyncExitStack]:
        """What ends with the test."""
        async with AsyncExitStack() as ends:
            yield ends

    def release(self, url: str, ends: AsyncExitStack, *names: str) -> Capelin[Any]:
        """A release that declares schedules of these names; all know all tasks."""
        app: Capelin[Any] = Capelin(url, name="shop", settings=QUICK)
        ends.push_async_callback(app.close)

        async def run() -> None: ...

        for name in ("first", "second"):
            task = app.task(name=name)(run)
            if name in names:
                app.every(3600, name=name)(task)
        return app

    async def retired(self, app: Capelin[Any]) -> dict[str, bool]:
        """Whether each schedule is retired."""
        return {one.name: one.retired is not None for one in await app.schedules.ls()}

    async def stands(self, app: Capelin[Any], wanted: dict[str, bool]) -> None:
        """Return once the schedules stand like this."""

        async def so() -> bool:
            return await self.retired(app) == wanted

        await wait_until(so, description=f"schedules (retired or not) to be {wanted}")

    async def test_the_first_new_pod_decides_old_ones_that_restart_do_not_and_a_rollback_does(
        self, redis_url: str, ends: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(releases, "GONE_FOR", 0.8)  # else a minute
        old, new = self.release(redis_url, ends, "first"), self.release(redis_url, ends, "second")
        pods: list[LocalWorker] = [await start_worker(ends, old), await start_worker(ends, old)]
        await self.stands(old, {"first": False})
        await old.schedules.pause("first")

        newer = await start_worker(ends, new)
        await self.stands(old, {"first": True, "second": False})
        # An old pod restarts, and the leader with it, whichever it is.
        version = (await old.schedules.timetable.read())[0]
        await pods.pop(0).stop()
        pods.append(await start_worker(ends, old))
        await pods.pop(0).stop()
        pods.append(await start_worker(ends, old))

        async def led() -> bool:
            return (await old.schedules.leader()).worker in {*(pod.id for pod in pods), newer.id}

        await wait_until(led, description="somebody to lead")
        assert await self.retired(old) == {"first": True, "second": False}
        assert (await old.schedules.timetable.read())[0] == version

        await newer.stop()
        await self.stands(old, {"first": False, "second": True})
        assert (await old.schedules.info("first")).paused is not None
