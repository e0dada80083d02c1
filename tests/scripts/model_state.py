"""What a shard is in plain Python, and what happens to a job wherever it is.

A job is a dict of text, as its record is; every place where a job can be is a dict or a list.
"""

import json
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from capelin.priority import STREAMS
from tests.scripts.driving import RESEND_WINDOW, RETENTION, TTL

INF = math.inf
LIVE = {"scheduled", "queued", "running", "parked"}
HEAVY = (
    "args",
    "headers",
    "then",
    "on_failure",
    "timeout",
    "retry",
    "progress",
    "digest",
    "priority",
    "place",
    "due",
)
Record = dict[str, str]


class Entry(NamedTuple):
    """An entry of a stream that nobody has read."""

    uid: str
    at: int


class Flight(NamedTuple):
    """An entry that somebody has read: a running job."""

    order: int
    stream: str
    worker: str


class Dead(NamedTuple):
    """An entry of the DLQ."""

    uid: str
    task: str
    reason: str
    at: int


class Started(NamedTuple):
    """A job in a worker's hands."""

    uid: str
    stream: str
    token: int


class Asked(NamedTuple):
    """What one request asks for."""

    task: str
    digest: str
    args: str
    priority: str
    due: str
    extra: Mapping[str, Any]


class State:
    """One shard: its places, and the moves that several scripts share."""

    def __init__(self, now: int, prefix: str) -> None:
        self.now = now
        self.prefix = prefix
        self.jobs: dict[str, Record] = {}
        self.aliases: dict[str, tuple[str, int]] = {}
        self.failures: dict[str, list[dict[str, Any]]] = {}
        self.streams: dict[str, list[Entry]] = {name: [] for name in STREAMS}
        self.flights: dict[str, Flight] = {}
        self.scheduled: dict[str, float] = {}
        self.parked: dict[str, dict[str, int]] = {}
        self.dlq: list[Dead] = []
        self.finished: dict[str, float] = {}
        self.unique: dict[str, tuple[str, float]] = {}
        self.stakes: dict[str, int] = {}
        self.lease: tuple[str, int, int] | None = None
        self.paused = False
        self.note: str | None = None
        self.tokens = 0
        self.earliest = INF
        self._entries = 0

    def advance(self, ms: int) -> None:
        self.now += ms
        self.aliases = {uid: (target, end) for uid, (target, end) in self.aliases.items() if end > self.now}
        self.unique = {name: (uid, end) for name, (uid, end) in self.unique.items() if end > self.now}

    def stream_of(self, job: Record) -> str:
        """Where a queued job waits."""
        if job.get("place") == "returned":
            return "returned"
        return job.get("priority", "normal")

    def stale(self) -> dict[str, int]:
        """Unread entries that are not a queued job's only one, by stream."""
        queued = Counter(self.stream_of(job) for job in self.jobs.values() if job["status"] == "queued")
        counts = {name: len(entries) - queued[name] for name, entries in self.streams.items()}
        return {name: count for name, count in counts.items() if count}

    def enter(self, uid: str, stream: str) -> None:
        self.streams[stream].append(Entry(uid, self.now))
        self.earliest = 0

    def schedule(self, uid: str, due: float) -> None:
        self.scheduled[uid] = due
        self.earliest = min(self.earliest, due)

    def moment(self, text: str) -> int | None:
        if not text:
            return None
        return self.now + int(text[1:]) if text.startswith("+") else int(text)

    def requeue(self, uid: str, due: str) -> None:
        at, job = self.moment(due), self.jobs[uid]
        job["place"] = ""
        if at is not None and at > self.now:
            job.update(status="scheduled", due=str(at))
            self.schedule(uid, at)
        else:
            job["status"] = "queued"
            self.enter(uid, self.stream_of(job))

    def wake(self, due: float) -> None:
        """Something is ready at `due`; 0 is at once."""
        self.earliest = INF
        if self.note is None or self.paused or due == INF:
            return
        if self.note == "" or due == 0 or due < int(self.note):
            self.note = None
            self.tokens += 1

    # -- ends

    def free_key(self, uid: str, job: Record) -> None:
        name = f"{job['task']}:{job.get('key')}"
        held = self.unique.get(name, ("", INF))
        follower = self.jobs.get(job.get("follower", ""))
        if follower is not None and follower["status"] == "scheduled" and follower.get("follows") == uid:
            follower_uid = job["follower"]
            if held[0] == uid:
                self.unique[name] = (follower_uid, held[1])
            del follower["follows"]
            del self.scheduled[follower_uid]
            at = self.moment(follower.pop("delay", ""))
            if at is not None and at > self.now:
                follower["due"] = str(at)
                self.schedule(follower_uid, at)
            else:
                follower["status"] = "queued"
                self.enter(follower_uid, self.stream_of(follower))
        elif "key" in job and "window" not in job and held[0] == uid:
            del self.unique[name]

    def needed_until(self, job: Record) -> int:
        """Before this a record must be found by a re-sent enqueue, and by who waits for the end."""
        until = int(job["enqueued"]) + RESEND_WINDOW
        return max(until, int(job["finished"]) + RESEND_WINDOW) if "waited" in job else until

    def forget(self, uid: str) -> None:
        del self.jobs[uid]
        self.failures.pop(uid, None)
        self.finished.pop(uid, None)

    def cut(self, uid: str, until: int) -> None:
        if until <= self.now:
            self.forget(uid)
            return
        job = self.jobs[uid]
        for name in HEAVY:
            job.pop(name, None)
        if "waited" not in job:
            job.pop("result", None)
            job.pop("error", None)
            job["cut"] = "1"
        self.failures.pop(uid, None)
        self.finished[uid] = until

    def keep(self, uid: str) -> None:
        job = self.jobs[uid]
        wanted = float(job["retention"]) * 1000 if "retention" in job else RETENTION
        if wanted > 0:
            self.finished[uid] = max(self.now + wanted, self.needed_until(job))
        elif "waited" in job:
            self.finished[uid] = self.needed_until(job)
        else:
            self.cut(uid, self.needed_until(job))

    def end_cancelled(self, uid: str, reason: str) -> None:
        job = self.jobs[uid]
        job.update(
            status="cancelled",
            finished=str(self.now),
            error=f'{{"type":"JobCancelled","message":"{reason}"}}',
        )
        self.keep(uid)
        first = self.jobs.get(job.get("follows", ""))
        if first is not None:
            first.pop("follower", None)
        self.free_key(uid, job)

    def bury(self, uid: str, reason: str, failure: str) -> None:
        job = self.jobs[uid]
        self.dlq.append(Dead(uid, job["task"], reason, self.now))
        job.update(status="failed", finished=str(self.now), error=failure, place="dlq:*")
        self.free_key(uid, job)
        if "on_failure" in job:
            task, digest, priority = json.loads(job["on_failure"])
            told = {
                "job_id": self.prefix + uid,
                "task": job["task"],
                "args": json.loads(job.get("args", "[[],{}]")),
                "attempt": int(job.get("attempt", 0)),
                "crashes": int(job.get("crashes", 0)),
                "reason": reason,
                "error": json.loads(failure),
            }
            args = json.dumps([[told], {}], separators=(",", ":"))
            child = f"{uid}-f{job.get('token', 0)}"
            told_with = {"headers": job["headers"]} if "headers" in job else {}
            self.add_child(uid, self.kin_of(uid), child, Asked(task, digest, args, priority, "", told_with))

    def note_failure(self, uid: str, attempt: int, failure: str) -> None:
        job = self.jobs[uid]
        self.failures.setdefault(uid, []).append(
            {
                "token": int(job["token"]),
                "attempt": attempt,
                "crashes": int(job.get("crashes", 0)),
                "worker": job["worker"],
                "started": int(job["started"]),
                "ended": self.now,
                "error": json.loads(failure),
            }
        )

    def add(self, uid: str, asked: Asked) -> None:
        """Write a new job."""
        job = self.jobs[uid] = self.fields(asked)
        at = self.moment(asked.due)
        if "follows" in job:
            job["status"] = "scheduled"
            if asked.due:
                job["delay"] = asked.due
            self.scheduled[uid] = INF
        elif at is not None and at > self.now:
            job.update(status="scheduled", due=str(at))
            self.schedule(uid, at)
        else:
            job["status"] = "queued"
            self.enter(uid, self.stream_of(job))

    def kin_of(self, uid: str) -> dict[str, str]:
        """Return what a job hands to those that its end adds: its chain, and its batch if it has one."""
        job = self.jobs[uid]
        kin = {"correlation": job.get("correlation", self.prefix + uid)}
        return kin | ({"batch": job["batch"]} if "batch" in job else {})

    def add_child(self, parent: str, kin: dict[str, str], uid: str, asked: Asked) -> None:
        """Write a job that an end adds, once."""
        if uid not in self.jobs:
            chain = {"parent": parent, "correlation": kin["correlation"]}
            self.add(uid, asked._replace(extra={**kin, **asked.extra, **chain}))

    def fields(self, asked: Asked) -> Record:
        """Return what a request says of its record."""
        job: Record = {"task": asked.task, "enqueued": str(self.now)}
        given = {"digest": asked.digest, "args": asked.args}
        given["priority"] = "" if asked.priority == "normal" else asked.priority
        job.update({name: value for name, value in given.items() if value})
        for name, value in asked.extra.items():
            if name == "expires_in":
                job["expires"] = str((self.moment(asked.due) or self.now) + int(value))
            elif isinstance(value, list):
                job[name] = json.dumps(value, separators=(",", ":"))
            else:
                job[name] = str(value)
        return job

    def start(self, uid: str, stream: str, worker: str) -> Started:
        job = self.jobs[uid]
        self._entries += 1
        self.flights[uid] = Flight(self._entries, stream, worker)
        token = int(job.get("token", 0)) + 1
        job.update(status="running", worker=worker, token=str(token), started=str(self.now))
        job["place"] = f"{STREAMS.index(stream) + 1}:*"
        return Started(uid, stream, token)

    def stake(self, worker: str) -> None:
        self.stakes[worker] = max(self.stakes.get(worker, 0), self.now + TTL)

    def leave_parked(self, uid: str) -> None:
        for task, uids in list(self.parked.items()):
            uids.pop(uid, None)
            if not uids:
                del self.parked[task]

    def trim(self, most: int, limit: int) -> int:
        by_end = sorted((end, uid) for uid, end in self.finished.items())
        gone = [uid for end, uid in by_end if end <= self.now][:limit]
        for uid in gone:
            self.forget(uid)
        latest = self.now + RESEND_WINDOW
        beyond = [uid for end, uid in by_end if end > latest]
        old = beyond[: max(0, min(len(beyond) - most, limit))]
        for uid in old:
            self.cut(uid, min(self.needed_until(self.jobs[uid]), latest))
        return len(gone) + len(old)
