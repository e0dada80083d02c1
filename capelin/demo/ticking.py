"""The demo's schedule: who leads, which tick ran last, and in the end, what became of every tick."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from capelin.admin import Access, Selection, list_jobs, read_job, schedule_book
from capelin.demo.tasks import TICKS, tick
from capelin.demo.watching import name_of
from capelin.errors import ConfigurationError, ScheduleNotFound, Unreachable
from capelin.records import JobInfo, JobStatus, moment
from capelin.timetable import Entry

SCHEDULE = tick.name

_LOOK_EVERY = 0.05
_BEGINNING_SECONDS = 30.0
_ENDING_SECONDS = 30.0
_MOST = 500
"""How many ticks are held against their jobs: the newest ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse:
    """One look at the schedule.

    Attributes:
        leader: The leader's worker id, or None while nobody leads.
        epoch: Of the lead: the moment at which it was taken, ms by Redis's clock.
        tick: The newest tick that was fired.
        worker: The name of the worker that ran it, or None while none has.
    """

    leader: str | None = None
    epoch: int = 0
    tick: datetime | None = None
    worker: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticks:
    """What became of the ticks.

    Attributes:
        first, last: The first and the last tick that fell due; None when none did.
        due: How many fell due.
        missing: Those without a job that completed, with what is known.
        twice: Those with more than one job, or with one that should not be.
        skipped: How many were skipped.
        run_by: How many each worker ran, by its name.
        late: Seconds from each tick to its job, sorted.
    """

    first: datetime | None
    last: datetime | None
    due: int
    missing: Mapping[datetime, str]
    twice: Sequence[datetime]
    skipped: int
    run_by: Mapping[str, int]
    late: Sequence[float]

    @property
    def complete(self) -> bool:
        """Whether each tick ran, once."""
        return self.due > 0 and not (self.missing or self.twice or self.skipped)


async def feel(access: Access) -> Pulse | None:
    """Look once; None when Redis was too busy to answer."""
    book = schedule_book(access)
    try:
        leader = await book.leader()
        state = (await book.timetable.get(SCHEDULE)).state
        job = None if state.job is None else await read_job(access, state.job)
    except ScheduleNotFound:
        return Pulse()
    except Unreachable:
        return None
    return Pulse(
        leader=leader.worker,
        epoch=leader.epoch,
        tick=moment(state.tick),
        worker=name_of(job.worker) if job is not None and job.worker else None,
    )


async def led(access: Access) -> str:
    """Wait until somebody leads and has put the schedule in place; returns the leader's worker id.

    Raises:
        ConfigurationError: That does not come about.
    """
    until = time.monotonic() + _BEGINNING_SECONDS
    while time.monotonic() < until:
        pulse = await feel(access)
        if pulse is not None and pulse.leader is not None:
            return pulse.leader
        await asyncio.sleep(_LOOK_EVERY)
    raise ConfigurationError(f"nobody has taken the lead of the scheduler for {_BEGINNING_SECONDS:g} s")


async def read_ticks(access: Access) -> Ticks:
    """Let no further tick come, and hold every tick that fell due against its job."""
    book = schedule_book(access)
    due = await book.now() // 1000 * 1000

    async def caught_up() -> bool:
        return ((await book.timetable.get(SCHEDULE)).state.last or 0) >= due

    async def at_rest() -> bool:
        entry, surveys = await book.timetable.get(SCHEDULE), await access.surveys(TICKS)
        waiting = sum(
            found.scheduled + sum(found.running.values()) + sum(one.waiting for one in found.streams.values())
            for found in surveys.values()
        )
        return entry.intent is None and not waiting

    await _wait_for(caught_up)
    await book.pause(SCHEDULE)
    await _wait_for(at_rest)
    entry = await book.timetable.get(SCHEDULE)
    jobs = (await list_jobs(access, Selection(queue=TICKS), limit=_MOST)).jobs
    return account(entry, jobs, due=max(due, entry.state.last or 0))


def account(entry: Entry, jobs: Sequence[JobInfo], *, due: int) -> Ticks:
    """Hold ticks against jobs.

    Args:
        entry: The schedule as it stands.
        jobs: The jobs that there are of it.
        due: The moment, ms, up to which every tick must have run.
    """
    if entry.schedule is None:
        raise ValueError(f"schedule {entry.name} cannot be read")
    every = list(entry.schedule.timing.ticks(entry.since, due))
    expected = [found for one in every[-_MOST:] if (found := moment(one)) is not None]
    by_tick: dict[datetime, list[JobInfo]] = {}
    for job in jobs:
        if job.tick is not None:
            by_tick.setdefault(job.tick, []).append(job)
    missing: dict[datetime, str] = {}
    for one in expected:
        found_jobs = by_tick.get(one, [])
        if not found_jobs:
            missing[one] = "no job"
        elif found_jobs[0].status is not JobStatus.COMPLETED:
            missing[one] = f"its job is {found_jobs[0].status.value}"
    known = set(expected)
    return Ticks(
        first=expected[0] if expected else None,
        last=expected[-1] if expected else None,
        due=len(every),
        missing=missing,
        twice=[one for one, several in by_tick.items() if len(several) > 1 or one not in known],
        skipped=sum(entry.state.skipped.values()),
        run_by=Counter(name_of(job.worker) for job in jobs if job.worker),
        late=sorted(
            (job.enqueued - job.tick).total_seconds()
            for job in jobs
            if job.tick is not None and job.enqueued is not None
        ),
    )


async def _wait_for(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for something, for a while: what has not come about by then is found missing."""
    until = time.monotonic() + _ENDING_SECONDS
    while time.monotonic() < until:
        with contextlib.suppress(Unreachable):
            if await condition():
                return
        await asyncio.sleep(_LOOK_EVERY)
