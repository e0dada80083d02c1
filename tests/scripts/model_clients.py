"""The half of the model that clients use: enqueue, cancel, watch, replay, purge."""

import json
from collections.abc import Sequence

from capelin.lua import CancelVerdict, NewJob, Replayed, Submitted
from tests.scripts.driving import RESEND_WINDOW
from tests.scripts.model_state import INF, LIVE, Asked, State

OPTIONAL = (
    "args",
    "priority",
    "expires",
    "timeout",
    "retry",
    "retention",
    "headers",
    "then",
    "on_failure",
    "digest",
    "due",
    "error",
    "parked_by",
    "attempt",
    "crashes",
    "window",
    "parent",
    "correlation",
    "batch",
    "delay",
    "first",
    "max_crashes",
)
PAST = ("error", "finished", "attempt", "crashes", "cancel", "follower", "first", "parked_by", "expires")


def asked(new: NewJob, extra: dict[str, str | int]) -> Asked:
    return Asked(new.task, new.digest, new.args, new.priority, new.due, extra)


class Clients(State):
    """What clients and operators ask for."""

    def _holder(self, name: str) -> str | None:
        """Who holds a key, unless it ended and only the key stayed."""
        if name not in self.unique:
            return None
        uid, end = self.unique[name]
        alive = uid in self.jobs and self.jobs[uid]["status"] in LIVE
        return uid if alive or end < INF else None

    def _decide(self, new: NewJob) -> tuple[str, str]:  # noqa: PLR0911 -- one line a verdict
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
        self.wake(self.earliest)
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
        self.add(new.uid, asked(new, extra))
        return Submitted(verdict), new.uid

    def _replace(self, target: str, new: NewJob, extra: dict[str, str | int]) -> None:
        job = self.jobs[target]
        was = self.stream_of(job) if job["status"] == "queued" else ""
        self.scheduled.pop(target, None)
        self.leave_parked(target)
        for name in OPTIONAL:
            job.pop(name, None)
        job.update(self.fields(asked(new, extra)), request=new.uid)
        at = self.moment(new.due)
        if "follows" in job:
            if new.due:
                job["delay"] = new.due
            self.scheduled[target] = INF
        elif at is not None and at > self.now:
            job.update(status="scheduled", due=str(at))
            self.schedule(target, at)
        elif was != job.get("priority", "normal"):
            job.update(status="queued", place="")
            self.enter(target, self.stream_of(job))
        self.aliases[new.uid] = (target, self.now + RESEND_WINDOW)

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
        self.leave_parked(uid)
        self.end_cancelled(uid, "cancelled")
        self.wake(self.earliest)
        return CancelVerdict.CANCELLED, ""

    def replay(self, uid: str) -> tuple[Replayed, str]:
        job = self.jobs.get(uid)
        if job is None:
            return Replayed.MISSING, ""
        if job["status"] == "scheduled" and "follows" not in job:
            del self.scheduled[uid]
            self.requeue(uid, "")
            self.wake(0)
            return Replayed.HURRIED, ""
        if job["status"] != "failed" or "place" not in job:
            return Replayed.REFUSED, job["status"]
        if "key" in job and "window" not in job:
            name = f"{job['task']}:{job['key']}"
            holder = self.unique.get(name, (uid, INF))[0]
            if holder != uid and self.jobs.get(holder, {}).get("status") in LIVE:
                return Replayed.DUPLICATE, holder
            self.unique[name] = (uid, INF)
        for name in PAST:
            job.pop(name, None)
        self.dlq = [dead for dead in self.dlq if dead.uid != uid]
        self.requeue(uid, "")
        self.wake(0)
        return Replayed.REPLAYED, ""

    def watch(self, uid: str) -> tuple[str, str | None, str | None] | None:
        job = self.jobs.get(uid)
        if job is None or ("cut" in job and job["status"] != "cancelled"):
            return None
        if job["status"] in LIVE:
            job["waited"] = "1"
        return job["status"], job.get("result"), job.get("error")

    def purge(self, uids: Sequence[str]) -> int:
        gone = [dead for dead in self.dlq if dead.uid in uids]
        for dead in gone:
            self.dlq.remove(dead)
            self.forget(dead.uid)
        return len(gone)
