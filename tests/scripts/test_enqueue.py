"""Guarantees 6 and 7 in one script: all or nothing, re-sent requests, dedupe in three modes, the limit."""

import pytest

from capelin.lua import NewJob, OutcomeRow, Submitted
from tests.scripts.driving import RESEND_WINDOW, Shard
from tests.scripts.servers import Refused

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


def test_a_batch_is_answered_in_its_order(shard: Shard) -> None:
    replies = shard.enqueue(keyed("u1"), "u2", keyed("u3"), "u2")
    assert replies == [(NEW, "u1"), (NEW, "u2"), (DUPLICATE, "u1"), (AGAIN, "u2")]


def test_jobs_are_taken_in_the_order_they_were_sent(shard: Shard) -> None:
    uids = [f"u{n}" for n in range(50)]
    shard.enqueue(*uids)
    assert [job.uid for job in shard.take(count=50).jobs] == uids


@pytest.mark.parametrize("uid", ["x" * 200, "0" * 26, "a-b_C", "9" * 60])
@pytest.mark.parametrize("queue", ["q", "a.b.c", "9", "x" * 200])
def test_long_and_odd_names_find_their_keys(shard: Shard, uid: str, queue: str) -> None:
    other = Shard(shard.server, queue, 1023)
    other.enqueue(NewJob(uid, "t.a-s_k", unique_key="any: key {with} odd ü"))
    [job] = other.take().jobs
    assert job.uid == uid
    other.finish(OutcomeRow(uid, 1, "retry", failure="{}"))
    found = other.look()
    assert set(found.records) == {uid}
    assert set(found.failures) == {uid}
    assert found.unique == {"t.a-s_k:any: key {with} odd ü": uid}
    assert found.strange == []


def test_numbers_larger_than_a_double_holds_exactly_stay_texts(shard: Shard) -> None:
    args = '[[123456789012345678901234567890,0.1,"\\u0000"],{}]'
    shard.enqueue(NewJob("u1", "a", args=args, extra='{"timeout": 0.1, "retention": 604800}'))
    [job] = shard.take().jobs
    assert job.args.decode() == args
    assert job.timeout == 0.1
    assert shard.record("u1")["retention"] == "604800"


def test_parts_of_a_millisecond_are_dropped_from_times(shard: Shard) -> None:
    shard.enqueue(NewJob("u1", "a", due="+50.7", extra='{"expires_in": 10.9}'))
    record = shard.record("u1")
    assert (record["due"], record["expires"]) == (str(shard.now + 50), str(shard.now + 60))


@pytest.mark.parametrize(
    "bad",
    [
        NewJob("bad", "a", due="tomorrow"),
        NewJob("bad", "a", due="inf"),
        NewJob("bad", "a", due="-5"),
        NewJob("bad", "a", extra="{"),
        NewJob("bad", "a", extra="[1]"),
        NewJob("bad", "a", extra='"text"'),
        NewJob("bad", "a", extra='{"timeout": null}'),
        NewJob("bad", "a", extra='{"timeout": true}'),
        NewJob("bad", "a", extra='{"headers": {"a": "b"}}'),
        NewJob("bad", "a", extra='{"expires_in": "soon"}'),
        NewJob("bad", "a", unique_key="k", unique_for=0),
        NewJob("bad", "a", unique_key="k", unique_for=-5),
    ],
    ids=lambda job: f"{job.due}{job.extra}{job.unique_for}",
)
def test_a_row_that_makes_no_sense_is_refused_before_anything_is_written(shard: Shard, bad: NewJob) -> None:
    with pytest.raises(Refused, match="bad makes no sense: nothing was written"):
        shard.enqueue("good", bad, "other")
    assert shard.look().records == {}
    assert shard.look().streams == {}


class TestResending:
    """A request that is sent again with its uid."""

    @pytest.mark.parametrize("age", [0, 1_000, RESEND_WINDOW - 1])
    @pytest.mark.parametrize("end", ["complete", "cancel", "dead"])
    @pytest.mark.parametrize("retention", ["0", "60"])
    def test_is_recognised_within_the_window_whatever_became_of_the_job(
        self, shard: Shard, age: int, end: str, retention: str
    ) -> None:
        job = NewJob("u1", "a", extra=f'{{"retention": "{retention}"}}')
        shard.enqueue(job)
        shard.take()
        shard.finish(OutcomeRow("u1", 1, end, "ValueError" if end == "dead" else "", failure="{}"))
        shard.finish(most_finished=0)
        shard.advance(age)
        shard.retain(most_finished=0, most_dead=0)
        assert shard.enqueue(job) == [(AGAIN, "u1")]
        assert shard.take().jobs == []

    def test_is_a_new_request_after_the_window(self, shard: Shard) -> None:
        job = NewJob("u1", "a", extra='{"retention": "0"}')
        shard.enqueue(job)
        shard.take()
        shard.finish(OutcomeRow("u1", 1, "complete"))
        shard.advance(RESEND_WINDOW)
        shard.retain()
        assert shard.enqueue(job) == [(NEW, "u1")]

    def test_of_a_replaced_one_names_the_job_that_took_its_arguments(self, shard: Shard) -> None:
        shard.enqueue(keyed("u1"))
        assert shard.enqueue(keyed("u2", "replace", args="[[2],{}]")) == [(REPLACED, "u1")]
        assert shard.enqueue(keyed("u3", "replace", args="[[3],{}]")) == [(REPLACED, "u1")]
        shard.take()
        complete(shard, "u1")
        assert shard.enqueue(keyed("u2", "replace", args="[[2],{}]")) == [(REPLACED, "u1")]
        assert shard.take().jobs == []
        shard.advance(RESEND_WINDOW + 1)
        assert shard.look().aliases == {}, "an alias ends by itself"

    def test_does_not_put_old_arguments_back(self, shard: Shard) -> None:
        old, new = keyed("u2", "replace", args="[[2],{}]"), keyed("u3", "replace", args="[[3],{}]")
        shard.enqueue(keyed("u1"))
        shard.enqueue(old)
        shard.enqueue(new)
        shard.enqueue(old)
        assert shard.take_one().args == b"[[3],{}]"

    def test_of_a_follower_is_the_follower(self, shard: Shard) -> None:
        shard.enqueue(keyed("u1"))
        shard.take()
        assert shard.enqueue(keyed("u2", "follow")) == [(FOLLOWER, "u2")]
        assert shard.enqueue(keyed("u2", "follow")) == [(AGAIN, "u2")]

    @pytest.mark.parametrize("most", [1, 2, 3])
    def test_of_a_batch_that_filled_the_shard_is_not_too_many(self, shard: Shard, most: int) -> None:
        jobs = [NewJob(f"u{n}", "a") for n in range(3)]
        assert shard.submit(*jobs, most=3) is not None
        assert shard.submit(*jobs, most=most) == [(AGAIN, job.uid) for job in jobs]


class TestTheLimit:
    """`most` jobs may wait in a shard."""

    def test_a_batch_beyond_it_writes_nothing_at_all(self, shard: Shard) -> None:
        assert shard.submit(NewJob("u1", "a"), NewJob("u2", "a"), most=1) is None
        found = shard.look()
        assert (found.records, found.streams, found.meta) == ({}, {}, {})

    def test_it_can_be_reached_exactly(self, shard: Shard) -> None:
        assert shard.submit(NewJob("u1", "a"), NewJob("u2", "a"), most=2) is not None
        assert shard.submit(NewJob("u3", "a"), most=2) is None

    def test_running_jobs_do_not_wait(self, shard: Shard) -> None:
        shard.enqueue("u1", "u2")
        shard.take()
        assert shard.submit(NewJob("u3", "a"), most=1) is not None

    def test_scheduled_and_parked_jobs_and_those_that_came_back_wait(self, shard: Shard) -> None:
        shard.enqueue(NewJob("u1", "a", due="+1000"), "u2", "u3")
        shard.take()
        shard.finish(OutcomeRow("u2", 1, "park"), OutcomeRow("u3", 1, "return"))
        assert shard.submit(NewJob("u4", "a"), most=3) is None
        assert shard.submit(NewJob("u4", "a"), most=4) is not None

    def test_entries_whose_job_was_cancelled_make_room(self, shard: Shard) -> None:
        shard.enqueue("u1", "u2")
        shard.cancel("u1")
        assert shard.submit(NewJob("u3", "a"), most=2) is not None

    def test_a_duplicate_adds_nothing_and_gets_its_answer(self, shard: Shard) -> None:
        shard.enqueue(keyed("u1"))
        assert shard.submit(keyed("u2"), most=1) == [(DUPLICATE, "u1")]
        assert shard.submit(keyed("u3", "replace"), most=1) == [(REPLACED, "u1")]

    def test_a_follower_adds_a_job(self, shard: Shard) -> None:
        shard.enqueue(keyed("u1"), "u2")
        assert shard.take_one().uid == "u1"
        assert shard.submit(keyed("u3", "follow"), most=1) is None
        assert shard.record("u1").get("follower") is None


def test_what_was_enqueued_and_what_was_a_duplicate_is_counted(shard: Shard) -> None:
    shard.enqueue(keyed("u1"), keyed("u2"), keyed("u3", "replace"), "u4")
    assert shard.look().totals == {"total:enqueued": "2", "total:duplicates": "2"}
    shard.enqueue("u4", keyed("u3", "replace"))
    assert shard.look().totals == {"total:enqueued": "2", "total:duplicates": "2"}, "they were sent again"
    shard.cancel("u4")
    assert shard.look().totals["total:cancelled"] == "1"


def test_failed_starts_and_replays_are_counted(shard: Shard) -> None:
    shard.enqueue("u1", "u2")
    shard.take()
    shard.finish(
        OutcomeRow("u1", 1, "retry", failure="{}"), OutcomeRow("u2", 1, "dead", "Boom", failure="{}")
    )
    assert shard.look().totals == {"total:enqueued": "2", "total:failed": "2"}
    shard.replay("u1")  # it waits for its time, and is made due: nothing dead runs again
    shard.replay("u2")
    shard.replay("u2")
    assert shard.look().totals["total:replayed"] == "1"
