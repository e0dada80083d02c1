"""Schedules: each transition by itself, and the tick that `enqueue` takes once."""

import json
from typing import Any

import pytest

from capelin import lua
from capelin.keys import LEADER, Keys
from capelin.lua import NewJob, OutcomeRow
from capelin.lua.replies import ScheduleVerdict
from capelin.lua.scheduling import (
    Changed,
    Committed,
    Intended,
    NewSchedule,
    NewState,
    ScheduleName,
    Tick,
    schedule_beat,
    schedule_commit,
    schedule_declare,
    schedule_drop,
    schedule_intend,
    schedule_pause,
    schedule_put,
)
from tests.scripts.driving import RESEND_WINDOW, TTL, Shard

KEYS = Keys()
WINDOW = 120_000
ADDED, CHANGED, SAME = ScheduleVerdict.ADDED, ScheduleVerdict.CHANGED, ScheduleVerdict.SAME
TAKEN, DECLARED, MISSING = ScheduleVerdict.TAKEN, ScheduleVerdict.DECLARED, ScheduleVerdict.MISSING
PAUSED, RESUMED = ScheduleVerdict.PAUSED, ScheduleVerdict.RESUMED
RETIRED, REMOVED = ScheduleVerdict.RETIRED, ScheduleVerdict.REMOVED


class Board:
    """The schedules on the server of a shard."""

    def __init__(self, shard: Shard) -> None:
        self.shard = shard

    @property
    def now(self) -> int:
        return self.shard.now

    def acquire(self, owner: str = "w1") -> int:
        call = lua.lease_acquire(KEYS.lease(LEADER), owner=owner, ttl=TTL)
        return self.shard.server.run(call).epoch

    def changed(
        self,
        *names: str,
        timing: str = "t",
        definition: str = "{}",
        app: str = "shop",
        source: str = "api",
        owner: str = "",
        epoch: int | str = "",
    ) -> Changed | None:
        rows = [NewSchedule(name, timing, definition) for name in names]
        call = schedule_put(KEYS, owner=owner, epoch=epoch, app=app, source=source, schedules=rows)
        return self.shard.server.run(call)

    def put(self, name: str = "tidy", **given: Any) -> ScheduleVerdict:
        changed = self.changed(name, **given)
        assert changed is not None
        return changed.verdicts[0]

    def dropped(
        self, *names: str, retire: bool = False, owner: str = "", epoch: int | str = ""
    ) -> Changed | None:
        rows = [ScheduleName(name) for name in names]
        call = schedule_drop(KEYS, owner=owner, epoch=epoch, retire=retire, schedules=rows)
        return self.shard.server.run(call)

    def drop(self, name: str = "tidy", **given: Any) -> ScheduleVerdict:
        changed = self.dropped(name, **given)
        assert changed is not None
        return changed.verdicts[0]

    def pause(self, name: str = "tidy", *, pause: bool = True) -> ScheduleVerdict:
        return self.shard.server.run(schedule_pause(KEYS, name=name, pause=pause)).verdicts[0]

    def intend(
        self, epoch: int, *names: str, owner: str = "w1", revision: int | None = None, moment: int = 7
    ) -> Intended | None:
        ticks = [
            Tick(name, self.item(name).get("rev", 0) if revision is None else revision, moment, "q.3.x")
            for name in names
        ]
        call = schedule_intend(KEYS, owner=owner, epoch=epoch, window=WINDOW, ticks=ticks)
        return self.shard.server.run(call)

    def commit(self, epoch: int, *names: str, owner: str = "w1", state: str = "{}") -> Committed | None:
        rows = [NewState(name, state) for name in names]
        return self.shard.server.run(schedule_commit(KEYS, owner=owner, epoch=epoch, schedules=rows))

    def item(self, name: str = "tidy") -> dict[str, Any]:
        text = self.field(KEYS.schedules_items, name)
        return {} if text is None else json.loads(text)

    def field(self, key: str, name: str = "tidy") -> str | None:
        value = self.shard.server.command("HGET", key, name)
        return None if value is None else str(value)

    def version(self) -> int:
        return int(self.field(KEYS.schedules_meta, "version") or 0)

    def everything(self) -> list[object]:
        keys = (
            KEYS.schedules_items,
            KEYS.schedules_states,
            KEYS.schedules_intents,
            KEYS.schedules_paused,
            KEYS.schedules_beats,
            KEYS.schedules_meta,
        )
        return [self.shard.server.command("HGETALL", key) for key in keys]


@pytest.fixture
def board(shard: Shard) -> Board:
    """The schedules of an empty server."""
    return Board(shard)


class TestFence:
    """Only the present leader writes: its owner, and its epoch."""

    @pytest.mark.parametrize("how", ["another leads", "led again", "gave up", "never led"])
    def test_a_deposed_leader_is_refused_by_every_script_and_changes_nothing(
        self, board: Board, how: str
    ) -> None:
        board.put()
        board.put("code", source="code")
        epoch = 0 if how == "never led" else board.acquire()
        match how:
            case "another leads":
                board.shard.advance(TTL)
                board.acquire("w2")
            case "led again":
                assert board.acquire() > epoch
            case "gave up":
                board.shard.server.run(lua.lease_release(KEYS.lease(LEADER), owner="w1", epoch=epoch))
            case _:
                epoch = board.now
        before = board.everything()
        assert board.intend(epoch, "tidy") is None
        assert board.commit(epoch, "tidy") is None
        assert board.commit(epoch) is None
        assert board.changed("tidy", "new", definition="{1}", owner="w1", epoch=epoch, source="code") is None
        assert board.dropped("code", retire=True, owner="w1", epoch=epoch) is None
        assert board.dropped("code", owner="w1", epoch=epoch) is None
        assert board.everything() == before

    def test_a_lease_that_ended_and_that_nobody_took_still_counts(self, board: Board) -> None:
        board.put()
        epoch = board.acquire()
        board.shard.advance(10 * TTL)
        assert board.intend(epoch, "tidy") is not None
        assert board.commit(epoch, "tidy") is not None

    def test_another_worker_that_has_the_epoch_is_not_the_leader(self, board: Board) -> None:
        epoch = board.acquire()
        assert board.commit(epoch, owner="w2") is None


class TestPut:
    """Adding and changing."""

    def test_a_new_one_owes_ticks_from_now_on(self, board: Board) -> None:
        assert board.put() is ADDED
        item = board.item()
        assert (item["since"], item["app"], item["source"], item["rev"]) == (board.now, "shop", "api", 1)

    def test_the_same_again_changes_nothing(self, board: Board) -> None:
        board.put()
        before = board.everything()
        board.shard.advance(1_000)
        assert board.put() is SAME
        assert board.everything() == before

    def test_another_definition_keeps_what_is_owed_and_other_times_do_not(self, board: Board) -> None:
        board.put()
        since = board.now
        board.shard.advance(1_000)
        assert board.put(definition="{2}") is CHANGED
        assert (board.item()["since"], board.item()["rev"]) == (since, 2)
        assert board.put(timing="u", definition="{3}") is CHANGED
        assert (board.item()["since"], board.item()["rev"]) == (board.now, 3)

    def test_a_name_of_another_app_is_taken_until_it_is_retired(self, board: Board) -> None:
        board.put(source="code")
        changed = board.changed("tidy", app="other")
        assert changed is not None
        assert (changed.verdicts, changed.taken_by) == ((TAKEN,), ("shop",))
        assert board.item()["app"] == "shop"
        board.drop(retire=True, owner="w1", epoch=board.acquire())
        assert board.put(app="other") is CHANGED
        assert board.item()["app"] == "other"

    def test_what_code_declares_is_not_changed_at_run_time_and_the_other_way_it_is(
        self, board: Board
    ) -> None:
        board.put()
        assert board.put(source="code") is CHANGED
        assert board.put(definition="{2}") is DECLARED
        assert board.item()["def"] == "{}"

    def test_one_that_was_retired_owes_nothing_of_the_time_in_between(self, board: Board) -> None:
        epoch = board.acquire()
        board.put(source="code", owner="w1", epoch=epoch)
        assert board.drop(retire=True, owner="w1", epoch=epoch) is RETIRED
        board.shard.advance(5_000)
        assert board.put(source="code", owner="w1", epoch=epoch) is CHANGED
        assert board.item()["since"] == board.now
        assert "retired" not in board.item()

    def test_several_are_answered_in_order_and_one_that_is_taken_keeps_none_from_being_put(
        self, board: Board
    ) -> None:
        board.put("b", app="other")
        board.put("c")
        changed = board.changed("a", "b", "c", "d")
        assert changed is not None
        assert changed.verdicts == (ADDED, TAKEN, SAME, ADDED)
        assert changed.taken_by == ("", "other", "", "")

    def test_it_names_the_leader_that_is_to_look(self, board: Board) -> None:
        assert board.changed("a") == Changed(leader="", verdicts=(ADDED,), taken_by=("",))
        board.acquire("w7")
        assert board.changed("a") == Changed(leader="w7", verdicts=(SAME,), taken_by=("",))

    def test_a_torn_one_is_put_anew(self, board: Board) -> None:
        board.shard.server.command("HSET", KEYS.schedules_items, "tidy", "{")
        assert board.put() is ADDED
        assert board.item()["since"] == board.now


class TestPause:
    """Pausing, and going on."""

    def test_ticks_of_a_pause_are_not_owed(self, board: Board) -> None:
        board.put()
        board.shard.advance(1_000)
        assert board.pause() is PAUSED
        assert board.field(KEYS.schedules_paused) == str(board.now)
        paused, version = board.now, board.version()
        board.shard.advance(1_000)
        assert board.pause() is SAME
        assert (board.field(KEYS.schedules_paused), board.version()) == (str(paused), version)
        assert board.pause(pause=False) is RESUMED
        assert (board.item()["since"], board.field(KEYS.schedules_paused)) == (board.now, None)
        assert board.version() > version
        assert board.pause(pause=False) is SAME

    def test_one_that_is_not_there_is_missing(self, board: Board) -> None:
        assert board.pause() is MISSING
        assert board.pause(pause=False) is MISSING
        assert not board.shard.server.command("EXISTS", KEYS.schedules_paused)

    def test_a_pause_outlives_a_change_and_a_retirement(self, board: Board) -> None:
        epoch = board.acquire()
        board.put(source="code", owner="w1", epoch=epoch)
        board.pause()
        board.put(source="code", owner="w1", epoch=epoch, definition="{2}", timing="u")
        board.drop(retire=True, owner="w1", epoch=epoch)
        board.put(source="code", owner="w1", epoch=epoch)
        assert board.field(KEYS.schedules_paused) is not None

    def test_a_paused_one_is_not_fired(self, board: Board) -> None:
        board.put()
        epoch = board.acquire()
        board.pause()
        intended = board.intend(epoch, "tidy")
        assert intended is not None
        assert intended.not_after == (0,)
        assert board.field(KEYS.schedules_intents) is None


class TestDrop:
    """Removing and retiring."""

    def test_what_was_added_at_run_time_goes_with_all_that_was_known_of_it(self, board: Board) -> None:
        board.put()
        epoch = board.acquire()
        board.commit(epoch, "tidy")
        board.intend(epoch, "tidy")
        board.shard.server.run(schedule_beat(KEYS, name="tidy"))
        board.pause()
        assert board.drop() is REMOVED
        *rest, meta = board.everything()
        assert not any(rest)
        assert meta
        assert board.drop() is MISSING

    def test_what_code_declares_is_not_removed_at_run_time_but_once_retired(self, board: Board) -> None:
        epoch = board.acquire()
        board.put(source="code", owner="w1", epoch=epoch)
        assert board.drop() is DECLARED
        board.drop(retire=True, owner="w1", epoch=epoch)
        assert board.drop() is REMOVED

    def test_a_retired_one_keeps_its_state_and_forgets_what_it_was_about_to_do(self, board: Board) -> None:
        epoch = board.acquire()
        board.put(source="code", owner="w1", epoch=epoch)
        board.commit(epoch, "tidy", state='{"fired":3}')
        board.intend(epoch, "tidy")
        board.shard.advance(1_000)
        assert board.drop(retire=True, owner="w1", epoch=epoch) is RETIRED
        at = board.item()["retired"]
        assert (at, board.field(KEYS.schedules_states)) == (board.now, '{"fired":3}')
        assert board.field(KEYS.schedules_intents) is None
        board.shard.advance(1_000)
        assert board.drop(retire=True, owner="w1", epoch=epoch) is RETIRED
        assert board.item()["retired"] == at
        intended = board.intend(epoch, "tidy")
        assert intended is not None
        assert intended.not_after == (0,)

    def test_a_leader_removes_and_retires_only_what_is_still_as_it_saw_it(self, board: Board) -> None:
        """Between its look and its word, somebody may have put the schedule anew at run time."""
        epoch = board.acquire()
        board.put()
        before = board.everything()
        assert board.drop(retire=True, owner="w1", epoch=epoch) is SAME
        assert board.drop(owner="w1", epoch=epoch) is SAME
        assert board.everything() == before

    def test_a_torn_one_can_be_removed(self, board: Board) -> None:
        board.shard.server.command("HSET", KEYS.schedules_items, "tidy", "{")
        assert board.drop() is REMOVED


class TestIntendAndCommit:
    """What is about to be enqueued, and what has become of it."""

    def test_an_intent_tells_tick_job_and_until_when(self, board: Board) -> None:
        board.put()
        intended = board.intend(board.acquire(), "tidy", moment=1_899_999_999_000)
        assert intended is not None
        assert (intended.now, intended.version, intended.not_after) == (board.now, 1, (board.now + WINDOW,))
        text = board.field(KEYS.schedules_intents)
        assert text is not None
        intent = json.loads(text)
        assert (intent["job"], int(intent["tick"])) == ("q.3.x", 1_899_999_999_000)
        assert intent["not_after"] == board.now + WINDOW

    def test_one_that_has_changed_since_it_was_read_is_not_intended_and_others_are(
        self, board: Board
    ) -> None:
        board.put("a")
        board.put("b")
        epoch = board.acquire()
        revisions = {name: board.item(name)["rev"] for name in ("a", "b")}
        board.put("a", definition="{2}")
        ticks = [Tick(name, revision, 7, "q.3.x") for name, revision in revisions.items()]
        ticks.append(Tick("gone", 1, 7, "q.3.x"))
        call = schedule_intend(KEYS, owner="w1", epoch=epoch, window=WINDOW, ticks=ticks)
        intended = board.shard.server.run(call)
        assert intended is not None
        assert intended.not_after == (0, board.now + WINDOW, 0)
        assert intended.version == board.version()
        assert board.field(KEYS.schedules_intents, "a") is None

    def test_a_commit_ends_the_intent_and_keeps_the_state(self, board: Board) -> None:
        board.put()
        epoch = board.acquire()
        board.intend(epoch, "tidy")
        assert board.commit(epoch, "tidy", state='{"last":7}') == Committed(board.now, 1)
        assert board.field(KEYS.schedules_intents) is None
        assert board.field(KEYS.schedules_states) == '{"last":7}'

    def test_a_commit_that_arrives_late_takes_nothing_back(self, board: Board) -> None:
        board.put()
        epoch = board.acquire()
        board.intend(epoch, "tidy", moment=7)
        board.commit(epoch, "tidy", state='{"last":7}')
        board.intend(epoch, "tidy", moment=9)
        newest = board.field(KEYS.schedules_intents)
        # The same leader's commit of 7, and an older one, over a connection that it has given up.
        for late in ('{"last":7}', '{"last":5}'):
            assert board.commit(epoch, "tidy", state=late) is not None
            assert board.field(KEYS.schedules_intents) == newest is not None
            assert board.field(KEYS.schedules_states) == '{"last":7}'
        board.commit(epoch, "tidy", state='{"last":9}')
        assert board.field(KEYS.schedules_intents) is None

    def test_nothing_is_kept_of_one_that_was_removed_meanwhile(self, board: Board) -> None:
        board.put()
        epoch = board.acquire()
        board.intend(epoch, "tidy")
        board.drop()
        assert board.commit(epoch, "tidy") is not None
        assert board.field(KEYS.schedules_states) is None

    def test_an_empty_commit_asks_for_the_clock_and_the_version(self, board: Board) -> None:
        epoch = board.acquire()
        assert board.commit(epoch) == Committed(board.now, 0)
        board.put()
        board.pause()
        assert board.commit(epoch) == Committed(board.now, 2)


class TestDeclareAndBeat:
    """What workers say."""

    def test_when_a_release_was_first_seen_is_kept(self, board: Board) -> None:
        server, first = board.shard.server, board.now
        assert server.run(schedule_declare(KEYS, release="shop 1", text='{"a":1}'))
        board.shard.advance(1_000)
        assert not server.run(schedule_declare(KEYS, release="shop 1", text='{"a":2}'))
        text = board.field(KEYS.schedules_declared, "shop 1")
        assert text is not None
        assert json.loads(text) == {"first": first, "text": '{"a":1}'}

    def test_a_completed_run_is_noted_unless_the_schedule_is_gone(self, board: Board) -> None:
        server = board.shard.server
        assert not server.run(schedule_beat(KEYS, name="tidy"))
        assert not server.command("EXISTS", KEYS.schedules_beats)
        board.put()
        assert server.run(schedule_beat(KEYS, name="tidy"))
        assert board.field(KEYS.schedules_beats) == str(board.now)


class TestTick:
    """The job of a tick is enqueued once, by whomever, and not too late."""

    def tick(self, shard: Shard, moment: int, *, window: int = WINDOW, key: str = "", **given: Any) -> str:
        extra = {"schedule": "tidy", "tick": str(moment), "not_after": str(shard.now + window)}
        job = NewJob(f"t{moment}", "a", extra=json.dumps(extra | given), unique_key=key)
        [(verdict, _)] = shard.enqueue(job)
        return verdict.value

    def test_a_tick_is_new_once_and_its_record_says_which_it_is(self, shard: Shard) -> None:
        assert self.tick(shard, 1_000) == "new"
        assert self.tick(shard, 1_000) == "again"
        record = shard.record("t1000")
        assert (record["schedule"], record["tick"]) == ("tidy", "1000")
        assert "not_after" not in record

    def test_one_whose_record_is_gone_is_still_known(self, shard: Shard) -> None:
        assert self.tick(shard, 1_000, retention="0") == "new"
        delivery = shard.take_one()
        shard.finish(OutcomeRow(delivery.uid, delivery.token, "complete", "1"), retention=0)
        shard.advance(RESEND_WINDOW + 1)
        shard.retain()
        assert shard.record("t1000") == {}
        assert self.tick(shard, 1_000) == "again"
        assert shard.record("t1000") == {}

    def test_one_older_than_the_newest_is_not_enqueued_any_more(self, shard: Shard) -> None:
        self.tick(shard, 2_000)
        assert self.tick(shard, 1_000) == "again"
        assert shard.record("t1000") == {}
        assert self.tick(shard, 3_000) == "new"

    @pytest.mark.parametrize(("after", "verdict"), [(0, "new"), (1, "late")])
    def test_one_that_comes_after_its_time_is_late_and_leaves_nothing(
        self, shard: Shard, after: int, verdict: str
    ) -> None:
        assert self.tick(shard, 1_000, window=-after) == verdict
        assert (shard.record("t1000") != {}) == (verdict == "new")
        assert bool(shard.server.command("EXISTS", shard.keys.ticks)) == (verdict == "new")

    def test_what_was_enqueued_in_time_is_known_also_when_it_is_asked_for_late(self, shard: Shard) -> None:
        self.tick(shard, 1_000)
        assert self.tick(shard, 1_000, window=-1) == "again"

    def test_one_that_another_run_kept_from_running_stays_so(self, shard: Shard) -> None:
        assert self.tick(shard, 1_000, key="k") == "new"
        assert self.tick(shard, 2_000, key="k") == "duplicate"
        delivery = shard.take_one()
        shard.finish(OutcomeRow(delivery.uid, delivery.token, "complete", "1"))
        # The run is over, but about this tick it was decided.
        assert self.tick(shard, 2_000, key="k") == "duplicate"
        assert self.tick(shard, 2_000, key="k", window=-1) == "duplicate"
        assert self.tick(shard, 3_000, key="k") == "new"

    def test_schedules_do_not_mix(self, shard: Shard) -> None:
        self.tick(shard, 2_000)
        assert self.tick(shard, 1_000, schedule="other") == "new"

    def test_the_memory_of_ticks_ends_by_itself_a_month_after_the_last(self, memory_shard: Shard) -> None:
        self.tick(memory_shard, 1_000)
        ttl = memory_shard.server.command("PTTL", memory_shard.keys.ticks)
        assert ttl == 30 * 86_400_000

    @pytest.mark.parametrize(
        "extra",
        [
            {"tick": "1"},
            {"tick": "1", "schedule": "x"},
            {"tick": "x", "schedule": "x", "not_after": "1"},
            {"tick": "1", "schedule": "x", "not_after": "x"},
        ],
    )
    def test_a_tick_that_lacks_something_is_refused_and_nothing_is_written(
        self, shard: Shard, extra: dict[str, str]
    ) -> None:
        before = shard.look()
        with pytest.raises(Exception, match="makes no sense"):
            shard.enqueue("good", NewJob("bad", "a", extra=json.dumps(extra)))
        assert shard.look() == before

    def test_a_full_shard_refuses_a_tick_and_does_not_note_it(self, shard: Shard) -> None:
        shard.enqueue("other")
        extra = {"schedule": "tidy", "tick": "1000", "not_after": str(shard.now + WINDOW)}
        assert shard.submit(NewJob("t1000", "a", extra=json.dumps(extra)), most=1) is None
        assert not shard.server.command("EXISTS", shard.keys.ticks)
        assert self.tick(shard, 1_000) == "new"
