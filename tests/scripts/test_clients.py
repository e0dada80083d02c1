"""Cancelling, waiting, replaying, purging: what clients and operators ask for."""

import pytest

from capelin.lua import CancelVerdict, DeadRow, NewJob, OutcomeRow, Replayed
from tests.scripts.driving import RESEND_WINDOW, Shard
from tests.support import resp
from tests.support.servers import RedisServer


def die(shard: Shard, job: NewJob | str = "u1") -> str:
    shard.enqueue(job)
    uid = shard.take_one().uid
    shard.finish(OutcomeRow(uid, 1, "dead", "Boom", failure='{"type":"Boom"}'))
    return uid


class TestCancel:
    """A job that does not run ends at once; one that runs is flagged."""

    @pytest.mark.parametrize("due", ["", "+500"])
    def test_one_that_waits_ends_cancelled(self, shard: Shard, due: str) -> None:
        shard.enqueue(NewJob("u1", "a", due=due))
        assert shard.cancel("u1") == (CancelVerdict.CANCELLED, "")
        assert shard.look().scheduled == {}
        shard.advance(500)
        assert shard.take().jobs == []
        found = shard.look()
        assert found.records["u1"]["status"] == "cancelled"
        assert (found.scheduled, found.meta) == ({}, {})

    def test_one_that_came_back_ends_cancelled(self, shard: Shard) -> None:
        shard.enqueue("u1")
        shard.take()
        shard.finish(OutcomeRow("u1", 1, "return"))
        shard.cancel("u1")
        assert shard.look().stale == {"returned": 1}
        assert shard.take().dropped == 1

    def test_one_that_runs_is_flagged_and_its_worker_named(self, shard: Shard) -> None:
        shard.enqueue("u1")
        shard.take("w7")
        assert shard.cancel("u1") == (CancelVerdict.FLAGGED, "w7")
        assert shard.cancel("u1") == (CancelVerdict.FLAGGED, "w7")
        assert shard.status("u1") == "running"

    def test_one_that_runs_is_left_alone_if_only_what_waits_is_to_go(self, shard: Shard) -> None:
        shard.enqueue("u1", "u2")
        shard.take("w7", count=1)
        before = shard.record("u1")
        assert shard.cancel("u1", only_waiting=True) == (CancelVerdict.RUNS, "w7")
        assert shard.record("u1") == before
        assert shard.cancel("u2", only_waiting=True) == (CancelVerdict.CANCELLED, "")

    def test_one_that_ended_stays_as_it_is(self, shard: Shard) -> None:
        die(shard)
        assert shard.cancel("u1") == (CancelVerdict.ENDED, "failed")
        assert "cancel" not in shard.record("u1")

    def test_one_that_never_was_is_missing(self, shard: Shard) -> None:
        assert shard.cancel("u1") == (CancelVerdict.MISSING, "")


class TestWatch:
    """Somebody waits for the end."""

    def test_there_is_nothing_to_wait_for_without_a_record(self, shard: Shard) -> None:
        assert shard.watch("u1") is None
        assert shard.look().records == {}

    def test_a_job_that_lives_is_marked(self, shard: Shard) -> None:
        shard.enqueue("u1")
        watched = shard.watch("u1")
        assert watched is not None
        assert (watched.status, watched.result, watched.error) == ("queued", None, None)
        assert shard.record("u1")["waited"] == "1"

    def test_the_end_is_read_with_its_result_or_error(self, shard: Shard) -> None:
        shard.enqueue("u1")
        shard.take()
        shard.finish(OutcomeRow("u1", 1, "complete", "[1]"))
        die(shard, "u2")
        completed, failed = shard.watch("u1"), shard.watch("u2")
        assert completed is not None
        assert (completed.status, completed.result, completed.error) == ("completed", b"[1]", None)
        assert failed is not None
        assert (failed.status, failed.result, failed.error) == ("failed", None, b'{"type":"Boom"}')
        assert "waited" not in shard.record("u1")

    def test_a_stub_is_not_taken_for_a_result(self, shard: Shard) -> None:
        shard.enqueue(NewJob("u1", "a", extra='{"retention": "0"}'))
        shard.take()
        shard.finish(OutcomeRow("u1", 1, "complete", "5"))
        assert shard.status("u1") == "completed"
        assert shard.watch("u1") is None

    def test_who_waited_in_time_gets_the_result_though_nothing_is_kept(self, shard: Shard) -> None:
        shard.enqueue(NewJob("u1", "a", extra='{"retention": "0"}'))
        shard.watch("u1")
        shard.take()
        shard.advance(10 * RESEND_WINDOW)
        shard.finish(OutcomeRow("u1", 1, "complete", "5"), most_finished=0)
        shard.advance(RESEND_WINDOW - 1)
        shard.retain(most_finished=0)
        watched = shard.watch("u1")
        assert watched is not None
        assert watched.result == b"5"
        shard.advance(1)
        shard.retain()
        assert shard.look().records == {}

    def test_the_end_of_a_waited_job_is_announced_and_of_no_other(
        self, real_shard: Shard, redis_server: RedisServer
    ) -> None:
        shard = real_shard
        shard.enqueue("u1", "u2", "u3", "u4", "u5")
        for uid in ("u1", "u2", "u3", "u4"):
            shard.watch(uid)
        with redis_server.connect() as listener:
            listener("PSUBSCRIBE", "*")
            shard.take(count=3)
            shard.finish(OutcomeRow("u1", 1, "complete", "1"), OutcomeRow("u2", 1, "dead", "E", failure="{}"))
            shard.cancel("u3")
            shard.finish(OutcomeRow("u3", 1, "return"))
            shard.cancel("u4")
            shard.cancel("u5")
            seen = [resp.texts(listener.read())[2:] for _ in range(4)]
        channel = shard.keys.result_channel
        assert seen == [
            [channel("u1"), "completed"],
            [channel("u2"), "failed"],
            [channel("u3"), "cancelled"],
            [channel("u4"), "cancelled"],
        ]


class TestReplay:
    """A dead job runs again, as new."""

    def test_with_its_id_its_arguments_and_nothing_of_its_past_but_the_token(self, shard: Shard) -> None:
        die(shard, NewJob("u1", "a", args="[[1],{}]", priority="low", extra='{"expires_in": 50}'))
        shard.advance(1_000)
        assert shard.replay("u1") == (Replayed.REPLAYED, "")
        assert shard.look().dlq == []
        job = shard.take_one()
        assert (job.uid, job.token, job.args, job.stream) == ("u1", 2, b"[[1],{}]", "low")
        assert (job.attempt, job.crashes, job.first) == (0, 0, None)
        assert len(shard.look().failures["u1"]) == 1, "what failed before is remembered"

    def test_of_two_operators_one_wins(self, shard: Shard) -> None:
        die(shard)
        assert shard.replay("u1")[0] == Replayed.REPLAYED
        assert shard.replay("u1") == (Replayed.REFUSED, "queued")
        assert len(shard.take().jobs) == 1

    def test_who_replays_from_an_old_list_undoes_no_other_death(self, shard: Shard) -> None:
        die(shard)
        old = shard.look().dlq_ids["u1"]
        assert shard.replay("u1", picked=old) == (Replayed.REPLAYED, "")
        shard.advance(1)
        job = shard.take_one()
        shard.finish(OutcomeRow("u1", job.token, "dead", "Boom", failure="{}"))
        before = shard.look()
        assert shard.replay("u1", picked=old) == (Replayed.REFUSED, "failed")
        assert shard.look() == before
        assert shard.replay("u1", picked=before.dlq_ids["u1"])[0] == Replayed.REPLAYED

    def test_who_replays_from_an_old_list_hurries_no_retry(self, shard: Shard) -> None:
        die(shard)
        old = shard.look().dlq_ids["u1"]
        shard.replay("u1", picked=old)
        job = shard.take_one()
        shard.finish(OutcomeRow("u1", job.token, "retry", due="+5000", failure="{}"))
        assert shard.replay("u1", picked=old) == (Replayed.REFUSED, "scheduled")
        assert shard.status("u1") == "scheduled"

    def test_its_key_is_taken_again(self, shard: Shard) -> None:
        die(shard, NewJob("u1", "a", unique_key="k"))
        assert shard.look().unique == {}
        shard.replay("u1")
        assert shard.look().unique == {"a:k": "u1"}

    def test_a_key_that_another_job_holds_is_respected(self, shard: Shard) -> None:
        die(shard, NewJob("u1", "a", unique_key="k"))
        shard.enqueue(NewJob("u2", "a", unique_key="k"))
        assert shard.replay("u1") == (Replayed.DUPLICATE, "u2")
        assert shard.status("u1") == "failed"
        assert shard.look().dlq == [("u1", "a", "Boom")]
        shard.cancel("u2")
        assert shard.replay("u1")[0] == Replayed.REPLAYED

    def test_a_job_that_waits_for_its_time_is_made_due(self, shard: Shard) -> None:
        shard.enqueue(NewJob("u1", "a", due="+5000", priority="high"))
        assert shard.replay("u1") == (Replayed.HURRIED, "")
        assert shard.take_one().stream == "high"

    @pytest.mark.parametrize("kind", ["complete", "cancel", "park", "return"])
    def test_nothing_else_is_replayed(self, shard: Shard, kind: str) -> None:
        shard.enqueue("u1")
        shard.take()
        shard.finish(OutcomeRow("u1", 1, kind))
        before = shard.look()
        verdict, status = shard.replay("u1")
        assert (verdict, status) == (Replayed.REFUSED, before.records["u1"]["status"])
        assert shard.look() == before

    def test_a_stub_whose_arguments_are_gone_is_refused(self, shard: Shard) -> None:
        die(shard, NewJob("u1", "a", args="[[1],{}]"))
        assert shard.retain(most_dead=0).purged == 1
        assert shard.status("u1") == "failed"
        assert shard.replay("u1") == (Replayed.REFUSED, "failed")

    def test_one_that_never_was_is_missing(self, shard: Shard) -> None:
        assert shard.replay("u1") == (Replayed.MISSING, "")


class TestPurge:
    """Dead jobs go for good."""

    def test_record_and_failures_go_with_the_entry(self, shard: Shard) -> None:
        die(shard, "u1")
        die(shard, "u2")
        entry = shard.look().dlq_ids["u1"]
        assert shard.purge(DeadRow("u1", entry), DeadRow("u1", entry)) == 1
        found = shard.look()
        assert (set(found.records), set(found.failures)) == ({"u2"}, {"u2"})

    def test_a_job_that_was_replayed_in_the_meantime_is_spared(self, shard: Shard) -> None:
        die(shard)
        entry = shard.look().dlq_ids["u1"]
        shard.replay("u1")
        assert shard.purge(DeadRow("u1", entry)) == 0
        assert shard.take_one().uid == "u1"

    def test_a_job_that_died_again_is_spared(self, shard: Shard) -> None:
        die(shard)
        entry = shard.look().dlq_ids["u1"]
        shard.replay("u1")
        shard.take()
        shard.advance(1)
        shard.finish(OutcomeRow("u1", 2, "dead", "Boom", failure="{}"))
        assert shard.purge(DeadRow("u1", entry)) == 0
        assert shard.status("u1") == "failed"

    def test_an_entry_of_the_same_uid_that_is_not_the_jobs_place_takes_no_record_with_it(
        self, shard: Shard
    ) -> None:
        stray = shard.server.command("XADD", shard.keys.dlq, f"{shard.now}-1", "j", "u1", "task", "?")
        shard.advance(1)
        die(shard)
        assert shard.purge(DeadRow("u1", str(stray))) == 1
        assert shard.status("u1") == "failed"
        assert shard.replay("u1")[0] == Replayed.REPLAYED


class TestProgress:
    """A running start says how far it is."""

    def test_is_heard_while_it_runs_and_from_it_alone(self, shard: Shard) -> None:
        shard.enqueue("u1")
        assert not shard.progress("u1", "w1", 1, "[0.1,null]")
        shard.take()
        assert shard.progress("u1", "w1", 1, "[0.2,null]")
        assert not shard.progress("u1", "w2", 1, "[0.3,null]")
        assert not shard.progress("u1", "w1", 2, "[0.3,null]")
        assert shard.record("u1")["progress"] == "[0.2,null]"
        shard.finish(OutcomeRow("u1", 1, "complete"))
        assert not shard.progress("u1", "w1", 1, "[0.9,null]")
        assert not shard.progress("nobody", "w1", 1, "[0.9,null]")
        assert set(shard.look().records) == {"u1"}
