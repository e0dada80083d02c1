"""What each view lists: queues, workers, shards, schedules, dead jobs, jobs."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Final

from capelin.admin import DeadJob, Overview, QueueStanding, ShardStanding, WorkerStanding, WorkerState
from capelin.priority import Priority
from capelin.records import JobInfo, JobStatus
from capelin.schedule_book import ScheduleInfo, ScheduleStatus
from capelin.top.grid import Grid, Heading, Mood, Row
from capelin.top.rates import History
from capelin.top.words import away, count, lag, memory, rate, span

LONG_WAIT: Final = 300.0
"""Seconds that a job may wait before its queue strikes the eye: the alert's bound, see deploy/prometheus."""
LATE_LOOP: Final = 1.0
_WIDE: Final = 100
_WIDER: Final = 120


class View(StrEnum):
    """The lists, in the order of their keys."""

    QUEUES = "queues"
    WORKERS = "workers"
    SHARDS = "shards"
    SCHEDULES = "schedules"
    DEAD = "dead"
    JOBS = "jobs"


def queues(overview: Overview, history: History) -> Grid:
    """List the queues: depth by priority, the oldest job's age, what comes, ends and fails a second."""
    return Grid(
        headings=(
            Heading(name=" ", width=1),
            Heading(name="QUEUE", width=13, grows=1),
            *(Heading(name=name, width=4, right=True) for name in ("BACK", "CRIT", "HIGH", "NORM", "LOW")),
            Heading(name="OLDEST", width=6, right=True),
            Heading(name="IN/s", width=5, right=True),
            Heading(name="OUT/s", width=5, right=True),
            Heading(name="FAIL/s", width=6, right=True),
            Heading(name="RUN", width=4, right=True),
            Heading(name="DEAD", width=4, right=True),
            Heading(name="SCHED", width=5, right=True, from_width=_WIDE),
            Heading(name="PARKED", width=6, right=True, from_width=_WIDE),
            Heading(name="WORKERS", width=7, right=True, from_width=_WIDER),
        ),
        rows=tuple(_queue(queue, history) for queue in overview.queues),
        empty="No queue yet: the first job or worker makes one.",
    )


def _queue(queue: QueueStanding, history: History) -> Row:
    moves = history.rates(queue.queue)
    waits = queue.waiting_by_priority
    back = waits.get("returned", 0) + waits.get("unparked", 0)
    parked = sum(queue.parked.values())
    mark, mood, state = _queue_state(queue)
    return Row(
        key=queue.queue,
        mood=mood,
        cells=(
            mark,
            queue.queue,
            count(back),
            *(count(waits.get(priority.value, 0)) for priority in Priority),
            span(queue.oldest_seconds) or "·",
            rate(None if moves is None else moves.came),
            rate(None if moves is None else moves.ended),
            rate(None if moves is None else moves.failed),
            count(queue.running),
            count(queue.dead),
            count(queue.scheduled + queue.followers),
            count(parked),
            count(len(queue.workers)),
        ),
        detail=f"{queue.queue}: {state}; {queue.waiting} wait, {queue.running} run, {queue.scheduled} "
        f"scheduled, {queue.followers} follow, {parked} parked, {queue.dead} dead; {queue.shards} shards",
    )


def _queue_state(queue: QueueStanding) -> tuple[str, Mood, str]:
    """Return a mark, a mood and words."""
    if queue.paused:
        return "‖", Mood.ODD, "paused"
    if queue.paused_shards:
        return "‖", Mood.ODD, f"paused in {queue.paused_shards} shards"
    busy = queue.waiting or queue.running
    if not queue.workers:
        return "!", Mood.BAD if busy else Mood.ODD, "no worker serves it"
    state = f"{len(queue.workers)} {'worker' if len(queue.workers) == 1 else 'workers'}"
    if (queue.oldest_seconds or 0) > LONG_WAIT:
        return "!", Mood.BAD, f"{state}, and its jobs wait"
    return " ", Mood.PLAIN if busy else Mood.QUIET, state


def workers(overview: Overview) -> Grid:
    """List the workers: load, shards, how late their event loop is, their memory."""
    return Grid(
        headings=(
            Heading(name=" ", width=1),
            Heading(name="WORKER", width=20, grows=3),
            Heading(name="JOBS", width=9, right=True),
            Heading(name="LOAD", width=4, right=True),
            Heading(name="SHARDS", width=6, right=True),
            Heading(name="LAG", width=5, right=True),
            Heading(name="MEM", width=5, right=True),
            Heading(name="UP", width=4, right=True),
            Heading(name="STATE", width=7),
            Heading(name="QUEUES", width=12, grows=1, from_width=_WIDE),
        ),
        rows=tuple(map(_worker, overview.workers)),
        empty="No worker: capelin worker APP starts one.",
    )


_STATES = {WorkerState.QUIET: "quiet", WorkerState.STOPPING: "stops", WorkerState.GONE: "gone"}


def _worker(worker: WorkerStanding) -> Row:
    running = sum(worker.running.values())
    late = (worker.loop_lag or 0) > LATE_LOOP
    busy = "leads" if worker.leads else "works" if running else "idle"
    state = _STATES.get(worker.state, busy)
    mood = Mood.BAD if worker.state is WorkerState.GONE or late else Mood.GOOD if running else Mood.PLAIN
    jobs = ", ".join(f"{jobs} of {queue}" for queue, jobs in worker.running.items())
    return Row(
        key=worker.id,
        mood=mood,
        cells=(
            "*" if worker.leads else "!" if mood is Mood.BAD else " ",
            worker.id,
            f"{running}/{worker.slots}" if worker.slots else str(running),
            f"{100 * running // worker.slots}%" if worker.slots else "-",
            count(len(worker.shards)),
            lag(worker.loop_lag),
            memory(worker.memory),
            span(worker.up_seconds),
            state,
            " ".join(worker.queues),
        ),
        detail=f"{worker.id}: {worker.app or 'it died, or ends'}; runs {jobs or 'nothing'}"
        + (f"; serves {', '.join(worker.queues)}" if worker.queues else "")
        + (f"; release {worker.version}, pid {worker.pid}" if worker.pid else ""),
    )


def shards(overview: Overview) -> Grid:
    """List the shards and who owns each."""
    return Grid(
        headings=(
            Heading(name=" ", width=1),
            Heading(name="SHARD", width=14, grows=1),
            Heading(name="OWNER", width=20, grows=2),
            Heading(name="LEASE", width=5, right=True),
            Heading(name="WAIT", width=4, right=True),
            Heading(name="RUN", width=4, right=True),
            Heading(name="SCHED", width=5, right=True),
            Heading(name="PARK", width=4, right=True),
            Heading(name="DEAD", width=4, right=True),
        ),
        rows=tuple(map(_shard, overview.shards)),
        empty="No shard yet.",
    )


def _shard(shard: ShardStanding) -> Row:
    name = f"{shard.queue}:{shard.shard}"
    parked, running = sum(shard.parked.values()), sum(shard.running.values())
    mark = "‖" if shard.paused else " " if shard.owner else "!"
    busy = shard.waiting or running
    mood = (
        Mood.ODD if mark == "‖" else Mood.BAD if mark == "!" and busy else Mood.PLAIN if busy else Mood.QUIET
    )
    runners = ", ".join(f"{jobs} by {worker}" for worker, jobs in shard.running.items())
    return Row(
        key=name,
        mood=mood,
        cells=(
            mark,
            name,
            shard.owner or "nobody",
            span(shard.lease_seconds),
            count(shard.waiting),
            count(running),
            count(shard.scheduled + shard.followers),
            count(parked),
            count(shard.dead),
        ),
        detail=f"{name}: owned by {shard.owner or 'nobody'}, epoch {shard.epoch}"
        + (f"; runs {runners}" if runners else "")
        + (f"; paused since {shard.paused:%H:%M:%S} UTC" if shard.paused else ""),
    )


def schedules(found: Sequence[ScheduleInfo], now: datetime) -> Grid:
    """List the schedules: when they run next, and what became of the last tick."""
    return Grid(
        headings=(
            Heading(name=" ", width=1),
            Heading(name="SCHEDULE", width=14, grows=2),
            Heading(name="WHEN", width=14, grows=1),
            Heading(name="NEXT", width=5, right=True),
            Heading(name="LAST RUN", width=8, right=True),
            Heading(name="TICK", width=7),
            Heading(name="STATE", width=10),
            Heading(name="TASK", width=12, grows=1, from_width=_WIDE),
        ),
        rows=tuple(_schedule(one, now) for one in found),
        empty="No schedule.",
    )


def _schedule(one: ScheduleInfo, now: datetime) -> Row:
    silent = not one.healthy and one.status is ScheduleStatus.ACTIVE
    state = "silent" if silent else one.status.value
    mood = (
        Mood.BAD
        if silent or one.status is ScheduleStatus.UNREADABLE
        else (Mood.PLAIN if one.status is ScheduleStatus.ACTIVE else Mood.ODD)
    )
    skipped = ", ".join(f"{ticks} {why}" for why, ticks in one.skipped.items())
    return Row(
        key=one.name,
        mood=mood,
        cells=(
            "‖" if one.paused else "!" if mood is Mood.BAD else " ",
            one.name,
            one.when,
            away(one.next, now),
            away(one.last_run, now) or "never",
            one.last_outcome or "none",
            state,
            one.task,
        ),
        detail=f"{one.name}: {one.meaning or one.when}; runs {one.task}; {one.fired} fired"
        + (f", skipped {skipped}" if skipped else "")
        + (f"; last job {one.last_job}" if one.last_job else ""),
    )


def dead(found: Sequence[DeadJob], total: int, now: datetime) -> Grid:
    """List the newest dead jobs."""
    more = f", the newest {len(found)} of {total}" if total > len(found) else ""
    return Grid(
        headings=(
            Heading(name="DIED", width=4, right=True),
            Heading(name="TASK", width=16, grows=1),
            Heading(name="REASON", width=14),
            Heading(name="ERROR", width=20, grows=3),
            Heading(name="TRIES", width=5, right=True),
        ),
        rows=tuple(
            Row(
                key=job.id,
                mood=Mood.BAD,
                cells=(
                    away(job.died, now),
                    job.task,
                    job.reason,
                    job.error.message if job.error else "",
                    str(job.attempt + job.crashes),
                ),
                detail=f"{job.id}{more}",
            )
            for job in found
        ),
        empty="Nothing is dead.",
    )


_MOODS: Final = {
    JobStatus.RUNNING: Mood.GOOD,
    JobStatus.COMPLETED: Mood.QUIET,
    JobStatus.CANCELLED: Mood.ODD,
    JobStatus.PARKED: Mood.ODD,
    JobStatus.FAILED: Mood.BAD,
}


def jobs(found: Sequence[JobInfo], now: datetime) -> Grid:
    """List jobs, the newest first."""
    return Grid(
        headings=(
            Heading(name="AGE", width=4, right=True),
            Heading(name="STATUS", width=9),
            Heading(name="TASK", width=16, grows=1),
            Heading(name="TRIES", width=5, right=True),
            Heading(name="ID", width=36, grows=1),
        ),
        rows=tuple(
            Row(
                key=job.id,
                mood=_MOODS.get(job.status, Mood.PLAIN),
                cells=(away(job.enqueued, now), job.status.value, job.task, str(job.token), job.id),
                detail=f"{job.id}: {_doing(job)}",
            )
            for job in found
        ),
        empty="No such job.",
    )


def _doing(job: JobInfo) -> str:
    if job.progress is not None:
        return f"{job.progress[0]:.0%} {job.progress[1]}"
    if job.error is not None:
        return f"{job.error.type}: {job.error.message}"
    return f"runs on {job.worker}" if job.status is JobStatus.RUNNING else job.status.value
