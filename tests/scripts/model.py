"""A shard in plain Python: what the scripts must come to, without Redis, Lua or cleverness.

A job is a dict of text, as its record is; every place where a job can be is a dict or a list. One method a script: it
changes the model and returns what the script must answer. `Shard.look` and `Model.look` must then agree.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from capelin.lua import (
    CancelVerdict,
    KnownTask,
    NewJob,
    OutcomeRow,
    Replayed,
    RunningRow,
    Submitted,
    Verdict,
)
from capelin.priority import STREAMS
from tests.scripts.driving import RESEND_WINDOW, RETENTION, TTL
from tests.scripts.looking import Look

INF = math.inf
LIVE = {"scheduled", "queued", "running", "parked"}
LOST = '{"type":"WorkerLost","message":"the worker died while it ran the job"}'
OPTIONAL = (
    "args priority expires timeout retry retention headers then on_failure digest due error parked_by attempt crashes "
    "window parent correlation batch delay first max_crashes"
).split()
HEAVY = "args headers then on_failure timeout retry progress digest priority place due".split()
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


@dataclass(kw_only=True)
class Taking:
    """What `take` answers."""

    jobs: list[Started] = field(default_factory=list[Started])
    more: bool = False
    next_due: int | None = None
    dropped: int = 0
    expired: int = 0


@dataclass(kw_only=True)
class Reaping:
    """What `reap` answers."""

    returned: list[str] = field(default_factory=list[str])
    buried: list[str] = field(default_factory=list[str])
    cancelled: int = 0
    dead: list[str] = field(default_factory=list[str])
    more: bool = False


@dataclass(kw_only=True)
class Renewing:
    """What `renew` answers."""

    lease: str
    lost: list[str]
    cancelled: list[str]
    unknown: list[tuple[str, int]]
    pending: int
    next_stake: int | None


def _whole(value: float) -> str:
    return f"{value:.17g}"


class Model:
    """One shard."""

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
        self._earliest = INF
        self._entries = 0

    def advance(self, ms: int) -> None:
        self.now += ms
        self.aliases = {uid: (target, end) for uid, (target, end) in self.aliases.items() if end > self.now}
        self.unique = {name: (uid, end) for name, (uid, end) in self.unique.items() if end > self.now}

    # -- places

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

    def _enter(self, uid: str, stream: str) -> None:
        self.streams[stream].append(Entry(uid, self.now))
        self._earliest = 0

    def _schedule(self, uid: str, due: float) -> None:
        self.scheduled[uid] = due
        self._earliest = min(self._earliest, due)

    def _moment(self, text: str) -> int | None:
        if not text:
            return None
        return self.now + int(text[1:]) if text.startswith("+") else int(text)

    def _requeue(self, uid: str, due: str) -> None:
        at, job = self._moment(due), self.jobs[uid]
        job["place"] = ""
        if at is not None and at > self.now:
            job.update(status="scheduled", due=str(at))
            self._schedule(uid, at)
        else:
            job["status"] = "queued"
            self._enter(uid, self.stream_of(job))

    def _wake(self, due: float) -> None:
        """Something is ready at `due`; 0 is at once."""
        self._earliest = INF
        if self.note is None or self.paused or due == INF:
            return
        if self.note == "" or due == 0 or due < int(self.note):
            self.note = None
            self.tokens += 1

    # -- ends

    def _free_key(self, uid: str, job: Record) -> None:
        name = f"{job['task']}:{job.get('key')}"
        held = self.unique.get(name, ("", INF))
        follower = self.jobs.get(job.get("follower", ""))
        if follower is not None and follower["status"] == "scheduled" and follower.get("follows") == uid:
            follower_uid = job["follower"]
            if held[0] == uid:
                self.unique[name] = (follower_uid, held[1])
            del follower["follows"]
            del self.scheduled[follower_uid]
            at = self._moment(follower.pop("delay", ""))
            if at is not None and at > self.now:
                follower["due"] = str(at)
                self._schedule(follower_uid, at)
            else:
                follower["status"] = "queued"
                self._enter(follower_uid, self.stream_of(follower))
        elif "key" in job and "window" not in job and held[0] == uid:
            del self.unique[name]

    def _needed_until(self, job: Record) -> int:
        """Before this a record must be found by a re-sent enqueue, and by who waits for the end."""
        until = int(job["enqueued"]) + RESEND_WINDOW
        return max(until, int(job["finished"]) + RESEND_WINDOW) if "waited" in job else until

    def _forget(self, uid: str) -> None:
        del self.jobs[uid]
        self.failures.pop(uid, None)
        self.finished.pop(uid, None)

    def _cut(self, uid: str, until: int) -> None:
        if until <= self.now:
            self._forget(uid)
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

    def _keep(self, uid: str) -> None:
        job = self.jobs[uid]
        wanted = float(job["retention"]) * 1000 if "retention" in job else RETENTION
        if wanted > 0:
            self.finished[uid] = max(self.now + wanted, self._needed_until(job))
        elif "waited" in job:
            self.finished[uid] = self._needed_until(job)
        else:
            self._cut(uid, self._needed_until(job))

    def _end_cancelled(self, uid: str, reason: str) -> None:
        job = self.jobs[uid]
        job.update(
            status="cancelled",
            finished=str(self.now),
            error=f'{{"type":"JobCancelled","message":"{reason}"}}',
        )
        self._keep(uid)
        first = self.jobs.get(job.get("follows", ""))
        if first is not None:
            first.pop("follower", None)
        self._free_key(uid, job)

    def _bury(self, uid: str, reason: str, failure: str) -> None:
        job = self.jobs[uid]
        self.dlq.append(Dead(uid, job["task"], reason, self.now))
        job.update(status="failed", finished=str(self.now), error=failure, place="dlq:*")
        self._free_key(uid, job)
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
            self._add_child(uid, child, task, digest, args, priority, "", {})

    def _note_failure(self, uid: str, attempt: int, failure: str) -> None:
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

    # -- enqueue

    def _fields(
        self, task: str, digest: str, args: str, priority: str, due: str, extra: dict[str, str | int]
    ) -> Record:
        job: Record = {"task": task, "enqueued": str(self.now)}
        given = {"digest": digest, "args": args, "priority": "" if priority == "normal" else priority}
        job.update({name: value for name, value in given.items() if value})
        for name, value in extra.items():
            if name == "expires_in":
                job["expires"] = str((self._moment(due) or self.now) + int(value))
            else:
                job[name] = str(value)
        return job

    def _add(
        self,
        uid: str,
        task: str,
        digest: str,
        args: str,
        priority: str,
        due: str,
        extra: dict[str, str | int],
    ) -> None:
        job = self.jobs[uid] = self._fields(task, digest, args, priority, due, extra)
        at = self._moment(due)
        if "follows" in job:
            job["status"] = "scheduled"
            if due:
                job["delay"] = due
            self.scheduled[uid] = INF
        elif at is not None and at > self.now:
            job.update(status="scheduled", due=str(at))
            self._schedule(uid, at)
        else:
            job["status"] = "queued"
            self._enter(uid, self.stream_of(job))

    def _add_child(
        self,
        parent: str,
        uid: str,
        task: str,
        digest: str,
        args: str,
        priority: str,
        due: str,
        extra: dict[str, str | int],
    ) -> None:
        if uid not in self.jobs:
            self._add(uid, task, digest, args, priority, due, {**extra, "parent": parent})

    def _holder(self, name: str) -> str | None:
        """Who holds a key, unless it ended and only the key stayed."""
        if name not in self.unique:
            return None
        uid, end = self.unique[name]
        alive = uid in self.jobs and self.jobs[uid]["status"] in LIVE
        return uid if alive or end < INF else None

    def _decide(self, new: NewJob) -> tuple[str, str]:
        if new.uid in self.jobs:
            return "again", new.uid
        if new.uid in self.aliases:
            return "known", self.aliases[new.uid][0]
        holder = self._holder(f"{new.task}:{new.unique_key}") if new.unique_key else None
        if holder is None:
            return "new", new.uid
        first = self.jobs.get(holder)
        if new.on_duplicate == "keep" or first is None or first["status"] not in LIVE:
            return "duplicate", holder
        follower = first.get("follower", "")
        if self.jobs.get(follower, {}).get("follows") == holder:
            return ("duplicate" if new.on_duplicate == "follow" else "replace"), follower
        if first["status"] == "running" or (new.on_duplicate == "follow" and "token" in first):
            return "follower", holder
        return ("duplicate" if new.on_duplicate == "follow" else "replace"), holder

    def enqueue(self, jobs: Sequence[NewJob], most: int | None) -> list[tuple[Submitted, str]] | None:
        if most is not None:
            adding = sum(self._decide(job)[0] in {"new", "follower"} for job in jobs)
            waiting = sum(job["status"] in {"scheduled", "queued", "parked"} for job in self.jobs.values())
            if adding and waiting + adding > most:
                return None
        replies = [self._submit(job) for job in jobs]
        self._wake(self._earliest)
        return replies

    def _submit(self, new: NewJob) -> tuple[Submitted, str]:
        verdict, target = self._decide(new)
        if verdict in {"again", "duplicate"}:
            return Submitted(verdict), target
        if verdict == "known":
            return Submitted.REPLACED, target
        extra: dict[str, str | int] = json.loads(new.extra or "{}")
        if new.unique_key:
            name = f"{new.task}:{new.unique_key}"
            extra["key"] = new.unique_key
            if verdict == "new":
                end = self.now + new.unique_for if new.unique_for != "" else INF
                self.unique[name] = (new.uid, end)
            if self.unique[name][1] < INF:
                extra["window"] = "1"
        if verdict == "replace":
            self._replace(target, new, extra)
            return Submitted.REPLACED, target
        if verdict == "follower":
            extra["follows"] = target
            self.jobs[target]["follower"] = new.uid
        self._add(new.uid, new.task, new.digest, new.args, new.priority, new.due, extra)
        return Submitted(verdict), new.uid

    def _replace(self, target: str, new: NewJob, extra: dict[str, str | int]) -> None:
        job = self.jobs[target]
        was = self.stream_of(job) if job["status"] == "queued" else ""
        self.scheduled.pop(target, None)
        self._unpark(target)
        for name in OPTIONAL:
            job.pop(name, None)
        job.update(
            self._fields(new.task, new.digest, new.args, new.priority, new.due, extra), request=new.uid
        )
        at = self._moment(new.due)
        if "follows" in job:
            if new.due:
                job["delay"] = new.due
            self.scheduled[target] = INF
        elif at is not None and at > self.now:
            job.update(status="scheduled", due=str(at))
            self._schedule(target, at)
        elif was != job.get("priority", "normal"):
            job.update(status="queued", place="")
            self._enter(target, self.stream_of(job))
        self.aliases[new.uid] = (target, self.now + RESEND_WINDOW)

    def _unpark(self, uid: str) -> None:
        for task, uids in list(self.parked.items()):
            uids.pop(uid, None)
            if not uids:
                del self.parked[task]

    # -- take

    def _start(self, uid: str, stream: str, worker: str) -> Started:
        job = self.jobs[uid]
        self._entries += 1
        self.flights[uid] = Flight(self._entries, stream, worker)
        token = int(job.get("token", 0)) + 1
        job.update(status="running", worker=worker, token=str(token), started=str(self.now))
        job["place"] = f"{STREAMS.index(stream) + 1}:*"
        return Started(uid, stream, token)

    def _stake(self, worker: str) -> None:
        self.stakes[worker] = max(self.stakes.get(worker, 0), self.now + TTL)

    def take(
        self, worker: str, count: int, *, waits: bool, older_than: int | None, weights: Sequence[int]
    ) -> Taking:
        taking = Taking()
        if self.paused:
            if waits:
                self.note = ""
            return taking
        bound = self.now - (older_than or 0)
        promoted = self._promote(bound, count, taking)
        self._earliest = INF
        looked = 0

        def read(stream: str, most: int) -> bool:
            nonlocal looked
            unread = self.streams[stream]
            most = min(most, count - len(taking.jobs), count * 2 + 10 - looked)
            if older_than is not None:
                old = min(most, sum(entry.at <= bound for entry in unread))
                most = min(most, old + promoted[stream])
                promoted[stream] -= max(0, min(most, len(unread)) - old)
            if most <= 0:
                return False
            entries = unread[:most]
            del unread[:most]
            looked += len(entries)
            for entry in entries:
                self._deliver(entry.uid, stream, worker, taking)
            return len(entries) == most

        def drain(stream: str) -> None:
            while read(stream, count) and len(taking.jobs) < count and looked < count * 2 + 10:
                pass

        drain("returned")
        for stream, share in zip(STREAMS[1:5], weights, strict=True):
            read(stream, share)
        for stream in STREAMS[1:5]:
            drain(stream)
        if taking.jobs:
            self._stake(worker)
        due = min(self.scheduled.values(), default=INF)
        taking.next_due = None if due == INF else int(due)
        taking.more = len(taking.jobs) >= count or looked >= count * 2 + 10 or due <= bound
        taking.more = taking.more or (older_than is None and self._earliest == 0)
        self._earliest = INF
        if waits and not taking.more:
            self.note = "" if due == INF else _whole(due)
        elif older_than is not None and (taking.expired or any(promoted.values())):
            self._wake(0)
        return taking

    def _promote(self, bound: int, count: int, taking: Taking) -> Counter[str]:
        promoted = Counter[str]()
        for due, uid in sorted((due, uid) for uid, due in self.scheduled.items())[:count]:
            if due > bound:
                break
            del self.scheduled[uid]
            job = self.jobs[uid]
            if "token" not in job and int(job.get("expires", self.now + 1)) <= self.now:
                self._end_cancelled(uid, "expired")
                taking.expired += 1
            else:
                job.update(status="queued", place="")
                self._enter(uid, self.stream_of(job))
                promoted[self.stream_of(job)] += 1
        return promoted

    def _deliver(self, uid: str, stream: str, worker: str, taking: Taking) -> None:
        job = self.jobs.get(uid)
        if job is None or job["status"] != "queued" or self.stream_of(job) != stream:
            taking.dropped += 1
        elif "token" not in job and int(job.get("expires", self.now + 1)) <= self.now:
            self._end_cancelled(uid, "expired")
            taking.expired += 1
        else:
            taking.jobs.append(self._start(uid, stream, worker))

    # -- finish

    def finish(self, worker: str, outcomes: Sequence[OutcomeRow], most_finished: int) -> list[Verdict]:
        verdicts = [self._outcome(worker, row) for row in outcomes]
        self._trim(most_finished, 2 * len(outcomes) + 2)
        self._wake(self._earliest)
        return verdicts

    def _outcome(self, worker: str, row: OutcomeRow) -> Verdict:
        uid, kind = row.uid, row.kind
        job = self.jobs.get(uid, {})
        if job.get("token") != str(row.token):
            return Verdict.STALE
        if job["status"] != "running":
            return Verdict.REPEATED if job.get("last") == kind else Verdict.STALE
        if job["worker"] != worker:
            return Verdict.STALE
        del self.flights[uid]
        job["last"] = kind
        if kind == "complete":
            job.update(status="completed", finished=str(self.now))
            if row.body:
                job["result"] = str(row.body)
            then = job.get("then")
            self._keep(uid)
            self._free_key(uid, job)
            if then is not None:
                task, digest, args, priority, due, extra = json.loads(then)
                self._add_child(uid, f"{uid}-t{row.token}", task, digest, args, priority, due, extra)
            return Verdict.RECORDED
        attempt = int(job.get("attempt", 0))
        if kind in {"retry", "dead"}:
            attempt += 1
            self._note_failure(uid, attempt, row.failure)
            job["attempt"] = str(attempt)
        elif kind == "cancel" and row.failure:
            self._note_failure(uid, attempt + 1, row.failure)
        if kind == "cancel" or "cancel" in job:
            self._end_cancelled(uid, "cancelled")
            return Verdict.CANCELLED
        if kind == "retry" and attempt == 1:
            job.setdefault("first", job["started"])
        match kind:
            case "retry" | "snooze":
                self._requeue(uid, row.due)
            case "dead":
                self._bury(uid, str(row.body), row.failure)
            case "return":
                job.update(status="queued", place="returned")
                self._enter(uid, "returned")
            case _:
                job.update(status="parked", parked_by=str(row.body), place="")
                self.parked.setdefault(job["task"], {})[uid] = self.now
        return Verdict.RECORDED

    def _trim(self, most: int, limit: int) -> int:
        by_end = sorted((end, uid) for uid, end in self.finished.items())
        gone = [uid for end, uid in by_end if end <= self.now][:limit]
        for uid in gone:
            self._forget(uid)
        latest = self.now + RESEND_WINDOW
        beyond = [uid for end, uid in by_end if end > latest]
        old = beyond[: max(0, min(len(beyond) - most, limit))]
        for uid in old:
            self._cut(uid, min(self._needed_until(self.jobs[uid]), latest))
        return len(gone) + len(old)

    # -- clients

    def cancel(self, uid: str) -> tuple[CancelVerdict, str]:
        job = self.jobs.get(uid)
        if job is None:
            return CancelVerdict.MISSING, ""
        if job["status"] not in LIVE:
            return CancelVerdict.ENDED, job["status"]
        job["cancel"] = "1"
        if job["status"] == "running":
            return CancelVerdict.FLAGGED, job["worker"]
        self.scheduled.pop(uid, None)
        self._unpark(uid)
        self._end_cancelled(uid, "cancelled")
        self._wake(self._earliest)
        return CancelVerdict.CANCELLED, ""

    def replay(self, uid: str) -> tuple[Replayed, str]:
        job = self.jobs.get(uid)
        if job is None:
            return Replayed.MISSING, ""
        if job["status"] == "scheduled" and "follows" not in job:
            del self.scheduled[uid]
            self._requeue(uid, "")
            self._wake(0)
            return Replayed.HURRIED, ""
        if job["status"] != "failed" or "place" not in job:
            return Replayed.REFUSED, job["status"]
        if "key" in job and "window" not in job:
            name = f"{job['task']}:{job['key']}"
            holder = self.unique.get(name, (uid, INF))[0]
            if holder != uid and self.jobs.get(holder, {}).get("status") in LIVE:
                return Replayed.DUPLICATE, holder
            self.unique[name] = (uid, INF)
        for name in "error finished attempt crashes cancel follower first parked_by expires".split():
            job.pop(name, None)
        self.dlq = [dead for dead in self.dlq if dead.uid != uid]
        self._requeue(uid, "")
        self._wake(0)
        return Replayed.REPLAYED, ""

    def watch(self, uid: str) -> tuple[str, str | None, str | None] | None:
        job = self.jobs.get(uid)
        if job is None or ("cut" in job and job["status"] != "cancelled"):
            return None
        if job["status"] in LIVE:
            job["waited"] = "1"
        return job["status"], job.get("result"), job.get("error")

    # -- stakes

    def running_of(self, worker: str) -> list[str]:
        """Uids that a worker has in flight, in the order of streams and entries."""
        mine = [
            (STREAMS.index(f.stream), f.order, uid) for uid, f in self.flights.items() if f.worker == worker
        ]
        return [uid for *_, uid in sorted(mine)]

    def reap(self, reaper: str, limit: int, max_crashes: int, no_crash_before: int) -> Reaping:
        reaping = Reaping()
        ended = sorted((end, worker) for worker, end in self.stakes.items() if end <= self.now)
        reaping.dead = [worker for _, worker in ended if worker != reaper]
        for end, worker in ended:
            if worker == reaper:
                continue
            mine = self.running_of(worker)
            for uid in mine[:limit]:
                self._give_back(uid, max_crashes, reaping, crashed=end >= no_crash_before)
            if len(mine) > limit:
                reaping.more = True
            else:
                del self.stakes[worker]
            limit = max(0, limit - len(mine))
        if self._earliest < INF:
            self._wake(0)
        return reaping

    def _give_back(self, uid: str, max_crashes: int, reaping: Reaping, *, crashed: bool) -> None:
        job = self.jobs[uid]
        crashes = int(job.get("crashes", 0)) + crashed
        job.update(last="reaped", crashes=str(crashes))
        self._note_failure(uid, int(job.get("attempt", 0)), LOST)
        del self.flights[uid]
        if "cancel" in job:
            self._end_cancelled(uid, "cancelled")
            reaping.cancelled += 1
        elif crashed and crashes >= int(job.get("max_crashes", max_crashes)):
            self._bury(uid, "WorkerLost", LOST)
            reaping.buried.append(uid)
        else:
            job.update(status="queued", place="returned")
            self._enter(uid, "returned")
            reaping.returned.append(uid)

    def renew(
        self, worker: str, running: Iterable[RunningRow], epoch: int | None, *, staked: bool
    ) -> Renewing:
        kept = "none"
        if epoch is not None:
            kept = "lost"
            if self.lease is not None and self.lease[:2] == (worker, epoch):
                self.lease = (worker, epoch, self.now + TTL)
                kept = "kept"
        mine = {uid: int(self.jobs[uid]["token"]) for uid in self.running_of(worker)}
        known = [row for row in running if mine.get(row.uid) == row.token]
        uids = {row.uid for row in known}
        if mine or staked:
            self.stakes[worker] = self.now + TTL
        else:
            self.stakes.pop(worker, None)
        others = [end for other, end in self.stakes.items() if other != worker]
        return Renewing(
            lease=kept,
            lost=[row.uid for row in running if row not in known],
            cancelled=[row.uid for row in known if "cancel" in self.jobs[row.uid]],
            unknown=[(uid, token) for uid, token in mine.items() if uid not in uids],
            pending=len(mine),
            next_stake=max(0, min(others) - self.now) if others else None,
        )

    def leave(self, worker: str) -> bool:
        if self.running_of(worker):
            return False
        self.stakes.pop(worker, None)
        return True

    def acquire(self, owner: str) -> tuple[int, int, str]:
        if self.lease is not None and self.lease[0] not in {"", owner} and self.lease[2] > self.now:
            return 0, self.lease[2] - self.now, self.lease[0]
        epoch = max(self.lease[1] + 1 if self.lease else 1, self.now)
        self.lease = (owner, epoch, self.now + TTL)
        return epoch, TTL, owner

    def release(self, owner: str, epoch: int) -> bool:
        if self.lease is None or self.lease[:2] != (owner, epoch):
            return False
        self.lease = ("", epoch, 0)
        return True

    # -- parking, pausing, retention

    def unpark(self, worker: str, count: int, tasks: Sequence[KnownTask]) -> list[Started]:
        started: list[Started] = []
        for task in tasks:
            for _, uid in sorted((at, uid) for uid, at in self.parked.get(task.name, {}).items()):
                job = self.jobs[uid]
                if len(started) >= count or job["parked_by"] == task.digest:
                    continue
                self._unpark(uid)
                if self.paused:
                    self._requeue(uid, "")
                    self._earliest = INF
                else:
                    started.append(self._start(uid, "unparked", worker))
        if started:
            self._stake(worker)
        return started

    def pause(self) -> bool:
        was, self.paused = self.paused, True
        return not was

    def resume(self) -> bool:
        was, self.paused = self.paused, False
        self._wake(0)
        return was

    def retain(
        self, limit: int, most_finished: int, dlq_age: int, most_dead: int, parked_age: int
    ) -> tuple[int, int, int, bool, list[tuple[str, ...]]]:
        trimmed = self._trim(most_finished, limit)
        purged = [dead for dead in self.dlq if dead.at <= self.now - dlq_age][:limit]
        rest = [dead for dead in self.dlq if dead not in purged]
        purged += rest[: max(0, min(len(rest) - most_dead, limit))]
        for dead in purged:
            self.dlq.remove(dead)
            self._cut(dead.uid, self._needed_until(self.jobs[dead.uid]))
        buried = 0
        for task in list(self.parked):
            by_age = sorted((at, uid) for uid, at in self.parked[task].items() if at <= self.now - parked_age)
            for _, uid in by_age[: limit - buried]:
                reason = "NewerSignature" if self.jobs[uid]["parked_by"] else "UnknownTask"
                why = "no worker could run it before its time was over"
                self._unpark(uid)
                self._bury(uid, reason, f'{{"type":"{reason}","message":"{why}"}}')
                buried += 1
        self._wake(self._earliest)
        left = [
            (task, self.jobs[uid].get("digest", ""), self.jobs[uid]["parked_by"])
            for task, uids in self.parked.items()
            for _, uid in sorted((at, uid) for uid, at in uids.items())[:20]
        ]
        more = limit <= max(trimmed, len(purged), buried)
        return trimmed, len(purged), buried, more, list(dict.fromkeys(left))

    def purge(self, uids: Sequence[str]) -> int:
        gone = [dead for dead in self.dlq if dead.uid in uids]
        for dead in gone:
            self.dlq.remove(dead)
            self._forget(dead.uid)
        return len(gone)

    # -- comparing

    def look(self) -> dict[str, Any]:
        """Everything that can be compared with what Redis holds; see `comparable`."""
        meta = {f"stale:{STREAMS.index(name) + 1}": str(count) for name, count in self.stale().items()}
        meta.update({f"parked:{task}": str(len(uids)) for task, uids in self.parked.items()})
        if self.note is not None:
            meta["note"] = self.note
        return {
            "records": self.jobs,
            "aliases": {uid: target for uid, (target, _) in self.aliases.items()},
            "failures": self.failures,
            "unread": {name: entries for name, entries in self.streams.items() if entries},
            "running": {uid: (flight.stream, flight.worker) for uid, flight in self.flights.items()},
            "scheduled": self.scheduled,
            "finished": self.finished,
            "parked": self.parked,
            "unique": {name: uid for name, (uid, _) in self.unique.items()},
            "dlq": [dead[:3] for dead in self.dlq],
            "meta": meta,
            "paused": self.paused,
            "lease": self.lease,
            "stakes": self.stakes,
            "tokens": self.tokens,
        }


def comparable(found: Look) -> dict[str, Any]:
    """What Redis holds, in the words of `Model.look`."""
    lease = found.lease
    return {
        "records": {
            uid: {name: _place(value) if name == "place" else value for name, value in record.items()}
            for uid, record in found.records.items()
        },
        "aliases": found.aliases,
        "failures": {uid: [json.loads(line) for line in lines] for uid, lines in found.failures.items()},
        "unread": {
            name: unread
            for name, entries in found.streams.items()
            if (unread := [Entry(e.uid, int(e.id.partition("-")[0])) for e in entries if e.consumer is None])
        },
        "running": {
            e.uid: (name, e.consumer)
            for name, entries in found.streams.items()
            for e in entries
            if e.consumer is not None
        },
        "scheduled": found.scheduled,
        "finished": found.finished,
        "parked": found.parked,
        "unique": found.unique,
        "dlq": found.dlq,
        "meta": {name: value for name, value in found.meta.items() if name != "paused"},
        "paused": "paused" in found.meta,
        "lease": (lease["owner"], int(lease["epoch"]), int(lease["expires"])) if lease else None,
        "stakes": found.stakes,
        "tokens": found.tokens,
    }


def _place(place: str) -> str:
    """A place without the entry's id, which the model does not know."""
    kind, colon, _ = place.partition(":")
    return f"{kind}:*" if colon else place
