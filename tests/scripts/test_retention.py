"""Finished records go after their time, and not before somebody may still need them."""

import pytest

from capelin.lua import NewJob, OutcomeRow
from tests.scripts.driving import RESEND_WINDOW, RETENTION, Shard


def complete(shard: Shard, *jobs: NewJob | str, most: int = 1_000_000) -> None:
    shard.enqueue(*jobs)
    taken = shard.take(count=500).jobs
    shard.finish(*[OutcomeRow(job.uid, job.token, "complete", "5") for job in taken], most_finished=most)


def test_a_record_is_kept_for_the_default_time_and_goes_with_its_failures(shard: Shard) -> None:
    shard.enqueue("u1")
    shard.take()
    shard.finish(OutcomeRow("u1", 1, "retry", failure="{}"))
    shard.take()
    shard.finish(OutcomeRow("u1", 2, "complete"))
    shard.advance(RETENTION - 1)
    assert shard.retain().trimmed == 0
    shard.advance(1)
    assert shard.retain().trimmed == 1
    found = shard.look()
    assert (found.records, found.failures, found.finished) == ({}, {}, {})


@pytest.mark.parametrize("seconds", ["0.5", "60", "86400"])
def test_a_job_may_have_a_time_of_its_own(shard: Shard, seconds: str) -> None:
    complete(shard, NewJob("u1", "a", extra=f'{{"retention": "{seconds}"}}'))
    kept = max(float(seconds) * 1000, RESEND_WINDOW)
    assert shard.look().finished == {"u1": shard.now + kept}


@pytest.mark.parametrize("retention", ["0", "-5", "soon"])
def test_no_retention_keeps_nothing_beyond_the_resend_window(shard: Shard, retention: str) -> None:
    complete(
        shard, NewJob("u1", "a", args="[[1],{}]", extra=f'{{"retention": "{retention}", "headers": "{{}}"}}')
    )
    stub = shard.record("u1")
    assert {"args", "headers", "result"} & set(stub) == set()
    assert (stub["status"], stub["token"], stub["last"]) == ("completed", "1", "complete")
    assert shard.look().finished == {"u1": shard.now + RESEND_WINDOW}
    shard.advance(RESEND_WINDOW)
    complete(shard, NewJob("u2", "a", extra='{"retention": "60"}'))
    assert set(shard.look().records) == {"u2"}, "any later outcome trims it"


def test_no_retention_leaves_nothing_of_a_job_older_than_the_window(shard: Shard) -> None:
    shard.enqueue(NewJob("u1", "a", extra='{"retention": "0"}'))
    shard.advance(RESEND_WINDOW)
    shard.take()
    shard.finish(OutcomeRow("u1", 1, "complete", "5"))
    found = shard.look()
    assert (found.records, found.finished) == ({}, {})


def test_the_oldest_beyond_the_count_are_cut_to_stubs_and_then_go(shard: Shard) -> None:
    for n in range(5):
        complete(shard, f"u{n}", most=2)
        shard.advance(10)
    found = shard.look()
    assert set(found.records) == {f"u{n}" for n in range(5)}
    assert {uid for uid, record in found.records.items() if "result" in record} == {"u3", "u4"}
    shard.advance(RESEND_WINDOW)
    shard.retain(most_finished=2)
    assert set(shard.look().records) == {"u3", "u4"}


def test_each_outcome_trims_a_little_and_retention_the_rest(shard: Shard) -> None:
    complete(shard, *[f"u{n:02}" for n in range(40)])
    shard.advance(RETENTION)
    complete(shard, "v")
    assert len(shard.look().finished) == 41 - 4
    retained = shard.retain(limit=30)
    assert (retained.trimmed, retained.more) == (30, True)
    retained = shard.retain(limit=30)
    assert (retained.trimmed, retained.more) == (6, False)
    assert set(shard.look().records) == {"v"}


def test_the_dead_go_by_age(shard: Shard) -> None:
    for uid in ("u1", "u2"):
        shard.enqueue(uid)
        shard.take()
        shard.finish(OutcomeRow(uid, 1, "dead", "Boom", failure="{}"))
        shard.advance(RESEND_WINDOW)
    assert shard.retain(dlq_age=2 * RESEND_WINDOW).purged == 1
    found = shard.look()
    assert (set(found.records), set(found.failures), found.dlq) == ({"u2"}, {"u2"}, [("u2", "a", "Boom")])


def test_the_oldest_dead_beyond_the_count_go(shard: Shard) -> None:
    shard.enqueue(*[f"u{n}" for n in range(5)])
    shard.take()
    shard.finish(*[OutcomeRow(f"u{n}", 1, "dead", "Boom", failure="{}") for n in range(5)])
    shard.advance(RESEND_WINDOW)
    retained = shard.retain(most_dead=2, limit=2)
    assert (retained.purged, retained.more) == (2, True)
    assert shard.retain(most_dead=2, limit=2).purged == 1
    assert set(shard.look().records) == {"u3", "u4"}


def test_a_dead_job_that_goes_within_the_window_leaves_a_stub_that_goes_too(shard: Shard) -> None:
    shard.enqueue(NewJob("u1", "a", args="[[1],{}]"))
    shard.take()
    shard.finish(OutcomeRow("u1", 1, "dead", "Boom", failure="{}"))
    shard.retain(most_dead=0)
    found = shard.look()
    assert (found.dlq, found.failures) == ([], {})
    assert found.records["u1"]["status"] == "failed"
    shard.advance(RESEND_WINDOW)
    shard.retain()
    assert shard.look().records == {}


def test_a_job_that_died_again_has_its_age_from_its_last_death(shard: Shard) -> None:
    shard.enqueue("u1")
    shard.take()
    shard.finish(OutcomeRow("u1", 1, "dead", "Boom", failure="{}"))
    shard.advance(RETENTION)
    shard.replay("u1")
    shard.take()
    shard.finish(OutcomeRow("u1", 2, "dead", "Boom", failure="{}"))
    assert shard.retain(dlq_age=RETENTION).purged == 0
    assert shard.status("u1") == "failed"
