"""The whole table of transitions against the scripts: each move is made, and nothing else ever happens."""

import json
from collections.abc import Callable

import pytest

from capelin.lua import KnownTask, NewJob, OutcomeRow
from capelin.records import JobStatus
from capelin.transitions import TRANSITIONS, Event, Move, targets
from tests.scripts.driving import RETENTION, TTL, Shard

pytestmark = pytest.mark.leaves_keys(reason="records are torn on purpose")

Act = Callable[[Shard], object]
EXPIRES, DUE = 50_000, 5_000


def submit(shard: Shard, uid: str = "u1", *, mode: str = "keep", due: str = "") -> None:
    extra = json.dumps({"expires_in": EXPIRES})
    shard.enqueue(NewJob(uid, "a", due=due, extra=extra, unique_key="k", on_duplicate=mode))


def take(shard: Shard, worker: str = "w1") -> None:
    shard.take(worker)


def outcome(kind: str, due: str = "") -> Act:
    """An outcome of the newest start, by the worker that took it."""

    def act(shard: Shard) -> None:
        record = shard.record("u1")
        row = OutcomeRow("u1", int(record.get("token", 1)), kind, "", due, "{}")
        shard.finish(row, worker=record.get("worker", "w1"))

    return act


# -- how a job gets into a status; more than one way where a status has several places


def nothing(_: Shard) -> None:
    """There is no job."""


def scheduled(shard: Shard) -> None:
    submit(shard, due=f"+{DUE}")


def between_attempts(shard: Shard) -> None:
    running(shard)
    outcome("retry", f"+{DUE}")(shard)


def following(shard: Shard) -> None:
    submit(shard, "first")
    shard.take("w9", ttl=100 * RETENTION)
    submit(shard, "u1", mode="replace")


def following_with_delay(shard: Shard) -> None:
    submit(shard, "first")
    shard.take("w9", ttl=100 * RETENTION)
    submit(shard, "u1", mode="replace", due=f"+{DUE}")


def queued(shard: Shard) -> None:
    submit(shard)


def returned(shard: Shard) -> None:
    running(shard)
    outcome("return")(shard)


def running(shard: Shard) -> None:
    submit(shard)
    take(shard)


def flagged(shard: Shard) -> None:
    running(shard)
    shard.cancel("u1")


def unparked(shard: Shard) -> None:
    parked(shard)
    shard.unpark("w1")


def parked(shard: Shard) -> None:
    running(shard)
    outcome("park")(shard)


def completed(shard: Shard) -> None:
    running(shard)
    outcome("complete")(shard)


def failed(shard: Shard) -> None:
    running(shard)
    outcome("dead")(shard)


def cancelled(shard: Shard) -> None:
    submit(shard)
    shard.cancel("u1")


WAYS: dict[JobStatus | None, list[Act]] = {
    None: [nothing],
    JobStatus.SCHEDULED: [scheduled, between_attempts, following, following_with_delay],
    JobStatus.QUEUED: [queued, returned],
    JobStatus.RUNNING: [running, flagged, unparked],
    JobStatus.PARKED: [parked],
    JobStatus.COMPLETED: [completed],
    JobStatus.FAILED: [failed],
    JobStatus.CANCELLED: [cancelled],
}

# -- what happens to it


def busy(shard: Shard) -> None:
    """A worker looks that has a slot for another job only."""
    shard.enqueue(NewJob("other", "a", priority="critical"))
    shard.take("w8", 1)


def promote(shard: Shard) -> None:
    shard.advance(DUE)
    busy(shard)


def expire(shard: Shard) -> None:
    shard.advance(EXPIRES + DUE)
    busy(shard)
    if "token" not in shard.record("u1"):
        shard.take("w8", 1)


def reap(max_crashes: int) -> Act:
    def act(shard: Shard) -> None:
        shard.advance(TTL)
        shard.reap(max_crashes=max_crashes)

    return act


def unpark_paused(shard: Shard) -> None:
    shard.pause()
    shard.unpark("w2", 10, KnownTask("a", "d"))


def end_the_first(shard: Shard) -> None:
    shard.finish(OutcomeRow("first", 1, "complete"), worker="w9")


def forget(shard: Shard) -> None:
    shard.advance(20 * RETENTION)
    shard.retain(parked_age=100 * RETENTION)


def tear(shard: Shard) -> None:
    """The record loses what is needed to run it, and whoever comes by next finds out."""
    if not shard.record("u1"):
        return
    fields = ["place"] if shard.status("u1") == "running" else ["task"]
    shard.server.command("HDEL", shard.keys.job("u1"), *fields)
    match shard.status("u1"):
        case "running":
            outcome("complete")(shard)
        case "parked":
            shard.unpark("w2")
        case _:
            end_the_first(shard)
            shard.advance(DUE)
            shard.take("w2")


ACTS: dict[str, tuple[Event, Act]] = {
    "enqueue": (Event.ENQUEUE, submit),
    "enqueue for later": (Event.ENQUEUE, lambda shard: submit(shard, due="+5")),
    "replace": (Event.REPLACE, lambda shard: submit(shard, "u2", mode="replace")),
    "replace for later": (Event.REPLACE, lambda shard: submit(shard, "u2", mode="replace", due="+5")),
    "due": (Event.DUE, promote),
    "free": (Event.FREE, end_the_first),
    "hurry or replay": (Event.HURRY, lambda shard: shard.replay("u1")),
    "take": (Event.TAKE, take),
    "expire": (Event.EXPIRE, expire),
    "complete": (Event.COMPLETE, outcome("complete")),
    "retry": (Event.RETRY, outcome("retry")),
    "retry later": (Event.RETRY, outcome("retry", "+5")),
    "dead": (Event.DEAD, outcome("dead")),
    "snooze": (Event.SNOOZE, outcome("snooze")),
    "snooze for later": (Event.SNOOZE, outcome("snooze", "+5")),
    "return": (Event.RETURN, outcome("return")),
    "park": (Event.PARK, outcome("park")),
    "stop": (Event.STOP, outcome("cancel")),
    "reap": (Event.REAP, reap(3)),
    "reap poison": (Event.REAP, reap(1)),
    "cancel": (Event.CANCEL, lambda shard: shard.cancel("u1")),
    "unpark": (Event.UNPARK, lambda shard: shard.unpark("w2", 10, KnownTask("a", "d"))),
    "unpark while paused": (Event.UNPARK, unpark_paused),
    "give up": (Event.GIVE_UP, lambda shard: shard.retain(parked_age=0)),
    "set aside": (Event.SET_ASIDE, tear),
    "forget": (Event.FORGET, forget),
}


def event_of(name: str, status: JobStatus | None) -> Event:
    """One script serves two words: a job in the DLQ is replayed, one that waits for its time is hurried."""
    event, _ = ACTS[name]
    return Event.REPLAY if event is Event.HURRY and status is JobStatus.FAILED else event


def status_of(shard: Shard) -> JobStatus | None:
    status = shard.status("u1")
    return None if status is None else JobStatus(status)


def happen(shard: Shard, way: Act, name: str) -> tuple[JobStatus | None, JobStatus | None]:
    """Return the status before and after."""
    way(shard)
    before = status_of(shard)
    ACTS[name][1](shard)
    return before, status_of(shard)


def same_place(before: JobStatus | None, name: str) -> bool:
    """Whether an act may change nothing here although the table has a move for its event."""
    return (before, ACTS[name][0]) in {
        (JobStatus.SCHEDULED, Event.DUE),  # a follower has no time
        (JobStatus.SCHEDULED, Event.FREE),  # it follows nobody
        (JobStatus.SCHEDULED, Event.HURRY),  # it follows somebody
        (JobStatus.SCHEDULED, Event.EXPIRE),  # it has started before, or follows
        (JobStatus.QUEUED, Event.EXPIRE),  # it has started before
        (JobStatus.RUNNING, Event.CANCEL),  # flagged
        (JobStatus.SCHEDULED, Event.SET_ASIDE),
    }


# What came back goes before everything: a look at the others is a start.
TAKEN_AT_ONCE = {("returned", "due"), ("returned", "expire")}
WAYS_IN = [(status, way) for status, ways in WAYS.items() for way in ways]


@pytest.mark.parametrize(("status", "way"), WAYS_IN, ids=[way.__name__ for _, way in WAYS_IN])
def test_nothing_happens_that_the_table_does_not_say(
    shard: Shard, status: JobStatus | None, way: Act
) -> None:
    for number, name in enumerate(ACTS):
        if (way.__name__, name) in TAKEN_AT_ONCE:
            continue
        before, after = happen(Shard(shard.server, "q", number), way, name)
        assert before == status
        allowed = targets(before, event_of(name, before))
        if not allowed or same_place(before, name):
            allowed |= {before}
        if name == "expire":  # one that has started before does not, but its time has come
            allowed |= targets(before, Event.DUE)
        assert after in allowed, name


def test_every_move_of_the_table_is_made(memory_shard: Shard) -> None:
    made: set[tuple[JobStatus | None, Event, JobStatus | None]] = set()
    for number, (status, way, name) in enumerate((*way_in, name) for way_in in WAYS_IN for name in ACTS):
        _, after = happen(Shard(memory_shard.server, "q", number), way, name)
        event = event_of(name, status)
        if after in targets(status, event):
            made.add((status, event, after))
    assert made == {move[:3] for move in TRANSITIONS}


def test_no_move_stands_in_the_table_twice() -> None:
    assert len({move[:3] for move in TRANSITIONS}) == len(TRANSITIONS)


def test_a_move_that_depends_on_something_says_on_what() -> None:
    forked = {(move.source, move.event) for move in TRANSITIONS if len(targets(move.source, move.event)) > 1}
    plain = [move for move in TRANSITIONS if not move.when and (move.source, move.event) in forked]
    ordinary = {Event.DEAD, Event.RETURN, Event.PARK, Event.REAP, Event.UNPARK}
    assert all(move.event in ordinary for move in plain), "the others name their condition"
    assert len({(move.source, move.event) for move in plain}) == len(plain), "one ordinary way each"


def test_every_status_can_be_reached_and_left() -> None:
    assert {move.target for move in TRANSITIONS} == {None, *JobStatus}
    assert {move.source for move in TRANSITIONS} == {None, *JobStatus}
    assert {move.event for move in TRANSITIONS} == set(Event)


def test_what_ended_only_goes_or_runs_again() -> None:
    ends = {move.event for move in TRANSITIONS if move.source is not None and move.source.ended}
    assert ends == {Event.FORGET, Event.REPLAY}


def test_a_row_reads_as_a_sentence() -> None:
    assert Move(JobStatus.QUEUED, Event.TAKE, JobStatus.RUNNING) in TRANSITIONS
