"""Holds the guarantees against what happened: while it happens, after it has settled, and at the end."""

import re
from collections import Counter, defaultdict
from typing import Any

from tests.simulation.apps import EVERY, INTERVAL, RETRIES, SETTINGS, TTL
from tests.simulation.history import Disturbance, History, Recorded
from tests.simulation.patches import EPOCH
from tests.simulation.scenario import Scenario
from tests.simulation.server import Session, SimRedis
from tests.simulation.world import World
from tests.support.census import census_of
from tests.support.leaks import find_leaks

_JOB = re.compile(rb".+:\{[^}]+\}:job:(?P<job>.+)")
_LIVE = ("scheduled", "queued", "running", "parked")
_ENDED = ("completed", "failed", "cancelled")
_LATE = 1.0
"""Seconds beyond what is promised that a simulated network and a busy loop may take."""
_BECOMES_QUIET = 10.0


class Observer:
    """Watches what scripts write into records."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._seen: set[tuple[str, int, int]] = set()

    def __call__(self, session: Session, words: list[bytes]) -> None:
        match = _JOB.fullmatch(words[0])
        if match is None or b"last" not in words[1::2]:
            return
        history = self._world.history
        job = match["job"].decode()
        record = self._world.redis.hash_at(words[0])
        token = int(record.get("token", 0))
        kind = words[words.index(b"last") + 1].decode()
        recorded = Recorded(
            at=history.clock(),
            job=job,
            token=token,
            kind=kind,
            pod=session.pod,
            newest=history.newest[job],
            status=record.get("status", ""),
        )
        history.recorded.append(recorded)
        history.note(session.pod, f"records {kind} for {job} token {token}")
        identity = (job, token, len(history.restores))
        if identity in self._seen:
            history.problem(f"token {token} of {job} was recorded twice; the second time as {kind}")
        self._seen.add(identity)
        if token < recorded.newest:
            history.problem(
                f"{kind} was recorded for token {token} of {job}, of which token {recorded.newest} has begun"
            )
        if recorded.status != "running":
            history.problem(f"{kind} was recorded for {job}, which was {recorded.status}")
        owner = record.get("worker", "?")
        if kind == "reaped":
            self._judge(recorded, owner)
        elif _pod_of(owner) != session.pod:
            history.problem(f"{session.pod} recorded {kind} for token {token} of {job}, which {owner} runs")

    def _judge(self, reaped: Recorded, owner: str) -> None:
        """Whoever was reaped was dead, asleep, or cut off by something of its own."""
        history = self._world.history
        pod = _pod_of(owner)
        since = reaped.at - 2 * (TTL + INTERVAL) - _LATE
        excuses = [
            one
            for one in history.disturbances
            if one.pod in (pod, "all")
            and one.kind not in ("blocked", "connections cut")
            and (one.kind in ("killed", "vanished") or one.ends >= since)
        ]
        if not excuses and not self._world.pods[pod].stopping:
            history.problem(f"{reaped.job} of {pod} was reaped, and nothing had befallen {pod}")


class _Asked:
    """The server as `tests.support` asks it."""

    def __init__(self, redis: SimRedis) -> None:
        self._redis = redis

    def __call__(self, *words: str | bytes | float) -> Any:
        return self._redis.ask(*words)

    def pipeline(self, *commands: tuple[str | bytes | float, ...]) -> list[Any]:
        return [self(*words) for words in commands]


def records(redis: SimRedis) -> dict[str, dict[str, str]]:
    """Every job's record by its id."""
    found: dict[str, dict[str, str]] = {}
    for key in redis.all_keys():
        match = _JOB.fullmatch(key)
        if match is not None:
            fields = redis.hash_at(key)
            if "status" in fields:
                found[match["job"].decode()] = fields
    return found


def dead(world: World) -> list[str]:
    """The ids of jobs in the DLQ."""
    return [job for job, record in records(world.redis).items() if record["status"] == "failed"]


def unfinished(world: World) -> list[str]:
    """Jobs that have not ended and should, and clients that still wait."""
    now = (EPOCH + world.loop.elapsed) * 1000
    left = [
        f"{job} is {record['status']}"
        for job, record in records(world.redis).items()
        if record["status"] in _LIVE
        and not ("schedule" in record and float(record["enqueued"]) > now - _BECOMES_QUIET * 1000)
    ]
    left += [
        f"{entry.pod} waits for the result of {entry.n}"
        for entry in world.history.submitted
        if entry.waits and entry.result is None and world.pods[entry.pod].alive
    ]
    return left


def look(world: World) -> None:
    """What holds at every moment."""
    history = world.history
    found = records(world.redis)
    live: defaultdict[tuple[str, str, str], list[str]] = defaultdict(list)
    for job, record in found.items():
        if record["status"] in _LIVE and "key" in record and "follows" not in record:
            queue = job.partition(".")[0]
            live[queue, record["task"], record["key"]].append(job)
    for (_, task, key), jobs in live.items():
        if len(jobs) > 1:
            history.problem(f"{len(jobs)} live jobs of {task} have the key {key}: {jobs}")
    for line in census_of(_Asked(world.redis)).misplaced:
        history.problem(f"misplaced: {line}")


def check(world: World, scenario: Scenario) -> None:
    """What holds once the fleet has settled, while it still runs."""
    history = world.history
    for line in unfinished(world):
        history.problem(f"after {world.loop.elapsed - scenario.faults_until:.0f} s of quiet, {line}")
    look(world)
    found = records(world.redis)
    _check_accepted(history, found)
    _check_ends(history, found)
    _check_chains(history, found)
    _check_recovery(world, history)
    _check_ticks(world, history, found)
    _check_singleton(history)


def _check_accepted(history: History, found: dict[str, dict[str, str]]) -> None:
    """Guarantee 1."""
    for entry in history.submitted:
        if entry.job is None or entry.confirmed_at is None or entry.job in found:
            continue
        if not any(first <= entry.confirmed_at + 5 for first, _ in history.restores):
            history.problem(f"{entry.n} was accepted as {entry.job}, of which there is no record")


def _check_ends(history: History, found: dict[str, dict[str, str]]) -> None:
    """Guarantees 1 and 2: each ended as its task ends."""
    cancelled = {entry.job for entry in history.submitted if entry.cancelled is not None and entry.job}
    keyed = {entry.job for entry in history.submitted if entry.key is not None and entry.job}
    completed = {(r.job, r.token) for r in history.recorded if r.kind == "complete"}
    began = {(start.job, start.token) for start in history.begun}
    for job, token in sorted(completed - began):
        history.problem(f"{job} was recorded as completed under token {token}, which nobody began")
    completions = Counter(recorded.job for recorded in history.recorded if recorded.kind == "complete")
    for job, times in completions.items():
        if times > 1 and job not in history.replayed and not history.restores:
            history.problem(f"{job} was completed {times} times")
    for entry in history.submitted:
        record = found.get(entry.job or "")
        if record is None or entry.job in cancelled | keyed | history.replayed or history.restores:
            continue
        status = record["status"]
        if status == "completed" and record.get("result") not in (str(entry.n * 2), None):
            history.problem(f"the result of {entry.job} is {record.get('result')}, not {entry.n * 2}")
        if entry.result is not None and status == "completed" and entry.result != repr(entry.n * 2):
            history.problem(f"who waited for {entry.n} was told {entry.result}")
        crashed = int(record.get("crashes", 0)) >= SETTINGS.max_crashes
        if status == "failed" and not crashed and int(record.get("attempt", 0)) < RETRIES:
            history.problem(
                f"{entry.job} failed after {record.get('attempt')} attempts: {record.get('error')}"
            )


def _check_chains(history: History, found: dict[str, dict[str, str]]) -> None:
    """What follows an end, follows it once."""
    if history.restores:
        return
    followers = Counter(record["parent"] for record in found.values() if "parent" in record)
    for job, record in found.items():
        uid = job.rpartition(".")[2]
        wanted = 0
        if record["status"] == "completed" and "then" in record:
            wanted = 1
        if (
            record["task"] in ("work", "poison")
            and record["status"] == "failed"
            and job not in history.replayed
        ):
            wanted = 1
        told = followers[uid]
        if (told < wanted or told > 1) and job not in history.replayed:
            history.problem(f"{job} ({record['status']}) has {told} jobs that follow it, not {wanted}")


def _check_recovery(world: World, history: History) -> None:  # noqa: C901 -- one condition a line
    """Guarantee 3."""
    outcome = {(r.job, r.token): r for r in history.recorded}
    starts: defaultdict[str, list[tuple[int, float]]] = defaultdict(list)
    for start in history.begun:
        starts[start.job].append((start.token, start.at))
    found = records(world.redis)
    for fault in history.disturbances:
        if fault.kind not in ("killed", "vanished"):
            continue
        for start in history.begun:
            if start.pod != fault.pod or (start.job, start.token) in history.ended:
                continue
            recorded = outcome.get((start.job, start.token))
            if recorded is None:
                if not history.restores:
                    history.problem(f"{start.job} was running in {fault.pod} when it died; nobody noticed")
                continue
            if recorded.kind != "reaped":
                continue
            deadline = _deadline(history.disturbances, fault)
            record = found.get(start.job, {})
            again = min((at for token, at in starts[start.job] if token > start.token), default=None)
            if again is None and record.get("status") not in ("cancelled", "failed"):
                continue  # `unfinished` says so
            if start.job in history.replayed:
                again = None  # its last crash may have been the end of it, until then
            if recorded.at - fault.at > TTL + INTERVAL + _LATE:
                history.coverage["recovered late, since others were disturbed"] += 1
            late = max(recorded.at, again or 0.0) - deadline
            if late > 0 and not history.restores:
                history.problem(
                    f"{start.job} of {fault.pod}, dead since {fault.at:.3f} s, started again at {again} s: "
                    f"{late:.2f} s late"
                )


def _deadline(disturbances: list[Disturbance], fault: Disturbance) -> float:
    """Until when the jobs of the dead are to have started: each disturbance begins the waiting anew."""
    since = fault.at
    for other in sorted(disturbances, key=lambda one: one.ends):
        if other is not fault and other.ends > since and other.at <= since + TTL + INTERVAL + _LATE:
            since = max(since, other.ends)
    return since + TTL + INTERVAL + _LATE


def _check_ticks(  # noqa: C901 -- one condition a line
    world: World, history: History, found: dict[str, dict[str, str]]
) -> None:
    """Guarantee 8."""
    if history.restores:
        return
    jobs: defaultdict[str, defaultdict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    for job, record in found.items():
        if "schedule" in record and "tick" in record:
            jobs[record["schedule"]][int(float(record["tick"]))].add(job)
    for schedule, ticks in jobs.items():
        for tick, ids in ticks.items():
            if len(ids) > 1:
                history.problem(f"tick {tick} of {schedule} has {len(ids)} jobs: {sorted(ids)}")
    period = int(EVERY["beat.all"] * 1000)
    mine = sorted(jobs["beat.all"])
    if mine:
        now = int((EPOCH + world.loop.elapsed) * 1000)
        for tick in range(mine[0], now - int(_BECOMES_QUIET * 1000), period):
            if tick not in jobs["beat.all"]:
                history.problem(f"tick {tick} of beat.all was not fired")
    elif world.loop.elapsed > _BECOMES_QUIET * 2:
        history.problem("beat.all was never fired")


def _check_singleton(history: History) -> None:
    """Each save builds on the one before, under a fence that never goes back."""
    if history.restores:
        return
    value = fence = 0
    for saved in history.saved:
        if saved.fence < fence:
            history.problem(f"{saved.pod} saved {saved.value} under {saved.fence} after {fence} had")
        if saved.value <= value:
            history.problem(f"{saved.pod} saved {saved.value} after {value} was")
        value, fence = max(value, saved.value), max(fence, saved.fence)
    if not history.saved:
        history.problem("the singleton never ran")


def check_end(world: World, scenario: Scenario) -> None:
    """What holds when every worker has ended."""
    del scenario
    history = world.history
    for line in find_leaks(_Asked(world.redis)):
        history.problem(f"leaked: {line}")
    census = census_of(_Asked(world.redis))
    for line in census.misplaced:
        history.problem(f"misplaced at the end: {line}")
    for job in census.jobs.values():
        if job.pending:
            history.problem(f"{job.id} is pending for {job.pending}, which have ended")
    left = world.redis.ask("HKEYS", "capelin:{fleet}:members")
    gone = [name for name in left if _pod_of(str(name)) in world.stopped_in_peace]
    if gone:
        history.problem(f"members that have ended: {gone}")


def _pod_of(worker: str) -> str:
    """The pod of a worker id: `w0-1-1-bhrk3940` is of `w0-1`."""
    return worker.rpartition("-")[0].rpartition("-")[0]
