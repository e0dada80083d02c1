"""Guarantees 2 and 6: one start's outcome is recorded, once; a repeat is told apart from a zombie."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from capelin.ids import MAX_DERIVED_LENGTH, MAX_UID_LENGTH
from capelin.lua import KnownTask, NewJob, OutcomeKind, OutcomeRow, Verdict
from tests.scripts.driving import RESEND_WINDOW, RETENTION, TTL, Shard
from tests.scripts.servers import Refused

KINDS = [str(kind) for kind in OutcomeKind]
RECORDED, REPEATED, CANCELLED, STALE = Verdict.RECORDED, Verdict.REPEATED, Verdict.CANCELLED, Verdict.STALE
ODD = 'he said "no", \\ / \u00e9 \U0001f41f \u2028 \t\n </script> %s {} $1'


def row(uid: str, token: int, kind: str, **more: str) -> OutcomeRow:
    failure = '{"type":"E","message":"m"}' if kind in {"retry", "dead"} else ""
    return OutcomeRow(
        uid, token, kind, more.get("body", ""), more.get("due", ""), more.get("failure", failure)
    )


def start(shard: Shard, job: NewJob | str = "u1", worker: str = "w1") -> str:
    shard.enqueue(job)
    return shard.take_one(worker).uid


def expected(kind: str) -> Verdict:
    return CANCELLED if kind == "cancel" else RECORDED


@pytest.mark.parametrize("kind", KINDS)
def test_an_outcome_is_recorded_once_and_a_repeat_says_so(shard: Shard, kind: str) -> None:
    start(shard)
    outcome = row("u1", 1, kind)
    assert shard.finish(outcome) == [expected(kind)]
    before = shard.look()
    assert shard.finish(outcome) == [REPEATED]
    assert shard.look() == before, "a repeat changes nothing"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "return"])
def test_what_ended_is_in_no_stream_and_pending_for_nobody(shard: Shard, kind: str) -> None:
    start(shard)
    shard.finish(row("u1", 1, kind, due="+1000"))
    assert shard.look().streams["normal"] == []
    pending = shard.server.command("XPENDING", shard.keys.streams[3], "workers")
    assert isinstance(pending, list)
    assert pending[0] == 0


@pytest.mark.parametrize("first", KINDS)
@pytest.mark.parametrize("second", KINDS)
def test_another_outcome_of_the_same_start_is_refused(shard: Shard, first: str, second: str) -> None:
    start(shard)
    shard.finish(row("u1", 1, first))
    before = shard.look()
    assert shard.finish(row("u1", 1, second)) == [REPEATED if first == second else STALE]
    assert shard.look() == before


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("worker", "token"), [("w2", 1), ("w1", 2), ("w1", 0), ("w2", 2)])
def test_only_the_worker_and_the_token_that_run_it_are_believed(
    shard: Shard, kind: str, worker: str, token: int
) -> None:
    start(shard)
    before = shard.look()
    assert shard.finish(row("u1", token, kind), worker=worker) == [STALE]
    assert shard.look() == before, "what is refused changes nothing"


def handed_back(shard: Shard) -> None:
    shard.finish(row("u1", 1, "return"))


def reaped(shard: Shard) -> None:
    shard.advance(TTL)
    shard.reap()


def replayed(shard: Shard) -> None:
    shard.finish(row("u1", 1, "dead"))
    shard.replay("u1")


def retried(shard: Shard) -> None:
    shard.finish(row("u1", 1, "retry"))


def parked(shard: Shard) -> None:
    shard.finish(row("u1", 1, "park"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "gone", [handed_back, reaped, replayed, retried, parked], ids=lambda gone: gone.__name__
)
@pytest.mark.parametrize("again", [False, True], ids=["waiting", "running again"])
def test_a_zombie_is_refused_whatever_became_of_its_job(
    shard: Shard, *, kind: str, gone: Callable[[Shard], None], again: bool
) -> None:
    start(shard)
    gone(shard)
    last = shard.record("u1")["last"]
    if again and gone is parked:
        shard.unpark("w1", 1, KnownTask("a", "d"))
    elif again:
        shard.take("w1")
    before = shard.look()
    repeat = kind == last and not again
    assert shard.finish(row("u1", 1, kind)) == [REPEATED if repeat else STALE]
    assert shard.look() == before


def test_nothing_is_known_of_a_job_that_never_was(shard: Shard) -> None:
    assert shard.finish(row("nobody", 1, "complete")) == [STALE]
    assert shard.look().records == {}


def test_each_outcome_of_a_batch_gets_its_own_verdict(shard: Shard) -> None:
    shard.enqueue("u1", "u2", "u3")
    shard.take()
    shard.cancel("u3")
    rows = [
        row("u1", 1, "complete"),
        row("u2", 7, "complete"),
        row("u1", 1, "complete"),
        row("nobody", 1, "complete"),
        row("u3", 1, "retry"),
        row("u2", 1, "snooze", due="+50"),
    ]
    assert shard.finish(*rows) == [RECORDED, STALE, REPEATED, STALE, CANCELLED, RECORDED]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (row("u2", 1, "explode"), "unknown outcome explode"),
        (row("u2", 1, "retry", due="tomorrow"), "tomorrow is no due moment"),
        (row("u2", 1, "snooze", due="inf"), "inf is no due moment"),
    ],
)
def test_a_batch_with_an_outcome_that_makes_no_sense_writes_nothing(
    shard: Shard, bad: OutcomeRow, message: str
) -> None:
    shard.enqueue("u1", "u2")
    shard.take()
    before = shard.look()
    with pytest.raises(Refused, match=message):
        shard.finish(row("u1", 1, "complete"), bad)
    assert shard.look() == before


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "complete"])
def test_a_flagged_job_that_does_not_succeed_ends_cancelled(shard: Shard, kind: str) -> None:
    start(shard)
    shard.cancel("u1")
    assert shard.finish(row("u1", 1, kind)) == [CANCELLED]
    assert shard.status("u1") == "cancelled"
    assert shard.look().dlq == []


def test_a_flagged_job_that_succeeds_completes(shard: Shard) -> None:
    start(shard)
    shard.cancel("u1")
    assert shard.finish(row("u1", 1, "complete", body="5")) == [RECORDED]
    assert shard.record("u1")["result"] == "5"


def test_attempts_count_failures_and_nothing_else(shard: Shard) -> None:
    shard.enqueue("u1")
    attempts: list[str] = []
    for kind in ("retry", "snooze", "return", "retry", "park"):
        job = shard.take_one()
        shard.finish(row("u1", job.token, kind))
        attempts.append(shard.record("u1")["attempt"])
    assert attempts == ["1", "1", "1", "2", "2"]
    assert job.token == len(attempts)


def test_every_failed_start_is_noted(shard: Shard) -> None:
    shard.enqueue(NewJob("u1", "a"))
    for token in (1, 2):
        shard.take_one("w\u00e4")
        shard.advance(5)
        failure = json.dumps({"type": "E", "message": ODD}, ensure_ascii=False)
        shard.finish(row("u1", token, "retry" if token == 1 else "dead", failure=failure), worker="w\u00e4")
    first, second = map(json.loads, shard.look().failures["u1"])
    assert first == {
        "token": 1,
        "attempt": 1,
        "crashes": 0,
        "worker": "w\u00e4",
        "started": shard.now - 10,
        "ended": shard.now - 5,
        "error": {"type": "E", "message": ODD},
    }
    assert (second["token"], second["attempt"]) == (2, 2)
    assert shard.record("u1")["first"] == str(first["started"])


@pytest.mark.parametrize("kind", ["retry", "dead"])
def test_a_failure_that_says_nothing_is_noted_as_null(shard: Shard, kind: str) -> None:
    start(shard, NewJob("u1", "a", extra='{"on_failure": "[\\"b\\",\\"\\",\\"\\"]"}'))
    shard.finish(row("u1", 1, kind, failure=""))
    assert json.loads(shard.look().failures["u1"][0])["error"] is None
    if kind == "dead":
        assert json.loads(shard.take_one().args)[0][0]["error"] is None


@pytest.mark.parametrize("kind", ["retry", "snooze"])
def test_what_is_due_later_is_scheduled_and_what_is_due_now_waits(shard: Shard, kind: str) -> None:
    shard.enqueue("u1", "u2", "u3", "u4")
    shard.take()
    dues = ["", "+0", str(shard.now - 5), "+5"]
    shard.finish(*[row(f"u{n}", 1, kind, due=due) for n, due in enumerate(dues, 1)])
    assert [shard.status(f"u{n}") for n in (1, 2, 3, 4)] == ["queued", "queued", "queued", "scheduled"]
    assert shard.look().scheduled == {"u4": shard.now + 5}


def test_a_priority_is_kept_through_everything(shard: Shard) -> None:
    shard.enqueue(NewJob("u1", "a", priority="high"))
    for kind in ("retry", "snooze", "retry"):
        job = shard.take_one()
        assert (job.stream, job.priority) == ("high", "high")
        shard.finish(row("u1", job.token, kind))


class TestThen:
    """A job that follows a success."""

    THEN = json.dumps(["b", "d9", "[[1],{}]", "high", "+50", {"retention": "60", "then": "[]"}])

    def test_is_added_by_the_completion_and_not_by_its_repeat(self, shard: Shard) -> None:
        start(shard, NewJob("u1", "a", extra=json.dumps({"then": self.THEN})))
        for _ in range(3):
            shard.finish(row("u1", 1, "complete"))
        found = shard.look()
        child = found.records["u1-t1"]
        assert found.scheduled == {"u1-t1": shard.now + 50}
        assert (child["task"], child["digest"], child["args"]) == ("b", "d9", "[[1],{}]")
        assert (child["priority"], child["retention"], child["then"]) == ("high", "60", "[]")
        assert child["parent"] == "u1"

    def test_belongs_to_the_chain_and_the_batch_of_the_first(self, shard: Shard) -> None:
        last = ["c", "", "", "", "", {"batch": "b2"}]
        middle = json.dumps(["b", "", "", "", "", {"then": last}])
        start(shard, NewJob("u1", "a", extra=json.dumps({"then": middle, "batch": "b1", "retention": "0"})))
        shard.advance(RESEND_WINDOW)  # the first leaves no record
        shard.finish(row("u1", 1, "complete"))
        job = shard.take_one()
        assert (job.uid, job.parent, job.correlation, job.batch) == ("u1-t1", "u1", "q.3.u1", "b1")
        shard.finish(row("u1-t1", job.token, "complete"))
        job = shard.take_one()
        assert (job.uid, job.parent, job.correlation, job.batch) == ("u1-t2", "u1-t1", "q.3.u1", "b2")

    def test_keeps_a_chain_that_began_elsewhere(self, shard: Shard) -> None:
        start(shard, NewJob("u1", "a", extra=json.dumps({"then": self.THEN, "correlation": "other.1.x"})))
        shard.finish(row("u1", 1, "complete"))
        assert shard.record("u1-t1")["correlation"] == "other.1.x"
        assert "batch" not in shard.record("u1-t1")

    def test_has_an_id_that_no_chain_makes_long(self, shard: Shard) -> None:
        longest = "x" * MAX_DERIVED_LENGTH
        then: list[Any] = ["last", "", "", "", "", {"on_failure": '["alert","",""]'}]
        for _ in range(99):
            then = ["b", "", "", "", "", {"then": then}]
        shard.enqueue(NewJob(longest, "a", extra=json.dumps({"then": json.dumps(then)})))
        for place in range(100):
            job = shard.take_one()
            assert job.uid == (f"{longest}-t{place}" if place else longest)
            shard.finish(row(job.uid, job.token, "complete"))
        job = shard.take_one()
        assert (job.uid, job.task) == (f"{longest}-t100", "last")
        shard.finish(row(job.uid, job.token, "dead", body="E"))
        job = shard.take_one()
        assert job.uid == f"{longest}-t100-f1"
        assert len(job.uid) < MAX_UID_LENGTH
        assert job.correlation == f"q.3.{longest}"

    @pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "complete"])
    def test_follows_nothing_but_a_success(self, shard: Shard, kind: str) -> None:
        start(shard, NewJob("u1", "a", extra=json.dumps({"then": self.THEN})))
        shard.finish(row("u1", 1, kind))
        assert set(shard.look().records) == {"u1"}

    def test_is_added_though_its_parent_keeps_no_record(self, shard: Shard) -> None:
        start(shard, NewJob("u1", "a", extra=json.dumps({"then": self.THEN, "retention": "0"})))
        shard.advance(RESEND_WINDOW)
        shard.finish(row("u1", 1, "complete"))
        assert set(shard.look().records) == {"u1-t1"}


ARGUMENTS: list[Any] = [
    [[], {}],
    [[ODD, [ODD, {ODD: [None, True, 1.5]}]], {"k": ODD}],
    [[[[[[[["deep"]]]]]]], {}],
    [["[[],{}]", "}],{}]", '"'], {}],
    [[12345678901234567890, 0.1, -0.0, []], {"e": {}}],
]


class TestOnFailure:
    """A job that is told of an end in the DLQ."""

    def told(self, shard: Shard, uid: str) -> dict[str, Any]:
        record = shard.record(uid)
        told: dict[str, Any]
        [[told], keywords] = json.loads(record["args"])
        assert (keywords, record["parent"]) == ({}, "u1")
        assert (record["task"], record["digest"], record.get("priority")) == ("alert", "d1", "critical")
        return told

    def begin(self, shard: Shard, args: str = "") -> None:
        extra = json.dumps({"on_failure": json.dumps(["alert", "d1", "critical"])})
        start(shard, NewJob("u1", "a", args=args, extra=extra))

    @pytest.mark.parametrize(
        "args",
        ARGUMENTS,
        ids=["none", "odd", "deep", "looks like the end", "numbers"],
    )
    @pytest.mark.parametrize("ascii_only", [True, False])
    def test_gets_the_arguments_exactly(self, shard: Shard, *, args: list[object], ascii_only: bool) -> None:
        self.begin(shard, json.dumps(args, ensure_ascii=ascii_only))
        error = {"type": "E", "message": ODD, "traceback": ODD}
        failure = json.dumps(error, ensure_ascii=ascii_only)
        shard.finish(row("u1", 1, "dead", body=ODD, failure=failure))
        assert self.told(shard, "u1-f1") == {
            "job_id": "q.3.u1",
            "task": "a",
            "args": args,
            "attempt": 1,
            "crashes": 0,
            "reason": ODD,
            "error": error,
        }

    def test_belongs_to_the_chain_and_the_batch_of_the_dead(self, shard: Shard) -> None:
        extra = {"on_failure": '["alert","d1","critical"]', "batch": "b1"}
        start(shard, NewJob("u1", "a", extra=json.dumps(extra)))
        shard.finish(row("u1", 1, "dead", body="E"))
        job = shard.take_one()
        assert (job.parent, job.correlation, job.batch) == ("u1", "q.3.u1", "b1")

    def test_is_added_once_for_each_death(self, shard: Shard) -> None:
        self.begin(shard)
        for _ in range(3):
            shard.finish(row("u1", 1, "dead", body="E"))
        shard.replay("u1")
        [again, alert] = shard.take().jobs[::-1]
        assert (again.uid, alert.uid) == ("u1", "u1-f1")
        shard.finish(row("u1", 2, "dead", body="E"))
        assert set(shard.look().records) == {"u1", "u1-f1", "u1-f2"}

    def test_is_told_of_a_worker_that_was_lost(self, shard: Shard) -> None:
        self.begin(shard)
        shard.advance(TTL)
        shard.reap(max_crashes=1)
        told = self.told(shard, "u1-f1")
        assert (told["reason"], told["attempt"], told["crashes"]) == ("WorkerLost", 0, 1)

    def test_is_told_of_a_job_that_was_parked_too_long(self, shard: Shard) -> None:
        self.begin(shard)
        shard.finish(row("u1", 1, "park", body="d2"))
        shard.advance(RETENTION)
        shard.retain()
        assert self.told(shard, "u1-f1")["reason"] == "NewerSignature"

    @pytest.mark.parametrize("kind", ["complete", "cancel", "retry", "snooze", "return"])
    def test_hears_of_nothing_else(self, shard: Shard, kind: str) -> None:
        self.begin(shard)
        shard.finish(row("u1", 1, kind))
        assert set(shard.look().records) == {"u1"}
