"""Firing, one leader at a time and two, with the clock and the wire in the test's hand (guarantee 8)."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from capelin.errors import Unreachable
from capelin.keys import Keys
from capelin.lua.scheduling import ScheduleName, Tick, schedule_drop, schedule_intend, schedule_pause
from capelin.scheduler.firing import Deposed
from capelin.settings import Settings
from capelin.ticks import CatchUp, Overlap
from capelin.timing import Every, parse_cron
from tests.support.cluster import AnyServer
from tests.support.schedules import START, TTL, Fate, Leader, Stage, made

MINUTE = 60_000
SOON = 0.1


@pytest.fixture(params=["memory", "redis", "cluster"])
def server(request: pytest.FixtureRequest) -> AnyServer | None:
    """Each backend in turn, empty; None is the one in this process. What a test leaves goes with the next."""
    if request.param == "memory":
        return None
    found = request.getfixturevalue(f"shared_{request.param}")
    assert isinstance(found, AnyServer)
    found.flush()
    return found


@pytest.fixture
async def stage(server: AnyServer | None) -> AsyncIterator[Stage]:
    """An empty Redis, and its clock."""
    async with Stage(server=server) as stage:
        yield stage


@pytest.fixture
async def narrow(server: AnyServer | None) -> AsyncIterator[Stage]:
    """The same, with room for one job in a queue."""
    async with Stage(Settings(shards=1, max_queue_length=1), server=server) as stage:
        yield stage


async def fires(stage: Stage, leader: Leader, ms: int = 0) -> float:
    """Let time pass, and the leader do what is to be done; return when it wants to be called again."""
    stage.advance(ms)
    wait = await leader.turn()
    assert wait is not None
    return wait


class TestAfterTenMinutes:
    """Everything is down for ten minutes, as in the table of docs/schedules.md: tick by tick, as jobs."""

    @pytest.mark.parametrize(
        ("catch_up", "seconds", "becomes"),
        [
            ("latest", None, "mmmmmmmmm▶"),
            ("latest", 0, "ssssssssss"),
            ("latest", 30, "sssssssss▶"),
            ("latest", 300, "sssssmmmm▶"),
            ("latest", 3600, "mmmmmmmmm▶"),
            ("all", None, "▶▶▶▶▶▶▶▶▶▶"),
            ("all", 0, "ssssssssss"),
            ("all", 30, "sssssssss▶"),
            ("all", 300, "sssss▶▶▶▶▶"),
            ("all", 3600, "▶▶▶▶▶▶▶▶▶▶"),
            ("none", None, "mmmmmmmmmm"),
            ("none", 0, "ssssssssss"),
            ("none", 30, "sssssssssm"),
            ("none", 300, "sssssmmmmm"),
            ("none", 3600, "mmmmmmmmmm"),
        ],
    )
    async def test_each_tick_becomes_what_the_table_says(
        self, stage: Stage, catch_up: str, seconds: int | None, becomes: str
    ) -> None:
        stage.advance(20_000)  # to a whole minute
        begin = stage.now
        stale_after = None if seconds is None else seconds * 1000
        await stage.put(
            made(timing=Every(MINUTE), catch_up=CatchUp(catch_up), stale_after=stale_after, queue="a"),
            made("steady", timing=Every(MINUTE), queue="b"),
        )
        first = await stage.leader("w1")
        await fires(stage, first, 30_000)
        assert stage.jobs() == []

        stage.advance(10 * MINUTE)
        later = await stage.leader("w2")
        await fires(stage, later)
        ticks = [begin + n * MINUTE for n in range(1, 11)]
        fired = [tick for tick, sign in zip(ticks, becomes, strict=True) if sign == "▶"]
        assert stage.ticks() == fired
        state = (await stage.entry()).state
        counts = {"stale": becomes.count("s"), "missed": becomes.count("m")}
        assert state.skipped == {reason: count for reason, count in counts.items() if count}
        assert (state.last, state.fired, state.tick) == (ticks[-1], len(fired), max(fired, default=None))
        # Another schedule's ticks are its own business; and what was decided is not decided again.
        assert stage.ticks("steady") == ticks
        again = await stage.leader("w3")
        await fires(stage, again)
        assert stage.ticks() == fired
        assert (await stage.entry()).state == state

    @pytest.mark.parametrize(
        ("begin", "end", "local"),
        [
            pytest.param("2031-03-30T00:44", "2031-03-30T01:14", "01:45 03:00", id="forward"),
            pytest.param("2031-10-26T00:44", "2031-10-26T01:14", "02:45 02:00", id="back"),
        ],
    )
    @pytest.mark.parametrize("catch_up", ["latest", "all", "none"])
    async def test_clocks_that_are_set_meanwhile_neither_add_nor_take_away_a_tick(
        self, stage: Stage, catch_up: str, begin: str, end: str, local: str
    ) -> None:
        start, stop = (
            round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)
            for text in (begin, end)
        )
        stage.advance(start - stage.now)
        berlin = parse_cron("*/15 * * * *", "Europe/Berlin")
        await stage.put(made(timing=berlin, catch_up=CatchUp(catch_up), stale_after=3_600_000))
        stage.advance(stop - start)
        leader = await stage.leader("w1")
        await fires(stage, leader)
        due = [start + MINUTE, start + 16 * MINUTE]
        assert stage.ticks() == {"latest": due[1:], "all": due, "none": []}[catch_up]
        shown = [datetime.fromtimestamp(tick / 1000, ZoneInfo("Europe/Berlin")) for tick in due]
        assert " ".join(f"{moment:%H:%M}" for moment in shown) == local
        missed = {"latest": {"missed": 1}, "all": {}, "none": {"missed": 2}}[catch_up]
        assert (await stage.entry()).state.skipped == missed

    @pytest.mark.parametrize(
        ("day", "due"),
        [
            # 02:30 does not exist: the moment at which clocks are set forward.
            pytest.param("2031-03-30", "2031-03-30T01:00", id="forward"),
            # 02:30 comes twice: the first counts.
            pytest.param("2031-10-26", "2031-10-26T00:30", id="back"),
        ],
    )
    async def test_a_daily_run_that_falls_into_the_change_runs_once(
        self, stage: Stage, day: str, due: str
    ) -> None:
        midnight = round(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() * 1000)
        stage.advance(midnight - stage.now)
        await stage.put(made(timing=parse_cron("30 2 * * *", "Europe/Berlin"), catch_up=CatchUp.ALL))
        leader = await stage.leader("w1")
        for _ in range(12):
            await fires(stage, leader, 30 * MINUTE)
        moment = round(datetime.fromisoformat(due).replace(tzinfo=UTC).timestamp() * 1000)
        assert stage.ticks() == [moment]


class TestSuccession:
    """A leader dies, stalls or is cut off between any two of the three steps; another goes on."""

    async def stopped_before(self, stage: Stage, script: str) -> Leader:
        """A leader with a tick in hand, whose next call would be this script's."""
        await stage.put(made())
        leader = await stage.leader("w1")
        await leader.turn()
        stage.advance(10_000)
        before = Stepped(leader)
        await before.until(script)
        return leader

    @pytest.mark.parametrize("script", ["schedule_intend", "enqueue", "schedule_commit"])
    async def test_the_successor_of_one_that_died_fires_the_same_job(self, stage: Stage, script: str) -> None:
        leader = await self.stopped_before(stage, script)
        heir = await stage.leader("w2")
        await heir.turn()
        [job] = stage.jobs()
        assert job.tick == START + 10_000
        state = (await stage.entry()).state
        assert (state.last, state.fired, state.job) == (job.tick, 1, job.id)
        await end(leader)

    @pytest.mark.parametrize("script", ["schedule_intend", "enqueue", "schedule_commit"])
    @pytest.mark.parametrize("forgotten", [False, True])
    async def test_a_zombie_that_goes_on_after_its_successor_adds_nothing(
        self, stage: Stage, script: str, *, forgotten: bool
    ) -> None:
        zombie = await self.stopped_before(stage, script)
        heir = await stage.leader("w2")
        await fires(stage, heir, 5_000)
        due = len(stage.jobs())
        if forgotten:  # with retention 0 nothing is left of a job by then but what the shard remembers
            stage.forget_jobs()
        state = (await stage.entry()).state

        zombie.connection.shut = False
        Stepped(zombie).go()
        assert zombie.turning is not None
        with pytest.raises(Deposed):
            await zombie.turning
        assert len(stage.jobs()) == (0 if forgotten else due)
        assert (await stage.entry()).state == state
        assert (await stage.entry()).intent is None

    async def test_a_tick_that_comes_too_late_under_its_intent_is_decided_about_anew(
        self, stage: Stage
    ) -> None:
        await stage.put(made(stale_after=60_000, timing=Every(1_000_000)))
        zombie = await stage.leader("w1")
        await zombie.turn()
        stage.advance(1_000_000)
        await Stepped(zombie).until("enqueue")
        tick = START + 1_000_000
        assert (await stage.entry()).intent is not None

        stage.advance(round(stage.settings.resend_window * 1000) + 1)
        heir = await stage.leader("w2")
        await heir.turn()
        assert stage.jobs() == []
        state = (await stage.entry()).state
        assert (state.last, state.outcome, state.skipped) == (tick, "stale", {"stale": 1})
        zombie.connection.shut = False
        Stepped(zombie).go()
        assert zombie.turning is not None
        with pytest.raises(Deposed):
            await zombie.turning
        assert stage.jobs() == []

    @pytest.mark.parametrize("fate", [Fate.REPLY_LOST, Fate.REQUEST_LOST, Fate.LATE])
    @pytest.mark.parametrize("script", ["schedule_intend", "enqueue", "schedule_commit"])
    async def test_one_that_is_not_answered_does_the_same_again(
        self, stage: Stage, script: str, fate: Fate
    ) -> None:
        leader = await self.stopped_before(stage, script)
        leader.connection.shut = False
        Stepped(leader).go(fate)
        assert leader.turning is not None
        [outcome] = await asyncio.gather(leader.turning, return_exceptions=True)
        assert isinstance(outcome, float | Unreachable)
        for _ in range(3):
            await fires(stage, leader, 1_000)
        [job] = stage.jobs()
        for calls in leader.connection.late:  # what travelled arrives at last
            await stage.connection.run_many(calls)
        heir = await stage.leader("w2")
        await heir.turn()
        assert stage.jobs() == [job]
        state = (await stage.entry()).state
        assert (state.last, state.fired, state.skipped) == (job.tick, 1, {})

    async def test_a_deposed_leader_intends_nothing_and_commits_nothing(self, stage: Stage) -> None:
        await stage.put(made())
        old = await stage.leader("w1")
        await old.turn()
        await stage.leader("w2")
        stage.advance(10_000)
        with pytest.raises(Deposed):
            await old.turn()
        tick = Tick("tidy", (await stage.entry()).revision, stage.now, "default.0.x")
        call = schedule_intend(stage.keys, owner="w1", epoch=old.epoch, window=1000, ticks=[tick])
        assert await stage.connection.run(call) is None
        assert (await stage.entry()).intent is None

    async def test_the_same_owner_with_an_older_epoch_is_deposed_too(self, stage: Stage) -> None:
        old = await stage.leader("w1")
        await stage.leader("w1")
        with pytest.raises(Deposed):
            await old.turn()


class Stepped:
    """Moves a leader on, call by call."""

    def __init__(self, leader: Leader) -> None:
        self.leader = leader

    async def until(self, script: str) -> None:
        """Do everything up to the call of this script; `schedule_commit`: the one that writes states."""
        leader, gate = self.leader, self.leader.connection
        gate.shut = True
        leader.turning = asyncio.create_task(leader.turn())
        while True:
            while not gate.waiting:
                assert not leader.turning.done(), f"the turn is over without {script}"
                await asyncio.sleep(0)
            if gate.asks(script) and (script != "schedule_commit" or "enqueue" in gate.passed[-1:]):
                return
            self.go()
            await asyncio.sleep(0)

    def go(self, fate: Fate = Fate.ANSWERED) -> None:
        """Decide about the call that waits."""
        self.leader.connection.waiting[0].fate.set_result(fate)


async def end(leader: Leader) -> None:
    """The process dies."""
    assert leader.turning is not None
    leader.turning.cancel()
    await asyncio.wait([leader.turning])


class TestTrouble:
    """One schedule that cannot be fired holds up no other, and nobody spins."""

    async def test_a_tick_that_finds_its_queue_full_waits_and_others_go_on(self, narrow: Stage) -> None:
        stage = narrow
        await stage.put(
            made("first", queue="full"), made("second", queue="full"), made("third", queue="free")
        )
        leader = await stage.leader("w1")
        wait = await fires(stage, leader, 10_000)
        assert len(stage.jobs()) == 2
        assert SOON < wait <= 1, "it looks again in a while, and not at once"
        calls = len(leader.connection.passed)
        wait = await fires(stage, leader)
        assert len(leader.connection.passed) - calls == 2, "one question for the clock, one more try"
        stage.forget_jobs()
        await fires(stage, leader)
        assert len(stage.jobs()) == 1
        assert {(await stage.entry(name)).state.fired for name in ("first", "second", "third")} == {1}

    async def test_a_tick_whose_queue_was_full_until_it_was_stale_is_skipped(self, narrow: Stage) -> None:
        stage = narrow
        hour = Every(3_600_000)
        begin = stage.now - stage.now % 3_600_000 + 3_600_000
        await stage.put(
            made("first", hour, queue="full"), made("second", hour, queue="full", stale_after=60_000)
        )
        leader = await stage.leader("w1")
        await fires(stage, leader, begin - stage.now)
        assert len(stage.jobs()) == 1
        await fires(stage, leader, 130_000)
        stage.forget_jobs()
        await fires(stage, leader)
        assert stage.jobs() == []
        states = {name: (await stage.entry(name)).state for name in ("first", "second")}
        assert sorted((state.fired, state.skipped.get("stale", 0)) for state in states.values()) == [
            (0, 1),
            (1, 0),
        ]

    async def test_a_queue_of_a_newer_release_holds_up_no_other_and_is_asked_for_once_in_a_while(
        self, stage: Stage
    ) -> None:
        stage.redis("HSET", stage.keys.queue_meta("newer"), "shards", "2", "schema", "99", "version", "1")
        await stage.put(made("alien", queue="newer"), made())
        leader = await stage.leader("w1")
        wait = await fires(stage, leader, 10_000)
        assert SOON < wait <= 1
        assert [job.schedule for job in stage.jobs()] == ["tidy"]

    async def test_an_intent_for_a_queue_of_a_newer_release_holds_up_no_other(self, stage: Stage) -> None:
        await stage.put(made("alien", queue="newer"), made())
        first = await stage.leader("w1")
        await first.turn()
        stage.advance(10_000)
        await Stepped(first).until("enqueue")
        await end(first)
        stage.redis("HSET", stage.keys.queue_meta("newer"), "shards", "2", "schema", "99", "version", "1")
        heir = await stage.leader("w2")
        wait = await fires(stage, heir)
        assert SOON < wait <= 1
        assert [job.schedule for job in stage.jobs()] == ["tidy"]
        stage.redis("HSET", stage.keys.queue_meta("newer"), "schema", "1")
        await fires(stage, heir)
        assert [job.schedule for job in stage.jobs()] == ["alien", "tidy"]

    @pytest.mark.parametrize(
        "text", ["", "{", "[]", "5", '"x"', "null", '{"rev":"x","since":null}', '{"def":"{}"}', '{"def":5}']
    )
    async def test_a_torn_schedule_holds_up_no_other(self, stage: Stage, text: str) -> None:
        await stage.put(made("torn"), made())
        stage.redis("HSET", stage.keys.schedules_items, "torn", text)
        leader = await stage.leader("w1")
        await fires(stage, leader, 10_000)
        assert [job.schedule for job in stage.jobs()] == ["tidy"]
        assert (await stage.entry("torn")).schedule is None

    @pytest.mark.parametrize(
        "text", ["", "{", "[]", "null", '{"last":"x"}', '{"skipped":5}', '{"fired":null}']
    )
    async def test_a_torn_state_counts_as_none(self, stage: Stage, text: str) -> None:
        await stage.put(made())
        stage.redis("HSET", stage.keys.schedules_states, "tidy", text)
        stage.redis("HSET", stage.keys.schedules_intents, "tidy", text)
        leader = await stage.leader("w1")
        await fires(stage, leader, 10_000)
        assert stage.ticks() == [START + 10_000]
        assert (await stage.entry()).state.fired == 1

    async def test_more_schedules_than_one_call_takes_are_all_fired(self, stage: Stage) -> None:
        names = [f"s{number:04}" for number in range(1_100)]
        for begin in range(0, len(names), 500):
            await stage.put(*[made(name) for name in names[begin : begin + 500]])
        leader = await stage.leader("w1")
        await fires(stage, leader, 10_000)
        assert [job.schedule for job in stage.jobs()] == names

    async def test_many_ticks_that_cannot_be_enqueued_keep_none_from_being_enqueued(
        self, narrow: Stage
    ) -> None:
        stage = narrow
        names = [f"a{number:04}" for number in range(600)]
        for begin in range(0, len(names), 300):
            await stage.put(*[made(name, queue="full") for name in names[begin : begin + 300]])
        await stage.put(made("z", queue="free"))
        leader = await stage.leader("w1")
        await fires(stage, leader, 10_000)
        assert [job.schedule for job in stage.jobs() if job.schedule == "z"] == ["z"]


class TestChanges:
    """Schedules change while a leader has a tick in hand."""

    async def stuck(self, stage: Stage) -> Leader:
        """A leader that has intended the tick of `late`, and cannot enqueue it, since the queue is full."""
        await stage.put(made("early"))
        leader = await stage.leader("w1")
        await fires(stage, leader, 10_000)
        await stage.put(made("late"))
        await fires(stage, leader, 10_000)
        assert stage.stored(lambda keys: keys.schedules_intents, "late") is not None
        assert {job.schedule for job in stage.jobs()} == {"early"}
        return leader

    @pytest.mark.parametrize("change", ["pause", "remove", "retire", "retime"])
    async def test_a_tick_that_was_not_enqueued_yet_is_given_up_with_its_schedule(
        self, narrow: Stage, change: str
    ) -> None:
        stage = narrow
        leader = await self.stuck(stage)
        match change:
            case "pause":
                await stage.timetable.pause("late")
            case "remove":
                await stage.timetable.remove("late")
            case "retire":
                rows = [ScheduleName("late")]
                await stage.connection.run(
                    schedule_drop(stage.keys, owner="w1", epoch=leader.epoch, retire=True, schedules=rows)
                )
            case _:
                await stage.put(made("late", Every(3_600_000)))
        stage.forget_jobs()
        await fires(stage, leader)
        assert stage.ticks("late") == []
        heir = await stage.leader("w2")
        await fires(stage, heir)
        assert stage.ticks("late") == []

    async def test_ticks_of_a_pause_are_not_owed_and_an_old_intent_does_not_bring_one_back(
        self, narrow: Stage
    ) -> None:
        stage = narrow
        leader = await self.stuck(stage)
        await stage.timetable.pause("late")
        await fires(stage, leader, 25_000)
        stage.forget_jobs()
        await stage.timetable.resume("late")
        resumed = stage.now
        stage.advance(10_000)
        fired: list[int] = []
        for _ in range(8):  # one job has room at a time
            stage.forget_jobs()
            await fires(stage, leader)
            fired += stage.ticks("late")
        assert fired == [START + 50_000]
        assert fired[0] > resumed

    async def test_other_arguments_hold_from_the_next_tick_on_and_change_no_tick(self, stage: Stage) -> None:
        await stage.put(made(args="[[1],{}]"))
        leader = await stage.leader("w1")
        await fires(stage, leader, 10_000)
        await stage.put(made(args="[[2],{}]"))
        await fires(stage, leader, 10_000)
        assert stage.ticks() == [START + 10_000, START + 20_000]
        args = [
            stage.redis("HGET", f"capelin:{{default:{job.id.split('.')[1]}}}:job:{job.id}", "a")
            for job in stage.jobs()
        ]
        assert args == ["[[1],{}]", "[[2],{}]"]

    async def test_a_schedule_that_changes_under_a_leader_is_read_again_at_once(self, stage: Stage) -> None:
        await stage.put(made(args="[[1],{}]"), made("other"))
        leader = await stage.leader("w1")
        await leader.turn()
        stage.advance(10_000)
        await Stepped(leader).until("schedule_intend")
        await stage.put(made(args="[[2],{}]"))
        leader.connection.shut = False
        Stepped(leader).go()
        assert leader.turning is not None
        await leader.turning
        assert [job.schedule for job in stage.jobs()] == ["other", "tidy"]

    async def test_one_that_is_paused_under_a_leader_is_not_fired(self, stage: Stage) -> None:
        await stage.put(made())
        leader = await stage.leader("w1")
        await leader.turn()
        stage.advance(10_000)
        await Stepped(leader).until("schedule_intend")
        await stage.connection.run(schedule_pause(stage.keys, name="tidy", pause=True))
        leader.connection.shut = False
        Stepped(leader).go()
        assert leader.turning is not None
        assert await leader.turning is None
        assert stage.jobs() == []

    async def test_a_schedule_that_moves_to_another_queue_fires_no_tick_twice(self, stage: Stage) -> None:
        await stage.put(made())
        first = await stage.leader("w1")
        await first.turn()
        stage.advance(10_000)
        await Stepped(first).until("schedule_commit")
        await stage.put(made(queue="elsewhere", overlap=Overlap.SKIP))
        heir = await stage.leader("w2")
        await fires(stage, heir)
        assert stage.ticks() == [START + 10_000]
        assert [job.id.split(".")[0] for job in stage.jobs()] == ["default"]
        await end(first)


async def test_what_a_jitter_adds_is_the_same_whoever_leads_and_no_tick_is_early(stage: Stage) -> None:
    await stage.put(made(jitter=5_000))
    leader = await stage.leader("w1")
    for _ in range(5):
        await fires(stage, leader, 10_000)
    keys = Keys()
    for job in stage.jobs():
        shard = keys.shard("default", int(job.id.split(".")[1]))
        due = stage.redis("HGET", shard.job(job.id.split(".")[2]), "due")
        late = int(str(due)) - job.tick if due is not None else 0
        assert 0 <= late <= 5_000
    assert len(stage.ticks()) == 5


def test_a_stage_begins_at_a_moment_at_which_ten_seconds_are_over() -> None:
    assert START % 10_000 == 0
    assert TTL < 10_000
