"""Guarantee 10: what no worker can run waits for one that can, and goes straight into its hands."""

from capelin.lua import KnownTask, NewJob, OutcomeRow
from tests.scripts.driving import RETENTION, TTL, Shard


def park(shard: Shard, *uids: str, task: str = "a", by: str = "", worker: str = "w1") -> None:
    """Jobs that this worker could not run; `by` is its digest, empty when it does not know the task."""
    shard.enqueue(*[NewJob(uid, task, digest="new") for uid in uids])
    shard.take(worker, 500)
    shard.finish(*[OutcomeRow(uid, 1, "park", by) for uid in uids], worker=worker)


def test_a_parked_job_is_in_no_stream_and_counted(shard: Shard) -> None:
    park(shard, "u1", "u2")
    park(shard, "v1", task="b")
    found = shard.look()
    assert found.parked == {"a": {"u1": shard.now, "u2": shard.now}, "b": {"v1": shard.now}}
    assert found.parked_counts == {"a": 2, "b": 1}
    assert found.streams["normal"] == []


def test_the_parker_gives_up_its_claim(shard: Shard) -> None:
    park(shard, "u1")
    assert shard.renew("w1").pending == 0


def test_unparked_jobs_run_at_the_caller_and_nobody_can_take_them_in_between(shard: Shard) -> None:
    park(shard, "u1", "u2")
    jobs = shard.unpark("w2", 10, KnownTask("a", "new"))
    assert [(job.uid, job.token, job.stream) for job in jobs] == [
        ("u1", 2, "unparked"),
        ("u2", 2, "unparked"),
    ]
    assert shard.take("w1").jobs == []
    found = shard.look()
    assert found.stakes["w2"] == shard.now + TTL
    assert {entry.consumer for entry in found.streams["unparked"]} == {"w2"}
    assert (found.parked, found.parked_counts) == ({}, {})


def test_an_unparked_job_finishes_like_any_other(shard: Shard) -> None:
    park(shard, "u1")
    shard.unpark("w2")
    assert shard.finish(OutcomeRow("u1", 2, "complete"), worker="w2") == ["recorded"]
    assert shard.look().streams["unparked"] == []


def test_the_oldest_go_first_and_no_more_than_asked_for(shard: Shard) -> None:
    park(shard, "u2")
    shard.advance(10)
    park(shard, "u1", "u3")
    assert [job.uid for job in shard.unpark("w2", 2)] == ["u2", "u1"]
    assert [job.uid for job in shard.unpark("w2", 2)] == ["u3"]


def test_what_this_very_signature_refused_stays(shard: Shard) -> None:
    park(shard, "u1", by="old")
    park(shard, "u2", by="older")
    park(shard, "u3")
    assert [job.uid for job in shard.unpark("w2", 10, KnownTask("a", "old"))] == ["u2", "u3"]
    assert [job.uid for job in shard.unpark("w2", 10, KnownTask("a", "new"))] == ["u1"]


def test_many_that_a_worker_refused_do_not_stand_before_one_that_it_can_run(shard: Shard) -> None:
    park(shard, *[f"u{n:03}" for n in range(300)], by="old")
    park(shard, "v", by="new")
    assert [job.uid for job in shard.unpark("w2", 1, KnownTask("a", "old"))] == ["v"]


def test_tasks_that_nobody_asked_for_stay(shard: Shard) -> None:
    park(shard, "u1", task="b")
    assert shard.unpark("w2", 10, KnownTask("a", "x")) == []
    assert [job.uid for job in shard.unpark("w2", 10, KnownTask("a", "x"), KnownTask("b", "x"))] == ["u1"]


def test_asking_where_nothing_is_parked_leaves_nothing_behind(shard: Shard) -> None:
    shard.unpark("w2", 10, KnownTask("a", "x"))
    found = shard.look()
    assert (found.streams, found.stakes, found.meta) == ({}, {}, {})


def test_asking_for_none_gets_none(shard: Shard) -> None:
    park(shard, "u1")
    assert shard.unpark("w2", 0) == []
    assert shard.status("u1") == "parked"


def test_a_parked_job_can_be_cancelled(shard: Shard) -> None:
    park(shard, "u1", "u2")
    assert shard.cancel("u1")[0] == "cancelled"
    found = shard.look()
    assert (set(found.parked["a"]), found.parked_counts) == ({"u2"}, {"a": 1})
    shard.cancel("u2")
    assert shard.look().meta == {}


def test_only_age_dead_letters_it(shard: Shard) -> None:
    park(shard, "u1")
    shard.advance(10)
    park(shard, "u2", by="old")
    shard.advance(RETENTION - 11)
    assert shard.retain().buried == 0
    shard.advance(1)
    assert shard.retain().buried == 1
    shard.advance(10)
    assert shard.retain().buried == 1
    found = shard.look()
    assert found.dlq == [("u1", "a", "UnknownTask"), ("u2", "a", "NewerSignature")]
    assert (found.parked, found.meta) == ({}, {})


def test_burying_keeps_to_its_limit_over_all_tasks(shard: Shard) -> None:
    park(shard, "u1", "u2", "u3")
    park(shard, "v1", "v2", task="b")
    shard.advance(RETENTION)
    buried = [shard.retain(limit=2).buried for _ in range(3)]
    assert buried == [2, 2, 1]
    assert shard.look().parked == {}


def test_a_buried_one_can_be_replayed_when_somebody_can_run_it(shard: Shard) -> None:
    park(shard, "u1", by="old")
    shard.advance(RETENTION)
    shard.retain()
    assert shard.replay("u1")[0] == "replayed"
    job = shard.take_one()
    assert (job.uid, job.token) == ("u1", 2)
    assert "parked_by" not in shard.record("u1")
