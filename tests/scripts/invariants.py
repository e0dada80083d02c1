"""What must hold in a shard at every moment, whoever did what in whatever order."""

import re
from collections import Counter
from collections.abc import Iterator

from capelin.priority import STREAMS
from tests.scripts.looking import Look

KNOWN_FIELDS = {
    "task",
    "digest",
    "args",
    "status",
    "priority",
    "enqueued",
    "due",
    "started",
    "finished",
    "expires",
    "timeout",
    "retry",
    "key",
    "window",
    "headers",
    "then",
    "on_failure",
    "retention",
    "request",
    "token",
    "attempt",
    "crashes",
    "max_crashes",
    "worker",
    "place",
    "last",
    "cancel",
    "waited",
    "result",
    "error",
    "follows",
    "follower",
    "delay",
    "parent",
    "progress",
    "parked_by",
    "first",
    "correlation",
    "batch",
    "cut",
    "layout",
    "called",
}
LIVE = {"scheduled", "queued", "running", "parked"}
ENDED = {"completed", "failed", "cancelled"}


def stream_of(record: dict[str, str]) -> str:
    """Where a queued job waits, as the record says."""
    return "returned" if record.get("place") == "returned" else record.get("priority", "normal")


def places(found: Look) -> Iterator[tuple[str, str]]:
    """Every (uid, place) of the shard; entries whose job has left by another door are no place."""
    for name, entries in found.streams.items():
        for entry in entries:
            record = found.records.get(entry.uid, {})
            if entry.consumer is not None:
                yield entry.uid, f"running in {name} at {entry.id} by {entry.consumer}"
            elif record.get("status") == "queued" and stream_of(record) == name:
                yield entry.uid, f"queued in {name}"
    for uid in found.scheduled:
        yield uid, "scheduled"
    for task, uids in found.parked.items():
        for uid in uids:
            yield uid, f"parked for {task}"
    for uid, _, _ in found.dlq:
        yield uid, "dead"
    for uid in found.finished:
        yield uid, "finished"


def place_of(found: Look, uid: str, record: dict[str, str]) -> str:
    """The one place where the record says that its job is."""
    match record["status"]:
        case "queued":
            return f"queued in {stream_of(record)}"
        case "running":
            index, _, entry_id = record["place"].partition(":")
            return f"running in {STREAMS[int(index) - 1]} at {entry_id} by {record['worker']}"
        case "parked":
            return f"parked for {record['task']}"
        case "scheduled":
            return "scheduled"
        case "failed" if "place" in record:
            assert record["place"] == f"dlq:{found.dlq_ids.get(uid)}"
            return "dead"
        case _:
            return "finished"


def check(found: Look) -> None:
    """Every accepted job is in exactly one place, and nothing is left behind."""
    assert found.strange == []
    at: dict[str, set[str]] = {}
    for uid, place in places(found):
        at.setdefault(uid, set()).add(place)
    expected = {uid: {place_of(found, uid, record)} for uid, record in found.records.items()}
    assert at == expected, "each job is in the one place that its record names"
    _check_streams(found)
    _check_records(found)
    assert set(found.failures) <= set(found.records)
    _check_keys(found)
    assert found.parked_counts == {task: len(uids) for task, uids in found.parked.items()}


def _check_keys(found: Look) -> None:
    held = Counter[str]()
    for uid in found.unique.values():
        record = found.records.get(uid, {})
        if record.get("status") in LIVE and "window" not in record:
            held[record.get("layout", "1")] += 1
    assert found.keys == held, "keys that jobs hold are counted exactly, by the layout they were taken under"


def _check_streams(found: Look) -> None:
    assert found.orphans == {}, "no pending entry without its entry in the stream"
    stale = Counter[str]()
    for name, entries in found.streams.items():
        pending = Counter(entry.consumer for entry in entries if entry.consumer is not None)
        assert pending == +Counter(found.consumers[name])
        assert set(pending) <= set(found.stakes), "who has jobs in flight has a stake"
        unread = [entry.uid for entry in entries if entry.consumer is None]
        live = {uid for uid in unread if f"queued in {name}" in _place_if_known(found, uid)}
        stale[name] = len(unread) - len(live)
    assert found.stale == +stale, "entries whose job has left are counted exactly"


def _place_if_known(found: Look, uid: str) -> str:
    record = found.records.get(uid)
    return "" if record is None else place_of(found, uid, record)


def _check_records(found: Look) -> None:
    for uid, record in found.records.items():
        assert set(record) <= KNOWN_FIELDS
        assert record["status"] in LIVE | ENDED
        assert re.fullmatch(r"\d+", record["enqueued"])
        assert record["status"] in LIVE or "finished" in record
        follower = found.records.get(record.get("follower", ""), {})
        if follower.get("follows") == uid:
            assert record["status"] in LIVE, "every end of a job frees its follower"
    for uid, record in found.records.items():
        if "follows" in record and record["status"] in LIVE:
            assert found.records[record["follows"]].get("follower") == uid
            assert found.scheduled[uid] == float("inf")
    for name, uid in found.unique.items():
        record = found.records.get(uid, {})
        if record.get("status") not in LIVE:
            # Only the key of a window outlives its job, whose record may be gone.
            assert "window" in record or not record, (
                f"{name} points at {uid}, which is {record.get('status')}"
            )
        else:
            assert name == f"{record['task']}:{record['key']}"
