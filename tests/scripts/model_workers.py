"""The half of the model that workers use: take, finish, reap, renew, leave, unpark, and the shard's lease."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from capelin.lua import KnownTask, OutcomeRow, RunningRow, Verdict
from capelin.priority import STREAMS
from tests.scripts.driving import TTL
from tests.scripts.model_state import INF, Asked, Record, Started, State

LOST = '{"type":"WorkerLost","message":"the worker died while it ran the job"}'


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


class Look:
    """One take's way through the streams: how many entries it may look at, and how young they may be."""

    def __init__(self, workers: "Workers", worker: str, count: int, older_than: int | None) -> None:
        self.taking = Taking()
        self.bound = workers.now - (older_than or 0)
        self._workers, self._worker, self._count = workers, worker, count
        self._steals = older_than is not None
        self._left = count * 2 + 10
        self.promoted = Counter[str]()

    @property
    def full(self) -> bool:
        return len(self.taking.jobs) >= self._count or self._left <= 0

    def read(self, stream: str, most: int) -> bool:
        """Take up to `most` from a stream; True when there may be more in it."""
        unread = self._workers.streams[stream]
        most = min(most, self._count - len(self.taking.jobs), self._left)
        if self._steals:
            old = min(most, sum(entry.at <= self.bound for entry in unread))
            most = min(most, old + self.promoted[stream])
            self.promoted[stream] -= max(0, min(most, len(unread)) - old)
        if most <= 0:
            return False
        entries = unread[:most]
        del unread[:most]
        self._left -= len(entries)
        for entry in entries:
            self._workers.deliver(entry.uid, stream, self._worker, self.taking)
        return len(entries) == most

    def drain(self, stream: str) -> None:
        while self.read(stream, self._count) and not self.full:
            pass


class Workers(State):
    """What workers ask for."""

    def take(
        self, worker: str, count: int, *, waits: bool, older_than: int | None, weights: Sequence[int]
    ) -> Taking:
        look = Look(self, worker, count, older_than)
        taking = look.taking
        if self.paused:
            if waits:
                self.note = ""
            return taking
        self.promote(look, count)
        self.earliest = INF
        look.drain("returned")
        for stream, share in zip(STREAMS[1:5], weights, strict=True):
            look.read(stream, share)
        for stream in STREAMS[1:5]:
            look.drain(stream)
        if taking.jobs:
            self.stake(worker)
        due = min(self.scheduled.values(), default=INF)
        taking.next_due = None if due == INF else int(due)
        taking.more = look.full or due <= look.bound or (older_than is None and self.earliest == 0)
        self.earliest = INF
        if waits and not taking.more:
            self.note = "" if due == INF else f"{due:.17g}"
        elif older_than is not None and (taking.expired or any(look.promoted.values())):
            self.wake(0)
        return taking

    def promote(self, look: Look, count: int) -> None:
        """Let due jobs enter their streams."""
        for due, uid in sorted((due, uid) for uid, due in self.scheduled.items())[:count]:
            if due > look.bound:
                break
            del self.scheduled[uid]
            job = self.jobs[uid]
            if self._expired(job):
                self.end_cancelled(uid, "expired")
                look.taking.expired += 1
            else:
                job.update(status="queued", place="")
                self.enter(uid, self.stream_of(job))
                look.promoted[self.stream_of(job)] += 1

    def deliver(self, uid: str, stream: str, worker: str, taking: Taking) -> None:
        """Start the job of an entry, if that is where it waits."""
        job = self.jobs.get(uid)
        if job is None or job["status"] != "queued" or self.stream_of(job) != stream:
            taking.dropped += 1
        elif self._expired(job):
            self.end_cancelled(uid, "expired")
            taking.expired += 1
        else:
            taking.jobs.append(self.start(uid, stream, worker))

    def _expired(self, job: Record) -> bool:
        return "token" not in job and int(job.get("expires", self.now + 1)) <= self.now

    def finish(self, worker: str, outcomes: Sequence[OutcomeRow], most_finished: int) -> list[Verdict]:
        verdicts = [self._outcome(worker, row) for row in outcomes]
        self.trim(most_finished, 2 * len(outcomes) + 2)
        self.wake(self.earliest)
        return verdicts

    def _outcome(self, worker: str, row: OutcomeRow) -> Verdict:
        job = self.jobs.get(row.uid, {})
        if job.get("token") != str(row.token):
            return Verdict.STALE
        if job["status"] != "running":
            return Verdict.REPEATED if job.get("last") == row.kind else Verdict.STALE
        if job["worker"] != worker:
            return Verdict.STALE
        del self.flights[row.uid]
        job["last"] = row.kind
        if row.kind == "complete":
            self._complete(row, job)
            return Verdict.RECORDED
        self._count(row, job)
        if row.kind == "cancel" or "cancel" in job:
            self.end_cancelled(row.uid, "cancelled")
            return Verdict.CANCELLED
        match row.kind:
            case "retry" | "snooze":
                self.requeue(row.uid, row.due)
            case "dead":
                self.bury(row.uid, str(row.body), row.failure)
            case "return":
                job.update(status="queued", place="returned")
                self.enter(row.uid, "returned")
            case _:
                job.update(status="parked", parked_by=str(row.body), place="")
                self.parked.setdefault(job["task"], {})[row.uid] = self.now
        return Verdict.RECORDED

    def _complete(self, row: OutcomeRow, job: Record) -> None:
        job.update(status="completed", finished=str(self.now))
        if row.body:
            job["result"] = str(row.body)
        then, kin = job.get("then"), self.kin_of(row.uid)
        self.keep(row.uid)
        self.free_key(row.uid, job)
        if then is not None:
            first, _, place = row.uid.partition("-t")
            uid = f"{first}-t{int(place or 0) + 1}"
            self.add_child(row.uid, kin, uid, Asked(*json.loads(then)))

    def _count(self, row: OutcomeRow, job: Record) -> None:
        """Failures are attempts; what else ends a start is none."""
        attempt = int(job.get("attempt", 0)) + 1
        if row.kind in {"retry", "dead"} or (row.kind == "cancel" and row.failure):
            self.note_failure(row.uid, attempt, row.failure)
        if row.kind in {"retry", "dead"}:
            job["attempt"] = str(attempt)
        if row.kind == "retry" and attempt == 1 and "cancel" not in job:
            job.setdefault("first", job["started"])

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
        if self.earliest < INF:
            self.wake(0)
        return reaping

    def _give_back(self, uid: str, max_crashes: int, reaping: Reaping, *, crashed: bool) -> None:
        job = self.jobs[uid]
        crashes = int(job.get("crashes", 0)) + crashed
        job.update(last="reaped", crashes=str(crashes))
        self.note_failure(uid, int(job.get("attempt", 0)), LOST)
        del self.flights[uid]
        if "cancel" in job:
            self.end_cancelled(uid, "cancelled")
            reaping.cancelled += 1
        elif crashed and crashes >= int(job.get("max_crashes", max_crashes)):
            self.bury(uid, "WorkerLost", LOST)
            reaping.buried.append(uid)
        else:
            job.update(status="queued", place="returned")
            self.enter(uid, "returned")
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

    def unpark(self, worker: str, count: int, tasks: Sequence[KnownTask]) -> list[Started]:
        started: list[Started] = []
        for task in tasks:
            for _, uid in sorted((at, uid) for uid, at in self.parked.get(task.name, {}).items()):
                job = self.jobs[uid]
                if len(started) >= count or job["parked_by"] == task.digest:
                    continue
                self.leave_parked(uid)
                if self.paused:
                    self.requeue(uid, "")
                    self.earliest = INF
                else:
                    started.append(self.start(uid, "unparked", worker))
        if started:
            self.stake(worker)
        return started
