"""Guarantee 9: a torn or alien record is set aside and reported, and the batch goes on."""

import json
from collections.abc import Callable

import pytest

from capelin.lua import CancelVerdict, KnownTask, NewJob, OutcomeRow, RunningRow, Submitted, Verdict
from tests.scripts.driving import RETENTION, TTL, Shard
from tests.scripts.servers import Refused

pytestmark = pytest.mark.leaves_keys(
    reason="records are torn on purpose, and some of their keys cannot be told apart"
)

Tear = Callable[[Shard, str], object]


def lose_task(shard: Shard, uid: str) -> None:
    shard.server.command("HDEL", shard.keys.job(uid), "task")


def lose_status(shard: Shard, uid: str) -> None:
    shard.server.command("HDEL", shard.keys.job(uid), "status")
    shard.server.command("HSET", shard.keys.job(uid), "token", "1")  # one that never started need not say it


def strange_status(shard: Shard, uid: str) -> None:
    shard.server.command("HSET", shard.keys.job(uid), "status", "flying")


def strange_number(shard: Shard, uid: str) -> None:
    shard.server.command("HSET", shard.keys.job(uid), "attempt", "many")


def strange_time(shard: Shard, uid: str) -> None:
    shard.server.command("HSET", shard.keys.job(uid), "at", "1e300")


def strange_tick(shard: Shard, uid: str) -> None:
    shard.server.command("HSET", shard.keys.job(uid), "tick", "0x10")


def endless_tick(shard: Shard, uid: str) -> None:
    shard.server.command("HSET", shard.keys.job(uid), "tick", "9" * 15)


def endless_token(shard: Shard, uid: str) -> None:
    shard.server.command("HSET", shard.keys.job(uid), "token", "9" * 25)


def other_type(shard: Shard, uid: str) -> None:
    shard.server.command("DEL", shard.keys.job(uid))
    shard.server.command("SET", shard.keys.job(uid), "not a hash")


def no_record(shard: Shard, uid: str) -> None:
    shard.server.command("DEL", shard.keys.job(uid))


TEARS: list[Tear] = [
    lose_task,
    lose_status,
    strange_status,
    strange_number,
    strange_time,
    strange_tick,
    endless_tick,
    endless_token,
    other_type,
    no_record,
]
UNREADABLE: list[Tear] = [lose_status, other_type, no_record]
by_name = pytest.mark.parametrize("tear", TEARS, ids=lambda tear: tear.__name__)
unreadable = pytest.mark.parametrize("tear", UNREADABLE, ids=lambda tear: tear.__name__)


def dead(shard: Shard) -> list[tuple[str, str]]:
    return [(uid, reason) for uid, _, reason in shard.look().dlq]


@by_name
def test_take_sets_a_torn_record_aside_and_delivers_the_rest(shard: Shard, tear: Tear) -> None:
    shard.enqueue("before", "torn", "after")
    tear(shard, "torn")
    taken = shard.take()
    assert [job.uid for job in taken.jobs] == ["before", "after"]
    assert taken.torn == ["torn"]
    found = shard.look()
    assert dead(shard) == [("torn", "torn")]
    assert [entry.uid for entry in found.streams["normal"]] == ["before", "after"]
    assert found.meta == {}


@by_name
def test_a_torn_record_is_reported_once(shard: Shard, tear: Tear) -> None:
    shard.enqueue("torn")
    tear(shard, "torn")
    assert shard.take().torn == ["torn"]
    assert shard.take().torn == []
    assert dead(shard) == [("torn", "torn")]


def test_what_can_be_read_of_a_torn_record_says_that_its_job_is_dead(shard: Shard) -> None:
    shard.enqueue("torn")
    strange_number(shard, "torn")
    shard.take()
    record = shard.record("torn")
    assert record["status"] == "failed"
    assert json.loads(record["error"])["type"] == "TornRecord"
    assert record["place"].startswith("dlq:")


def test_a_torn_record_frees_its_key_and_its_follower(shard: Shard) -> None:
    shard.enqueue(NewJob("first", "a", unique_key="k"))
    shard.take_one()
    shard.enqueue(NewJob("second", "a", priority="critical", unique_key="k", on_duplicate="follow"))
    shard.finish(OutcomeRow("first", 1, "retry", failure="{}"))
    strange_number(shard, "first")
    taken = shard.take(waits=True, weights=(0, 0, 0, 0))
    assert taken.torn == ["first"]
    assert taken.more, "the follower entered after its stream was read"
    assert shard.look().unique == {"a:k": "second"}
    assert [job.uid for job in shard.take().jobs] == ["second"]


@pytest.mark.parametrize(
    "fields", [("x", "y"), ("J", "u1"), ("x", "y", "j", "u1")], ids=["other", "capital", "second"]
)
def test_an_alien_entry_is_set_aside_under_its_own_id(shard: Shard, fields: tuple[str, ...]) -> None:
    entry = str(shard.server.command("XADD", shard.keys.streams[3], f"{shard.now}-1", *fields))
    shard.enqueue("mine")
    taken = shard.take()
    assert [job.uid for job in taken.jobs] == ["mine"]
    assert taken.torn == [entry]
    assert dead(shard) == [("?", "torn")]


@pytest.mark.parametrize(
    "tear", [lose_status, strange_status, other_type, no_record], ids=lambda tear: tear.__name__
)
def test_a_torn_record_among_the_scheduled_is_set_aside_when_it_is_due(shard: Shard, tear: Tear) -> None:
    shard.enqueue(NewJob("torn", "a", due="+50"), NewJob("whole", "a", due="+50"))
    tear(shard, "torn")
    shard.advance(50)
    taken = shard.take()
    assert taken.torn == ["torn"]
    assert [job.uid for job in taken.jobs] == ["whole"]
    assert dead(shard) == [("torn", "torn")]
    assert shard.look().scheduled == {}


def test_texts_that_are_not_utf_8_cost_nobody_the_reply(shard: Shard) -> None:
    shard.enqueue("strange", "whole")
    shard.server.command("HSET", shard.keys.job("strange"), "correlation", b"\xff\xfe")
    jobs = shard.take().jobs
    assert [job.uid for job in jobs] == ["strange", "whole"]


def test_an_outcome_of_a_torn_record_spares_the_rest_of_the_batch(shard: Shard) -> None:
    shard.enqueue("one", "torn", "two")
    shard.take()
    other_type(shard, "torn")
    rows = [OutcomeRow(uid, 1, "complete") for uid in ("one", "torn", "two")]
    assert shard.finish(*rows) == [Verdict.RECORDED, Verdict.TORN, Verdict.RECORDED]
    found = shard.look()
    assert set(found.finished) == {"one", "two"}
    assert [entry.uid for entry in found.streams["normal"]] == ["torn"], (
        "it keeps its place until it is set aside"
    )
    renewed = shard.renew("w1")
    assert (renewed.unknown, renewed.pending) == ([], 0)
    assert dead(shard) == [("torn", "torn")]
    assert shard.look().streams["normal"] == []


@pytest.mark.parametrize("place", ["", "nowhere", "9:1-1", "4:abc"])
def test_an_outcome_of_a_record_that_lost_its_place_ends_the_job_in_the_dlq(shard: Shard, place: str) -> None:
    shard.enqueue("torn", "whole")
    shard.take()
    shard.server.command("HSET", shard.keys.job("torn"), "place", place)
    verdicts = shard.finish(OutcomeRow("torn", 1, "complete", "1"), OutcomeRow("whole", 1, "complete", "1"))
    assert verdicts == [Verdict.TORN, Verdict.RECORDED]
    assert dead(shard) == [("torn", "torn")]
    shard.renew("w1")
    assert shard.look().streams["normal"] == [], "its entry goes with the next renewal"


def test_an_outcome_that_cannot_be_written_never_takes_the_job_from_its_place(shard: Shard) -> None:
    """The list of failures is something else: the retry cannot be noted."""
    shard.enqueue("torn", "whole")
    shard.take()
    shard.server.command("SET", shard.keys.failures("torn"), "not a list")
    rows = [OutcomeRow("torn", 1, "retry", failure="{}"), OutcomeRow("whole", 1, "retry", failure="{}")]
    assert shard.finish(*rows) == [Verdict.TORN, Verdict.RECORDED]
    assert dead(shard) == [("torn", "torn")]
    assert shard.status("torn") == "failed"
    assert shard.status("whole") == "queued"


def test_a_then_that_cannot_be_read_is_reported_and_its_parent_completed(shard: Shard) -> None:
    shard.enqueue(NewJob("torn", "a", extra='{"then": "[oops"}'), "whole")
    shard.take()
    rows = [OutcomeRow("torn", 1, "complete", "1"), OutcomeRow("whole", 1, "complete", "1")]
    assert shard.finish(*rows) == [Verdict.TORN, Verdict.RECORDED]
    found = shard.look()
    assert found.records["torn"]["status"] == "completed"
    assert set(found.finished) == {"torn", "whole"}
    assert found.streams["normal"] == []
    assert found.dlq == []


def test_an_on_failure_that_cannot_be_read_is_reported_and_its_job_buried_once(shard: Shard) -> None:
    shard.enqueue(NewJob("torn", "a", extra='{"on_failure": "[oops"}'))
    shard.take()
    assert shard.finish(OutcomeRow("torn", 1, "dead", "ValueError", failure="{}")) == [Verdict.TORN]
    assert dead(shard) == [("torn", "ValueError")]
    assert shard.look().streams["normal"] == []


@unreadable
def test_renewals_set_aside_what_cannot_be_read_and_report_it_lost(shard: Shard, tear: Tear) -> None:
    shard.enqueue("torn", "whole")
    shard.take()
    tear(shard, "torn")
    renewed = shard.renew("w1", [RunningRow("torn", 1), RunningRow("whole", 1)])
    assert renewed.lost == ["torn"]
    assert renewed.unknown == []
    assert renewed.pending == 1
    assert dead(shard) == [("torn", "torn")]


def test_adopting_leaves_out_what_cannot_be_read(shard: Shard) -> None:
    shard.enqueue("torn", "alien", "whole")
    shard.take()
    strange_number(shard, "torn")
    other_type(shard, "alien")
    rows = [RunningRow(uid, 1) for uid in ("torn", "alien", "whole", "nobody")]
    assert [job.uid for job in shard.adopt("w1", *rows)] == ["whole"]
    assert dead(shard) == [("torn", "torn")], "no renewal would ever bring it home"
    assert shard.renew("w1", [RunningRow("whole", 1)]).pending == 1


LIES = {
    "a status that there is not": ("status", "dreaming"),
    "waiting, in the entry that runs": ("status", "queued"),
    "parked, in the entry that runs": ("status", "parked"),
    "of a worker that is not": ("worker", "nobody"),
    "a token that is none": ("token", "first"),
    "a token beyond all numbers": ("token", "9" * 25),
    "a place that is none": ("place", "here"),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_a_record_that_cannot_be_true_of_what_runs_is_set_aside_by_a_renewal(
    shard: Shard, lie: tuple[str, str]
) -> None:
    shard.enqueue("torn", "whole")
    shard.take()
    shard.server.command("HSET", shard.keys.job("torn"), *lie)
    renewed = shard.renew("w1", [RunningRow("whole", 1)])
    assert renewed.torn == ["torn"]
    assert renewed.pending == 1
    assert dead(shard) == [("torn", "torn")]
    assert shard.status("torn") == "failed"


def test_a_record_that_does_not_say_that_its_job_runs_is_set_aside_by_a_renewal(shard: Shard) -> None:
    shard.enqueue("torn", "whole")
    shard.take()
    shard.server.command("HDEL", shard.keys.job("torn"), "status")
    assert shard.renew("w1", [RunningRow("whole", 1)]).torn == ["torn"]
    assert shard.status("torn") == "failed"


def test_what_lies_in_unparked_and_was_handed_to_nobody_is_set_aside(shard: Shard) -> None:
    stream = shard.keys.streams[-1]
    shard.enqueue(NewJob("parked", "new"), "running")
    shard.take()
    shard.finish(OutcomeRow("parked", 1, "park", ""))
    for number, uid in enumerate(("no-such-job", "running"), 1):
        shard.server.command("XADD", stream, f"{shard.now - 1}-{number}", "j", uid)
    [job] = shard.unpark("w1", 10, KnownTask("new", "d"))
    assert job.uid == "parked"
    [entry] = shard.look().streams["unparked"]
    assert (entry.uid, entry.consumer) == ("parked", "w1"), "and no stranger was delivered in its place"
    assert dead(shard) == [("no-such-job", "torn")]
    shard.server.command("XADD", stream, f"{shard.now + 1}-0", "j", "another")
    assert shard.retain().torn == ["another"]
    assert dead(shard) == [("no-such-job", "torn"), ("another", "torn")]
    assert shard.status("running") == "running"


@pytest.mark.parametrize("score", ["1e300", "+inf", "9007199254740993"])
def test_a_due_moment_that_never_comes_makes_nobody_look_again_and_again(shard: Shard, score: str) -> None:
    shard.server.command("ZADD", shard.keys.scheduled, score, "stranger")
    taken = shard.take(waits=True)
    assert (taken.more, taken.next_due) == (False, None)
    assert shard.look().meta == {"note": ""}
    assert shard.enqueue("u1") == [(Submitted.NEW, "u1")]
    assert shard.look().meta.get("note") is None, "and somebody who enqueues wakes the owner"


@pytest.mark.parametrize("score", ["1e300", "+inf"])
def test_a_stake_that_never_ends_is_told_as_one_that_ends_late(shard: Shard, score: str) -> None:
    shard.server.command("ZADD", shard.keys.stakes, score, "stranger")
    ends_in = shard.renew("w1", staked=True).next_stake
    assert ends_in is not None
    assert ends_in > 10**15


# Keys that are of no use until somebody repairs them: nothing leaves its place for one of them.


def break_key(shard: Shard, key: str) -> None:
    if shard.server.command("EXISTS", key):
        shard.server.command("RENAME", key, f"{shard.keys.meta}:kept")
    shard.server.command("SET", key, "rubbish")


def repair(shard: Shard, key: str) -> None:
    shard.server.command("DEL", key)
    if shard.server.command("EXISTS", f"{shard.keys.meta}:kept"):
        shard.server.command("RENAME", f"{shard.keys.meta}:kept", key)


def test_a_due_job_stays_where_it_is_while_its_stream_is_none(shard: Shard) -> None:
    shard.enqueue(NewJob("due", "a", due="+5"))
    shard.advance(10)
    break_key(shard, shard.keys.streams[3])
    with pytest.raises(Refused, match="WRONGTYPE"):
        shard.take()
    repair(shard, shard.keys.streams[3])
    assert [job.uid for job in shard.take().jobs] == ["due"]


def test_a_parked_job_stays_parked_while_the_stream_of_its_kind_is_none(shard: Shard) -> None:
    shard.enqueue(NewJob("parked", "new"))
    shard.take()
    shard.finish(OutcomeRow("parked", 1, "park", ""))
    break_key(shard, shard.keys.streams[-1])
    with pytest.raises(Refused, match="WRONGTYPE"):
        shard.unpark("w1", 10, KnownTask("new", "d"))
    repair(shard, shard.keys.streams[-1])
    assert [job.uid for job in shard.unpark("w1", 10, KnownTask("new", "d"))] == ["parked"]


def broken_off(shard: Shard) -> None:
    """A take delivers three jobs, meets a torn one first, and finds no DLQ: nothing of it is done."""
    shard.enqueue("torn", NewJob("new", "a", unique_key="k"), "retried")
    shard.server.command("HSET", shard.keys.job("retried"), "status", "queued", "place", "", "token", 1)
    lose_status(shard, "torn")
    break_key(shard, shard.keys.dlq)
    with pytest.raises(Refused, match="WRONGTYPE"):
        shard.take("w1", weights=(0, 0, 10, 0))
    repair(shard, shard.keys.dlq)


def test_what_a_take_delivered_that_was_broken_off_goes_back_at_the_next_renewal(shard: Shard) -> None:
    broken_off(shard)
    renewed = shard.renew("w1")
    assert (renewed.torn, renewed.pending, renewed.unknown) == (["torn"], 0, [])
    assert [(job.uid, job.token) for job in shard.take("w2").jobs] == [("new", 1), ("retried", 2)]
    assert shard.look().unique == {"a:k": "new"}
    shard.finish(OutcomeRow("new", 1, "complete"), OutcomeRow("retried", 2, "complete"), worker="w2")
    assert set(shard.look().finished) == {"new", "retried"}


def test_what_a_take_delivered_that_was_broken_off_goes_back_when_its_worker_is_dead(shard: Shard) -> None:
    broken_off(shard)
    reaped = shard.reap()  # a worker without a stake, with entries pending
    assert sorted(reaped.returned) == ["new", "retried"]
    assert dead(shard) == [("torn", "torn")]
    jobs = shard.take("w2").jobs
    assert [(job.uid, job.token, job.crashes) for job in jobs] == [("new", 1, 0), ("retried", 2, 0)]


def test_a_job_that_went_back_and_has_another_entry_starts_once(shard: Shard) -> None:
    shard.enqueue("u1")
    shard.server.command("XADD", shard.keys.streams[3], f"{shard.now + 1}-0", "j", "u1")
    shard.server.command("XGROUP", "CREATE", shard.keys.streams[3], "workers", "0")
    shard.server.command(
        "XREADGROUP", "GROUP", "workers", "w1", "COUNT", 1, "STREAMS", shard.keys.streams[3], ">"
    )
    shard.renew("w1")
    assert [(job.uid, job.token) for job in shard.take("w2").jobs] == [("u1", 1)]
    assert shard.take("w2").jobs == []


def test_an_enqueue_that_finds_no_stream_leaves_no_record_that_would_answer_for_it(shard: Shard) -> None:
    break_key(shard, shard.keys.streams[3])
    with pytest.raises(Refused, match="WRONGTYPE"):
        shard.enqueue("u1")
    repair(shard, shard.keys.streams[3])
    assert shard.enqueue("u1") == [(Submitted.NEW, "u1")], (
        "sent again, it is not taken for one that was written"
    )
    assert [job.uid for job in shard.take().jobs] == ["u1"]


@pytest.mark.parametrize(
    ("stream", "kind", "due"), [(0, "return", ""), (3, "retry", "")], ids=["hand-back", "retry"]
)
def test_an_outcome_whose_job_has_nowhere_to_go_puts_it_into_the_dlq(
    shard: Shard, stream: int, kind: str, due: str
) -> None:
    shard.enqueue(NewJob("u1", "a", priority="high"))
    job = shard.take_one()
    break_key(shard, shard.keys.streams[0 if stream == 0 else 2])
    if stream:
        with pytest.raises(Refused, match="WRONGTYPE"):  # its entry is there, too
            shard.finish(OutcomeRow("u1", job.token, kind, due=due, failure="{}"))
    else:
        assert shard.finish(OutcomeRow("u1", job.token, kind, due=due)) == [Verdict.TORN]
    repair(shard, shard.keys.streams[0 if stream == 0 else 2])
    assert dead(shard) == [("u1", "torn")]


def test_jobs_of_the_dead_have_a_place_while_returned_is_no_stream(shard: Shard) -> None:
    shard.enqueue("u1")
    shard.take("gone")
    shard.advance(TTL)
    break_key(shard, shard.keys.streams[0])
    shard.reap()
    repair(shard, shard.keys.streams[0])
    assert dead(shard) == [("u1", "torn")]
    assert shard.look().streams["normal"] == []


def test_nothing_leaves_its_place_for_a_dlq_that_is_none(shard: Shard) -> None:
    shard.enqueue("torn")
    lose_status(shard, "torn")
    break_key(shard, shard.keys.dlq)
    with pytest.raises(Refused, match="WRONGTYPE"):
        shard.take()
    repair(shard, shard.keys.dlq)
    shard.advance(TTL)
    shard.reap()
    shard.take("w2")
    assert dead(shard) == [("torn", "torn")]


def test_a_lease_that_is_none_costs_no_stake(shard: Shard) -> None:
    shard.enqueue("u1")
    shard.take()
    break_key(shard, shard.keys.lease)
    renewed = shard.renew("w1", [RunningRow("u1", 1)], epoch=1)
    assert (renewed.lease, renewed.lost, renewed.pending) == ("lost", [], 1)
    repair(shard, shard.keys.lease)


def test_a_wake_list_that_is_none_costs_no_enqueue(shard: Shard) -> None:
    shard.take(waits=True)
    shard.server.command("SET", shard.keys.wake, "rubbish")
    assert shard.enqueue("u1") == [(Submitted.NEW, "u1")]
    assert [job.uid for job in shard.take().jobs] == ["u1"]


@pytest.mark.parametrize("field", ["keys:1", "stale:4", "parked:a", "total:enqueued"])
def test_a_count_that_is_no_number_costs_no_job(shard: Shard, field: str) -> None:
    shard.server.command("HSET", shard.keys.meta, field, "rubbish")
    shard.enqueue(NewJob("u1", "a", unique_key="k"), "u2", "u3")
    assert shard.cancel("u3")[0] is CancelVerdict.CANCELLED
    jobs = shard.take().jobs
    assert [job.uid for job in jobs] == ["u1", "u2"]
    verdicts = shard.finish(OutcomeRow("u1", 1, "complete", "1"), OutcomeRow("u2", 1, "park", ""))
    assert verdicts == [Verdict.RECORDED] * 2
    assert [job.uid for job in shard.unpark("w1", 10, KnownTask("a", "d"))] == ["u2"]


@unreadable
def test_reaping_sets_aside_what_cannot_be_read_and_gives_back_the_rest(shard: Shard, tear: Tear) -> None:
    shard.enqueue("torn", "whole")
    shard.take("gone")
    tear(shard, "torn")
    shard.advance(TTL)
    reaped = shard.reap()
    assert reaped.returned == ["whole"]
    assert dead(shard) == [("torn", "torn")]
    found = shard.look()
    assert found.streams["normal"] == []
    assert found.stakes == {}


@pytest.mark.parametrize("place", ["missing", "strange"])
def test_reaping_gives_back_a_job_whose_record_lost_its_place(shard: Shard, place: str) -> None:
    shard.enqueue("torn")
    shard.take("gone")
    shard.server.command("HDEL", shard.keys.job("torn"), "place")
    if place == "strange":
        shard.server.command("HSET", shard.keys.job("torn"), "place", "nowhere")
    shard.advance(TTL)
    assert shard.reap().returned == ["torn"]
    assert [job.uid for job in shard.take().jobs] == ["torn"]


def test_reaping_buries_a_job_whose_failures_cannot_be_noted(shard: Shard) -> None:
    shard.enqueue("torn", "whole")
    shard.take("gone")
    shard.server.command("SET", shard.keys.failures("torn"), "not a list")
    shard.advance(TTL)
    assert shard.reap().returned == ["whole"]
    assert dead(shard) == [("torn", "torn")]


def test_reaping_a_poison_job_whose_on_failure_cannot_be_read_buries_it_once(shard: Shard) -> None:
    shard.enqueue(NewJob("torn", "a", extra='{"on_failure": "[oops"}'))
    shard.take("gone")
    shard.advance(TTL)
    assert shard.reap(max_crashes=1).buried == ["torn"]
    assert dead(shard) == [("torn", "WorkerLost")]


@by_name
def test_unparking_sets_aside_what_cannot_be_read_and_hands_out_the_rest(shard: Shard, tear: Tear) -> None:
    shard.enqueue("torn", "whole")
    shard.take()
    shard.finish(OutcomeRow("torn", 1, "park"), OutcomeRow("whole", 1, "park"))
    tear(shard, "torn")
    assert [job.uid for job in shard.unpark("w2", 10, KnownTask("a", "d"))] == ["whole"]
    found = shard.look()
    assert found.parked == {}
    assert found.parked_counts == {}
    if tear is not strange_status:  # it says that it is somewhere else
        assert dead(shard) == [("torn", "torn")]


@unreadable
def test_retention_sets_aside_what_cannot_be_read_and_goes_on(shard: Shard, tear: Tear) -> None:
    shard.enqueue("torn", "whole")
    shard.take()
    shard.finish(OutcomeRow("torn", 1, "park"), OutcomeRow("whole", 1, "park"))
    tear(shard, "torn")
    shard.advance(RETENTION)
    assert shard.retain().buried == 2
    assert sorted(dead(shard)) == [("torn", "torn"), ("whole", "UnknownTask")]


@pytest.mark.parametrize(
    "tear", [lose_status, strange_time, other_type, no_record], ids=lambda tear: tear.__name__
)
def test_trimming_by_count_gets_past_a_torn_record(shard: Shard, tear: Tear) -> None:
    shard.enqueue("torn", "whole", "last")
    shard.take()
    shard.finish(OutcomeRow("torn", 1, "complete"), OutcomeRow("whole", 1, "complete"))
    tear(shard, "torn")
    assert shard.finish(OutcomeRow("last", 1, "complete"), most_finished=0) == [Verdict.RECORDED]
    shard.advance(2 * RETENTION)
    shard.retain()
    assert shard.look().finished == {}
    assert shard.look().records == {}


def test_a_purge_removes_what_was_set_aside_though_it_is_no_record(shard: Shard) -> None:
    shard.enqueue("torn")
    other_type(shard, "torn")
    shard.take()
    shard.advance(100 * RETENTION)
    assert shard.retain().purged == 1
    assert shard.server.command("EXISTS", shard.keys.job("torn")) == 0


@pytest.mark.parametrize(
    "tear", [lose_status, strange_status, other_type, no_record], ids=lambda tear: tear.__name__
)
def test_a_dedupe_key_that_a_torn_record_holds_is_free(shard: Shard, tear: Tear) -> None:
    shard.enqueue(NewJob("torn", "a", unique_key="k"))
    tear(shard, "torn")
    assert shard.enqueue(NewJob("next", "a", unique_key="k")) == [(Submitted.NEW, "next")]
    assert shard.look().unique == {"a:k": "next"}


def test_a_dedupe_key_of_another_type_is_written_anew(shard: Shard) -> None:
    shard.server.command("LPUSH", shard.keys.unique("a", "k"), "x")
    assert shard.enqueue(NewJob("u", "a", unique_key="k")) == [(Submitted.NEW, "u")]
    assert shard.look().unique == {"a:k": "u"}


def test_a_follower_that_cannot_be_read_does_not_keep_its_first_from_ending(shard: Shard) -> None:
    shard.enqueue(NewJob("first", "a", unique_key="k"))
    shard.take_one()
    shard.enqueue(NewJob("second", "a", unique_key="k", on_duplicate="follow"))
    other_type(shard, "second")
    assert shard.finish(OutcomeRow("first", 1, "complete")) == [Verdict.RECORDED]
    found = shard.look()
    assert found.unique == {}
    assert set(found.finished) == {"first"}


def test_a_follower_whose_first_cannot_be_read_can_be_cancelled(shard: Shard) -> None:
    shard.enqueue(NewJob("first", "a", unique_key="k"))
    shard.take_one()
    shard.enqueue(NewJob("second", "a", unique_key="k", on_duplicate="follow"))
    other_type(shard, "first")
    shard.cancel("second")
    assert shard.status("second") == "cancelled"
    assert shard.look().scheduled == {}


@pytest.mark.parametrize("field", ["attempt", "crashes", "token", "a"])
def test_who_is_told_of_a_torn_job_can_read_what_it_is_told(shard: Shard, field: str) -> None:
    shard.enqueue(NewJob("torn", "a", args="[[1],{}]", extra='{"on_failure": "[\\"b\\",\\"\\",\\"\\"]"}'))
    shard.server.command("HSET", shard.keys.job("torn"), "attempt", "many", field, "[[")
    assert shard.take().torn == ["torn"]
    [told] = shard.take().jobs
    [[failed], _] = json.loads(told.args)
    assert failed["job_id"].endswith(".torn")
    assert failed["args"] == ([[], {}] if field == "a" else [[1], {}])
    assert (failed["attempt"], failed["crashes"]) == (0, 0)


def test_who_is_told_of_a_poison_job_can_read_what_it_is_told_though_its_arguments_are_torn(
    shard: Shard,
) -> None:
    shard.enqueue(NewJob("torn", "a", args="[[1],{}]", extra='{"on_failure": "[\\"b\\",\\"\\",\\"\\"]"}'))
    shard.take("gone")
    shard.server.command("HSET", shard.keys.job("torn"), "a", "[[", "headers", "{{")
    shard.advance(TTL)
    assert shard.reap(max_crashes=1).buried == ["torn"]
    [told] = shard.take().jobs
    [[failed], _] = json.loads(told.args)
    assert (failed["args"], failed["reason"], told.headers) == ([[], {}], "WorkerLost", None)
