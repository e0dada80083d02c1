"""Taking: order, weights, stealing by age, promotion, expiry, and what a take looks at."""

import pytest

from capelin.lua import NewJob, OutcomeRow, Taken
from tests.scripts.driving import TTL, Shard


def uids(taken: Taken) -> list[str]:
    return [job.uid for job in taken.jobs]


def fill(shard: Shard, counts: dict[str, int]) -> None:
    for priority, count in counts.items():
        shard.enqueue(*[NewJob(f"{priority}{n:02}", "a", priority=priority) for n in range(count)])


def test_nothing_is_taken_from_an_empty_shard_and_nothing_written(shard: Shard) -> None:
    taken = shard.take()
    assert (taken.jobs, taken.more, taken.next_due) == ([], False, None)
    found = shard.look()
    assert (found.streams, found.stakes, found.meta) == ({}, {}, {})


def test_a_start_is_written_with_its_place_and_the_stake(shard: Shard) -> None:
    shard.enqueue("u1")
    shard.advance(7)
    job = shard.take_one("w9")
    found = shard.look()
    record = found.records["u1"]
    assert (record["status"], record["worker"], record["token"]) == ("running", "w9", "1")
    assert (record["started"], record["place"]) == (str(shard.now), job.place)
    assert found.stakes == {"w9": shard.now + TTL}
    assert found.streams["normal"][0].consumer == "w9"
    assert job.place == f"4:{found.streams['normal'][0].id}"


def test_what_came_back_goes_before_everything(shard: Shard) -> None:
    fill(shard, {"low": 1})
    shard.take()
    shard.finish(OutcomeRow("low00", 1, "return"))
    fill(shard, {"critical": 3})
    assert uids(shard.take(count=2)) == ["low00", "critical00"]


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ((4, 3, 2, 1), {"critical": 4, "high": 3, "normal": 2, "low": 1}),
        ((1, 1, 1, 7), {"critical": 1, "high": 1, "normal": 1, "low": 7}),
        ((10, 0, 0, 0), {"critical": 10}),
        ((0, 0, 0, 0), {"critical": 10}),
        ((2, 2, 0, 0), {"critical": 8, "high": 2}),
    ],
    ids=str,
)
def test_weights_share_a_take_and_the_rest_goes_to_the_most_urgent(
    shard: Shard, weights: tuple[int, int, int, int], expected: dict[str, int]
) -> None:
    fill(shard, {"low": 20, "normal": 20, "high": 20, "critical": 20})
    taken = shard.take(count=10, weights=weights)
    counts = {name: sum(job.stream == name for job in taken.jobs) for name in expected}
    assert counts == expected
    assert len(taken.jobs) == 10
    assert taken.more


def test_a_share_that_nobody_uses_goes_to_others(shard: Shard) -> None:
    fill(shard, {"low": 20})
    assert len(shard.take(count=10).jobs) == 10


def test_exactly_as_many_as_wait_leave_it_open_whether_there_are_more(shard: Shard) -> None:
    fill(shard, {"normal": 3})
    assert shard.take(count=3).more
    assert not shard.take(count=3).more


def test_due_jobs_enter_their_stream_behind_those_that_wait_there(shard: Shard) -> None:
    shard.enqueue(NewJob("due", "a", due="+50"), NewJob("later", "a", due="+51"))
    shard.advance(50)
    shard.enqueue("waits")
    taken = shard.take()
    assert uids(taken) == ["waits", "due"]
    assert taken.next_due == shard.now + 1


def test_more_due_jobs_than_asked_for_are_promoted_by_the_next_take(shard: Shard) -> None:
    shard.enqueue(*[NewJob(f"u{n}", "a", due="+50") for n in range(5)])
    shard.advance(60)
    first = shard.take(count=3)
    assert (len(first.jobs), first.more) == (3, True)
    assert len(shard.look().scheduled) == 2
    assert len(shard.take(count=3).jobs) == 2


def test_what_expired_before_its_start_ends_cancelled(shard: Shard) -> None:
    shard.enqueue(
        NewJob("waits", "a", extra='{"expires_in": 100}'),
        NewJob("scheduled", "a", due="+50", extra='{"expires_in": 50}'),
        "other",
    )
    shard.advance(99)
    assert uids(shard.take(count=1)) == ["waits"]
    shard.finish(OutcomeRow("waits", 1, "retry", failure="{}"))
    shard.advance(1)
    taken = shard.take()
    assert uids(taken) == ["other", "waits"], "one that has started does not expire"
    assert taken.expired == 1
    record = shard.record("scheduled")
    assert (record["status"], record["error"]) == ("cancelled", '{"type":"JobCancelled","message":"expired"}')


def test_a_heap_of_entries_whose_job_left_costs_no_more_than_a_batch(shard: Shard) -> None:
    shard.enqueue(*[f"gone{n:03}" for n in range(100)], "u1")
    for n in range(100):
        shard.cancel(f"gone{n:03}")
    turns = [shard.take(count=1) for _ in range(9)]
    assert [turn.dropped for turn in turns] == [12] * 8 + [4]
    assert all(turn.more for turn in turns), "it goes on at once"
    assert uids(turns[-1]) == ["u1"]
    found = shard.look()
    assert found.meta == {}
    assert len(found.streams["normal"]) == 1


def test_no_free_slot_takes_nothing_and_promises_nothing(shard: Shard) -> None:
    shard.enqueue("u1")
    taken = shard.take(count=0, waits=True)
    assert (taken.jobs, taken.more) == ([], True)
    assert shard.look().meta == {}, "no note that the owner waits, while work waits for it"


class TestPaused:
    """A paused shard accepts and gives nothing."""

    def test_nothing_is_taken_promoted_or_expired(self, shard: Shard) -> None:
        shard.enqueue("u1", NewJob("u2", "a", due="+50", extra='{"expires_in": 0}'))
        assert shard.pause()
        assert not shard.pause()
        shard.advance(60)
        taken = shard.take(waits=True)
        assert (taken.jobs, taken.more, taken.next_due, taken.expired) == ([], False, None, 0)
        assert shard.resume()
        assert not shard.resume()
        assert uids(shard.take()) == ["u1"]

    def test_what_runs_goes_on_and_comes_back(self, shard: Shard) -> None:
        shard.enqueue("u1", "u2")
        shard.take()
        shard.pause()
        shard.finish(OutcomeRow("u1", 1, "complete"), OutcomeRow("u2", 1, "return"))
        assert (shard.status("u1"), shard.status("u2")) == ("completed", "queued")

    def test_what_was_parked_waits_in_its_stream(self, shard: Shard) -> None:
        shard.enqueue("u1")
        shard.take()
        shard.finish(OutcomeRow("u1", 1, "park"))
        shard.pause()
        assert shard.unpark() == []
        assert (shard.status("u1"), shard.look().parked_counts) == ("queued", {})
        shard.resume()
        assert uids(shard.take()) == ["u1"]


class TestStealing:
    """With `older_than` only what waited that long."""

    def test_takes_only_what_waited(self, shard: Shard) -> None:
        fill(shard, {"normal": 2})
        shard.advance(60)
        shard.enqueue("young")
        shard.advance(40)
        assert uids(shard.take("thief", older_than=100)) == ["normal00", "normal01"]
        shard.advance(59)
        taken = shard.take("thief", older_than=100)
        assert (taken.jobs, taken.more) == ([], False)
        shard.advance(1)
        assert uids(shard.take("thief", older_than=100)) == ["young"]

    def test_a_thief_looks_first_and_writes_nothing(self, shard: Shard) -> None:
        assert not shard.peek(100)
        shard.enqueue(NewJob("later", "a", due="+50"))
        before = shard.look()
        assert not shard.peek(100)
        shard.advance(149)
        assert not shard.peek(100), "due, but not for long"
        shard.advance(1)
        assert shard.peek(100)
        assert shard.look() == before
        assert uids(shard.take("thief", older_than=100)) == ["later"]
        assert shard.peek(100), "it runs: what is in a stream may be anybody's"
        shard.finish(OutcomeRow("later", 1, "complete"), worker="thief")
        assert not shard.peek(100)

    def test_counts_only_what_nobody_took(self, shard: Shard) -> None:
        fill(shard, {"normal": 3})
        shard.take("owner", 2)
        shard.advance(100)
        assert uids(shard.take("thief", older_than=100)) == ["normal02"]

    def test_needs_no_group_to_be_there(self, shard: Shard) -> None:
        fill(shard, {"low": 1})
        shard.advance(100)
        assert uids(shard.take("thief", older_than=100)) == ["low00"]

    def test_promotes_only_what_is_overdue_that_long(self, shard: Shard) -> None:
        shard.enqueue(NewJob("u1", "a", due="+50"), NewJob("u2", "a", due="+100"))
        shard.advance(149)
        taken = shard.take("thief", older_than=100)
        assert (taken.jobs, taken.more) == ([], False), "due, but not for long: not a thief's yet"
        assert taken.next_due == shard.now - 99
        shard.advance(1)
        assert uids(shard.take("thief", older_than=100)) == ["u1"]

    def test_a_promoted_job_is_no_reason_to_take_young_ones_of_other_streams(self, shard: Shard) -> None:
        shard.enqueue(NewJob("overdue", "a", priority="low", due="+50"))
        shard.advance(150)
        fill(shard, {"critical": 5, "normal": 5})
        assert uids(shard.take("thief", older_than=100)) == ["overdue"]

    def test_as_many_as_are_overdue_are_taken_from_their_stream_in_its_order(self, shard: Shard) -> None:
        shard.enqueue(NewJob("overdue", "a", due="+50"))
        shard.advance(150)
        fill(shard, {"normal": 5})
        assert uids(shard.take("thief", older_than=100)) == ["normal00"]

    def test_gets_past_old_entries_whose_job_left(self, shard: Shard) -> None:
        fill(shard, {"normal": 4})
        shard.cancel("normal00")
        shard.cancel("normal01")
        shard.advance(100)
        taken = shard.take("thief", 1, older_than=100)
        assert (uids(taken), taken.dropped) == (["normal02"], 2)

    def test_leaves_no_note_for_the_thief_and_keeps_the_owners(self, shard: Shard) -> None:
        shard.take("owner", waits=True)
        assert shard.look().meta == {"note": ""}
        shard.take("thief", older_than=100)
        assert shard.look().meta == {"note": ""}
