"""Guarantees 3, 5, 6 and 12: stakes and their renewal, lost replies, and the jobs of the dead."""

import json

import pytest

from capelin.lua import NewJob, OutcomeRow, RunningRow
from tests.scripts.driving import TTL, Shard


def rows(*uids: str) -> list[RunningRow]:
    return [RunningRow(uid, 1) for uid in uids]


class TestRenew:
    """Keeps the stake and compares two lists."""

    def test_keeps_the_stake_while_something_runs(self, shard: Shard) -> None:
        shard.enqueue("u1")
        shard.take()
        shard.advance(1_000)
        renewed = shard.renew("w1", rows("u1"))
        assert (renewed.lost, renewed.unknown, renewed.cancelled, renewed.pending) == ([], [], [], 1)
        assert shard.look().stakes == {"w1": shard.now + TTL}

    def test_gives_the_stake_up_when_nothing_does(self, shard: Shard) -> None:
        shard.enqueue("u1")
        shard.take()
        shard.finish(OutcomeRow("u1", 1, "complete"))
        shard.renew("w1")
        assert shard.look().stakes == {}

    def test_keeps_a_stake_that_an_unanswered_take_may_need(self, shard: Shard) -> None:
        shard.renew("w1", staked=True)
        assert shard.look().stakes == {"w1": shard.now + TTL}

    def test_renews_an_expired_stake_that_nobody_took_over(self, shard: Shard) -> None:
        shard.enqueue("u1")
        shard.take()
        shard.advance(100 * TTL)
        assert shard.renew("w1", rows("u1")).lost == []
        assert shard.reap().returned == []

    def test_reports_what_was_taken_from_the_worker(self, shard: Shard) -> None:
        shard.enqueue("u1", "u2", "u3")
        shard.take()
        shard.finish(OutcomeRow("u2", 1, "return"))
        shard.take("w2")
        renewed = shard.renew("w1", [*rows("u1", "u2", "nobody"), RunningRow("u3", 2)])
        assert renewed.lost == ["u2", "nobody", "u3"], "another worker's, nobody's, and another start"
        assert renewed.unknown == [("u3", 1)]
        assert renewed.pending == 2

    def test_reports_whom_somebody_asked_to_cancel(self, shard: Shard) -> None:
        shard.enqueue("u1", "u2")
        shard.take()
        shard.cancel("u2")
        assert shard.renew("w1", rows("u1", "u2")).cancelled == ["u2"]

    def test_finds_what_a_lost_reply_delivered_in_any_stream(self, shard: Shard) -> None:
        shard.enqueue(NewJob("c", "a", priority="critical"), "n", NewJob("p", "a"))
        shard.take()
        shard.finish(OutcomeRow("p", 1, "park"), OutcomeRow("c", 1, "return"))
        shard.take()
        shard.unpark("w1")
        renewed = shard.renew("w1")
        assert renewed.unknown == [("c", 2), ("n", 1), ("p", 2)]
        assert renewed.pending == 3
        adopted = shard.adopt("w1", *[RunningRow(*unknown) for unknown in renewed.unknown])
        assert [(job.uid, job.token, job.stream) for job in adopted] == [
            ("c", 2, "returned"),
            ("n", 1, "normal"),
            ("p", 2, "unparked"),
        ]

    def test_does_not_know_of_other_workers(self, shard: Shard) -> None:
        shard.enqueue("u1")
        shard.take("w2")
        renewed = shard.renew("w1")
        assert (renewed.unknown, renewed.pending, renewed.next_stake) == ([], 0, TTL)

    def test_says_when_the_next_stake_of_another_ends(self, shard: Shard) -> None:
        shard.enqueue("u1", "u2", "u3")
        shard.take("w1", 1)
        assert shard.renew("w1", rows("u1")).next_stake is None
        shard.advance(100)
        shard.take("w2", 1)
        shard.advance(100)
        shard.take("w3", 1)
        assert shard.renew("w1", rows("u1")).next_stake == TTL - 100
        shard.advance(TTL)
        assert shard.renew("w1", rows("u1")).next_stake == 0

    def test_adopting_gives_what_take_would_have_given(self, shard: Shard) -> None:
        extra = '{"timeout": 1.5, "headers": "{}", "retry": "{}", "correlation": "c", "expires_in": 9}'
        shard.enqueue(NewJob("u1", "a", "d1", "[[1],{}]", "high", extra=extra))
        [taken] = shard.take().jobs
        assert shard.adopt("w1", RunningRow("u1", 1)) == [taken]

    def test_nobody_adopts_what_is_not_theirs(self, shard: Shard) -> None:
        shard.enqueue("u1", "u2")
        shard.take("w1")
        shard.finish(OutcomeRow("u2", 1, "complete"))
        assert shard.adopt("w2", RunningRow("u1", 1)) == []
        assert shard.adopt("w1", RunningRow("u1", 2), RunningRow("u2", 1)) == []


class TestReap:
    """Jobs of the dead come back."""

    def test_nothing_happens_while_stakes_hold(self, shard: Shard) -> None:
        shard.enqueue("u1")
        shard.take("w1")
        shard.advance(TTL - 1)
        reaped = shard.reap()
        assert (reaped.returned, reaped.dead, reaped.more) == ([], [], False)

    def test_jobs_come_back_ahead_of_new_work_at_the_moment_the_stake_ends(self, shard: Shard) -> None:
        shard.enqueue("u1", NewJob("u2", "a", priority="low"))
        shard.take("w1")
        shard.enqueue(NewJob("new", "a", priority="critical"))
        shard.advance(TTL)
        reaped = shard.reap()
        assert (reaped.returned, reaped.dead) == (["u1", "u2"], ["w1"])
        taken = shard.take("w2").jobs
        assert [(job.uid, job.crashes, job.attempt) for job in taken] == [
            ("u1", 1, 0),
            ("u2", 1, 0),
            ("new", 0, 0),
        ]

    def test_the_dead_leave_no_consumer_and_no_stake(self, shard: Shard) -> None:
        shard.enqueue("u1", NewJob("u2", "a", priority="low"))
        shard.take("w1")
        shard.advance(TTL)
        shard.reap()
        found = shard.look()
        assert found.stakes == {}
        assert found.consumers == {"normal": {}, "low": {}, "returned": {}}

    def test_a_stream_that_nobody_took_from_is_no_obstacle(self, shard: Shard) -> None:
        """It has entries and no group."""
        shard.enqueue("u1", NewJob("u2", "a", priority="low"))
        shard.take("w1", 1)
        shard.advance(TTL)
        assert shard.reap().returned == ["u1"]

    @pytest.mark.parametrize("limit", [1, 2, 3, 5])
    def test_more_than_a_call_may_move_goes_on_in_the_next(self, shard: Shard, limit: int) -> None:
        shard.enqueue(*[f"n{n}" for n in range(4)], *[NewJob(f"l{n}", "a", priority="low") for n in range(3)])
        shard.take("w1")
        shard.advance(TTL)
        calls = 0
        returned: list[str] = []
        while True:
            reaped = shard.reap(limit=limit)
            calls += 1
            assert len(reaped.returned) <= limit
            returned += reaped.returned
            found = shard.look()
            assert found.orphans == {}
            left = 7 - len(returned)
            assert (found.stakes != {}) == (left > 0), "the stake goes with the last job"
            assert sum(found.consumers["normal"].values()) + sum(found.consumers["low"].values()) == left
            if not reaped.more:
                break
        assert returned == ["n0", "n1", "n2", "n3", "l0", "l1", "l2"]
        assert calls == -(-7 // limit)

    def test_several_dead_share_a_calls_limit(self, shard: Shard) -> None:
        shard.enqueue("u1", "u2", "u3")
        for worker in ("w1", "w2", "w3"):
            shard.take(worker, 1)
        shard.advance(TTL)
        first = shard.reap(limit=2)
        assert (first.returned, first.more) == (["u1", "u2"], True)
        second = shard.reap(limit=2)
        assert (second.returned, second.more) == (["u3"], False)
        assert shard.look().stakes == {}

    def test_more_stakes_than_a_call_looks_at_are_left_for_the_next(self, shard: Shard) -> None:
        for n in range(60):
            shard.renew(f"w{n:02}", staked=True)
        shard.advance(TTL)
        first = shard.reap()
        assert (len(first.dead), first.more) == (50, True)
        second = shard.reap()
        assert (len(second.dead), second.more) == (10, False)

    def test_a_reaper_spares_itself(self, shard: Shard) -> None:
        shard.enqueue("u1")
        shard.take("w1")
        shard.advance(TTL)
        assert shard.reap("w1").returned == []
        assert shard.look().stakes != {}

    def test_living_workers_that_have_nothing_here_are_not_called_dead(self, shard: Shard) -> None:
        shard.enqueue("u1")
        shard.take("w1")
        shard.finish(OutcomeRow("u1", 1, "complete"))
        shard.renew("w1")
        reaped = shard.reap()
        assert reaped.dead == []
        assert shard.look().consumers == {"normal": {}}, "only their name goes"
        shard.enqueue("u2")
        assert shard.take_one("w1").uid == "u2"

    def test_a_consumer_with_jobs_and_no_stake_is_dead(self, shard: Shard) -> None:
        """A failover lost the stake."""
        shard.enqueue("u1")
        shard.take("w1")
        shard.server.command("DEL", shard.keys.stakes)
        reaped = shard.reap()
        assert (reaped.returned, reaped.dead) == (["u1"], ["w1"])

    def test_a_reap_that_was_held_up_by_an_outage_does_nothing(self, shard: Shard) -> None:
        shard.enqueue("u1")
        shard.take("w1")
        shard.advance(TTL)
        before = shard.look()
        assert shard.reap(judge_until=shard.now - 1).dead == []
        assert shard.look() == before
        assert shard.reap(judge_until=shard.now).dead == ["w1"]

    def test_a_reap_that_follows_an_outage_adds_no_crash(self, shard: Shard) -> None:
        shard.enqueue("u1")
        for crashes, before in [(1, -TTL), (1, 1), (1, 1), (2, -TTL)]:
            shard.take("w1")
            shard.advance(TTL)
            reaped = shard.reap(no_crash_before=shard.now + before, max_crashes=3)
            assert reaped.returned == ["u1"]
            assert shard.record("u1")["crashes"] == str(crashes)

    def test_an_outage_dead_letters_nobody_however_many_crashes_there_were(self, shard: Shard) -> None:
        shard.enqueue("u1")
        for _ in range(2):
            shard.take("w1")
            shard.advance(TTL)
            shard.reap(max_crashes=3)
        shard.take("w1")
        shard.advance(TTL)
        assert shard.reap(max_crashes=2, no_crash_before=shard.now + 1).returned == ["u1"]

    @pytest.mark.parametrize(("own", "limit"), [(None, 3), ("1", 1), ("5", 5)])
    def test_poison_ends_in_the_dlq_after_as_many_crashes_as_it_may_have(
        self, shard: Shard, own: str | None, limit: int
    ) -> None:
        shard.enqueue(NewJob("u1", "a", extra="" if own is None else json.dumps({"max_crashes": own})))
        for crash in range(1, limit + 1):
            shard.take("w1")
            shard.advance(TTL)
            reaped = shard.reap(max_crashes=3)
            assert bool(reaped.buried) == (crash == limit)
        found = shard.look()
        assert found.dlq == [("u1", "a", "WorkerLost")]
        assert len(found.failures["u1"]) == limit
        assert json.loads(found.failures["u1"][-1])["crashes"] == limit

    def test_a_flagged_job_of_the_dead_ends_cancelled(self, shard: Shard) -> None:
        shard.enqueue("u1")
        shard.take("w1")
        shard.cancel("u1")
        shard.advance(TTL)
        reaped = shard.reap()
        assert (reaped.cancelled, reaped.returned) == (1, [])
        assert shard.status("u1") == "cancelled"

    def test_what_unpark_delivered_comes_back_too(self, shard: Shard) -> None:
        shard.enqueue("u1")
        shard.take("w1")
        shard.finish(OutcomeRow("u1", 1, "park"))
        shard.unpark("w2")
        shard.advance(TTL)
        assert shard.reap().returned == ["u1"]


class TestLeave:
    """A worker takes its name off a shard."""

    def test_with_nothing_running_stake_and_consumers_go(self, shard: Shard) -> None:
        shard.enqueue("u1", NewJob("u2", "a", priority="low"))
        shard.take("w1")
        shard.finish(OutcomeRow("u1", 1, "complete"), OutcomeRow("u2", 1, "complete"))
        assert shard.leave("w1")
        found = shard.look()
        assert (found.stakes, found.consumers) == ({}, {"normal": {}, "low": {}})

    def test_with_a_job_pending_nothing_happens(self, shard: Shard) -> None:
        shard.enqueue("u1", NewJob("u2", "a", priority="low"))
        shard.take("w1")
        shard.finish(OutcomeRow("u1", 1, "complete"))
        before = shard.look()
        assert not shard.leave("w1")
        assert shard.look() == before

    def test_a_shard_that_was_never_used_can_be_left(self, shard: Shard) -> None:
        shard.enqueue("u1")
        assert shard.leave("w1")
