"""Guarantee 7: for one key at most one live job, or one for each window; keep, replace, follow."""

import pytest

from capelin.lua import NewJob, OutcomeRow, Submitted
from tests.scripts.driving import RETENTION, Shard

NEW, AGAIN, DUPLICATE = Submitted.NEW, Submitted.AGAIN, Submitted.DUPLICATE
REPLACED, FOLLOWER = Submitted.REPLACED, Submitted.FOLLOWER


def keyed(uid: str, mode: str = "keep", *, window: int | None = None, **more: str) -> NewJob:
    """A job of task `a` with the dedupe key `k`."""
    fields = {name: value for name, value in more.items() if value}
    return NewJob(
        uid, "a", unique_key="k", unique_for="" if window is None else window, on_duplicate=mode, **fields
    )


def complete(shard: Shard, uid: str, token: int = 1, worker: str = "w1") -> None:
    shard.finish(OutcomeRow(uid, token, "complete"), worker=worker)


class TestKeep:
    """The first job stays as it is."""

    @pytest.mark.parametrize("kind", ["snooze", "retry", "return", "park"])
    def test_whatever_happens_to_it_while_it_lives(self, shard: Shard, kind: str) -> None:
        shard.enqueue(keyed("u1"))
        shard.take()
        shard.finish(OutcomeRow("u1", 1, kind, "", "+50" if kind == "snooze" else "", "{}"))
        assert shard.enqueue(keyed("u2")) == [(DUPLICATE, "u1")]

    @pytest.mark.parametrize("kind", ["complete", "dead", "cancel"])
    def test_until_it_ends(self, shard: Shard, kind: str) -> None:
        shard.enqueue(keyed("u1"))
        shard.take()
        shard.finish(OutcomeRow("u1", 1, kind, "", failure="{}"))
        assert shard.look().unique == {}
        assert shard.enqueue(keyed("u2")) == [(NEW, "u2")]

    def test_until_it_is_cancelled_or_expires(self, shard: Shard) -> None:
        shard.enqueue(keyed("u1"))
        shard.cancel("u1")
        assert shard.enqueue(keyed("u2", extra='{"expires_in": 50}')) == [(NEW, "u2")]
        shard.advance(50)
        assert shard.take().expired == 1
        assert shard.enqueue(keyed("u3")) == [(NEW, "u3")]

    def test_keys_of_different_tasks_are_different(self, shard: Shard) -> None:
        shard.enqueue(keyed("u1"))
        assert shard.enqueue(NewJob("u2", "b", unique_key="k")) == [(NEW, "u2")]

    def test_an_end_frees_only_a_key_that_is_its_own(self, shard: Shard) -> None:
        shard.enqueue(keyed("u1"), "u2")
        shard.take()
        shard.server.command("SET", shard.keys.unique("a", "k"), "u2")
        complete(shard, "u1")
        assert shard.look().unique == {"a:k": "u2"}


class TestWindow:
    """A key that holds for its TTL."""

    def test_outlives_its_job(self, shard: Shard) -> None:
        shard.enqueue(keyed("u1", window=60_001))
        shard.take()
        complete(shard, "u1")
        for mode in ("keep", "replace", "follow"):
            assert shard.enqueue(keyed(f"u2{mode}", mode)) == [(DUPLICATE, "u1")]

    def test_may_end_before_its_job(self, shard: Shard) -> None:
        shard.enqueue(keyed("u1", window=1_001))
        shard.take()
        shard.advance(1_100)
        assert shard.enqueue(keyed("u2", window=1_001)) == [(NEW, "u2")]
        complete(shard, "u1")
        assert shard.look().unique == {"a:k": "u2"}, "the end of the first does not free the second's"

    def test_is_not_made_of_a_key_that_is_held_for_the_life_of_a_job(self, shard: Shard) -> None:
        shard.enqueue(keyed("u1"))
        shard.enqueue(keyed("u2", "replace", window=60_001))
        shard.take()
        complete(shard, "u1")
        assert shard.look().unique == {}

    def test_goes_on_for_a_follower_and_does_not_last_longer_for_it(self, shard: Shard) -> None:
        shard.enqueue(keyed("u1", window=60_001))
        shard.take()
        shard.enqueue(keyed("u2", "follow"))
        complete(shard, "u1")
        assert shard.look().unique == {"a:k": "u2"}
        shard.advance(60_002)
        assert shard.look().unique == {}

    def test_that_ended_is_not_taken_from_its_new_holder_by_a_freed_follower(self, shard: Shard) -> None:
        shard.enqueue(keyed("u1", window=1_001))
        shard.take()
        assert shard.enqueue(keyed("u2", "follow")) == [(FOLLOWER, "u2")]
        shard.advance(1_100)
        assert shard.enqueue(keyed("u3", window=60_001)) == [(NEW, "u3")]
        complete(shard, "u1")
        assert shard.look().unique == {"a:k": "u3"}
        assert {job.uid for job in shard.take().jobs} == {"u2", "u3"}


class TestReplace:
    """A job that has not started takes the new request's arguments and options."""

    def test_everything_is_as_the_new_request_says(self, shard: Shard) -> None:
        shard.enqueue(keyed("u1", args="[[1],{}]", digest="d1", extra='{"timeout": 5, "headers": "{}"}'))
        shard.advance(10)
        shard.enqueue(keyed("u2", "replace", args="[[2],{}]", digest="d2", extra='{"retention": 7}'))
        record = shard.record("u1")
        assert (record["args"], record["digest"], record["retention"]) == ("[[2],{}]", "d2", "7")
        assert (record["request"], record["enqueued"]) == ("u2", str(shard.now))
        assert {"timeout", "headers"} & set(record) == set()

    @pytest.mark.parametrize("before", ["", "+50", "+5000"])
    @pytest.mark.parametrize("after", ["", "+50", "+5000"])
    def test_it_moves_to_where_the_new_request_belongs(self, shard: Shard, before: str, after: str) -> None:
        shard.enqueue(keyed("u1", due=before))
        shard.enqueue(keyed("u2", "replace", due=after, priority="high"))
        found = shard.look()
        expected = "scheduled" if after else "queued"
        assert found.records["u1"]["status"] == expected
        assert found.stale == ({} if before else {"normal": 1})
        shard.advance(5_000)
        [job] = shard.take().jobs
        assert (job.uid, job.stream) == ("u1", "high")
        assert shard.look().meta == {}

    def test_a_job_that_moved_away_and_back_is_delivered_once_and_leaves_no_count(self, shard: Shard) -> None:
        shard.enqueue(keyed("u1"))
        shard.enqueue(keyed("u2", "replace", priority="high"))
        shard.enqueue(keyed("u3", "replace"))
        assert shard.look().stale == {"normal": 1, "high": 1}
        [job] = shard.take().jobs
        assert (job.uid, job.stream) == ("u1", "normal")
        shard.take()
        found = shard.look()
        assert found.meta == {}
        assert [entry.uid for entries in found.streams.values() for entry in entries] == ["u1"]

    def test_a_parked_job_waits_again(self, shard: Shard) -> None:
        shard.enqueue(keyed("u1"))
        shard.take()
        shard.finish(OutcomeRow("u1", 1, "park"))
        shard.enqueue(keyed("u2", "replace"))
        found = shard.look()
        assert (found.parked, found.parked_counts) == ({}, {})
        assert shard.take_one().token == 2

    def test_a_job_between_attempts_starts_anew(self, shard: Shard) -> None:
        shard.enqueue(keyed("u1"))
        shard.take()
        shard.finish(OutcomeRow("u1", 1, "retry", "", "+50", "{}"))
        shard.enqueue(keyed("u2", "replace"))
        job = shard.take_one()
        assert (job.token, job.attempt, job.crashes, job.first) == (2, 0, 0, None)

    def test_a_job_that_came_back_from_the_dead_waits_as_new(self, shard: Shard) -> None:
        shard.enqueue(keyed("u1"))
        shard.take()
        shard.finish(OutcomeRow("u1", 1, "return"))
        shard.enqueue(keyed("u2", "replace"))
        assert shard.look().stale == {"returned": 1}
        assert shard.take_one().stream == "normal"
        assert shard.look().meta == {}

    def test_a_running_job_gets_a_follower_with_the_newest_arguments(self, shard: Shard) -> None:
        shard.enqueue(keyed("u1", args="[[1],{}]"))
        shard.take()
        assert shard.enqueue(keyed("u2", "replace", args="[[2],{}]")) == [(FOLLOWER, "u2")]
        assert shard.enqueue(keyed("u3", "replace", args="[[3],{}]")) == [(REPLACED, "u2")]
        complete(shard, "u1")
        assert shard.take_one().args == b"[[3],{}]"

    def test_the_follower_of_a_job_between_attempts_is_what_runs_last_and_is_replaced(
        self, shard: Shard
    ) -> None:
        shard.enqueue(keyed("u1", args="[[1],{}]"))
        shard.take()
        shard.enqueue(keyed("u2", "replace", args="[[2],{}]"))
        shard.finish(OutcomeRow("u1", 1, "retry", failure="{}"))
        assert shard.enqueue(keyed("u3", "replace", args="[[3],{}]")) == [(REPLACED, "u2")]
        assert shard.take_one().args == b"[[1],{}]"
        complete(shard, "u1", 2)
        assert shard.take_one().args == b"[[3],{}]"


class TestFollow:
    """One more job after the one that has started."""

    def test_a_first_that_never_started_is_kept(self, shard: Shard) -> None:
        shard.enqueue(keyed("u1"))
        assert shard.enqueue(keyed("u2", "follow")) == [(DUPLICATE, "u1")]

    @pytest.mark.parametrize("kind", ["retry", "snooze", "return", "park"])
    def test_one_between_attempts_has_started(self, shard: Shard, kind: str) -> None:
        shard.enqueue(keyed("u1"))
        shard.take()
        shard.finish(OutcomeRow("u1", 1, kind, "", "+50" if kind == "snooze" else "", "{}"))
        assert shard.enqueue(keyed("u2", "follow")) == [(FOLLOWER, "u2")]

    def test_there_is_one_follower_at_most(self, shard: Shard) -> None:
        shard.enqueue(keyed("u1"))
        shard.take()
        shard.enqueue(keyed("u2", "follow"))
        assert shard.enqueue(keyed("u3", "follow")) == [(DUPLICATE, "u2")]

    @pytest.mark.parametrize("end", ["complete", "dead", "cancel", "cancelled", "poison", "too old", "torn"])
    @pytest.mark.parametrize("delay", ["", "+500"])
    def test_every_end_of_the_first_frees_it_with_the_key(self, shard: Shard, end: str, delay: str) -> None:
        shard.enqueue(keyed("u1"))
        shard.take()
        shard.enqueue(keyed("u2", "follow", due=delay))
        assert shard.look().scheduled == {"u2": float("inf")}
        assert shard.take("w2").next_due is None, "it waits without a time"
        match end:
            case "complete" | "dead" | "cancel":
                shard.finish(OutcomeRow("u1", 1, end, "", failure="{}"))
            case "cancelled":
                shard.finish(OutcomeRow("u1", 1, "snooze", due="+50"))
                shard.cancel("u1")
            case "poison":
                shard.advance(60_000)
                shard.reap(max_crashes=1)
            case "too old":
                shard.finish(OutcomeRow("u1", 1, "park"))
                shard.advance(RETENTION)
                shard.retain()
            case _:
                shard.server.command("HDEL", shard.keys.job("u1"), "place")
                shard.finish(OutcomeRow("u1", 1, "complete"))
                shard.renew("w1")
        found = shard.look()
        assert found.unique == {"a:k": "u2"}
        assert found.records["u2"]["status"] == ("scheduled" if delay else "queued")
        assert found.records["u2"].get("due") == (str(shard.now + 500) if delay else None)
        shard.advance(500)
        assert [job.uid for job in shard.take("w2").jobs] == ["u2"]

    def test_a_cancelled_follower_lets_another_follow(self, shard: Shard) -> None:
        shard.enqueue(keyed("u1"))
        shard.take()
        shard.enqueue(keyed("u2", "follow"))
        shard.cancel("u2")
        assert shard.look().unique == {"a:k": "u1"}
        assert shard.enqueue(keyed("u3", "follow")) == [(FOLLOWER, "u3")]

    def test_a_follower_cannot_be_hurried_before_its_first(self, shard: Shard) -> None:
        shard.enqueue(keyed("u1"))
        shard.take()
        shard.enqueue(keyed("u2", "follow"))
        assert shard.replay("u2") == ("refused", "scheduled")
