"""The line to Redis of whoever looks at the screen: what is read, and what is done. Each ends in time."""

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from capelin.admin import (
    Access,
    DeadJob,
    JobStory,
    Overview,
    Selection,
    cancel_job,
    list_dead,
    list_jobs,
    pause_queue,
    read_overview,
    read_story,
    resume_queue,
    retry_job,
    schedule_book,
)
from capelin.errors import CapelinError
from capelin.lua import CancelVerdict, Replayed
from capelin.records import JobInfo, JobStatus
from capelin.schedule_book import ScheduleInfo

T = TypeVar("T")

PATIENCE: Final = 4.0
"""Seconds that a look or a deed may take."""
LISTED: Final = 50
"""Jobs in a list."""
_SIFTED: Final = 200
"""Running jobs of which those of one worker are sifted out."""


class NoAnswer(CapelinError):
    """Redis took longer than anybody would look at a screen that stands still."""

    def __init__(self) -> None:
        super().__init__(f"Redis has not answered within {PATIENCE:g} s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which jobs are listed.

    Attributes:
        queue: Only its jobs.
        worker: Only those that it runs.
        status: Only those in this status.
    """

    queue: str | None = None
    worker: str | None = None
    status: JobStatus | None = None

    def __str__(self) -> str:
        if self.worker is not None:
            return f"that {self.worker} runs"
        words = ["" if self.status is None else self.status.value, f"of {self.queue}" if self.queue else ""]
        return " ".join(filter(None, words)) or "the newest"


class Line:
    """Reads and acts, over an operator's access.

    Every method raises ``CapelinError`` when Redis cannot be asked, refuses, or takes longer than
    ``PATIENCE``. What was to be done may have been done then.

    Args:
        access: The way to Redis.
    """

    def __init__(self, access: Access) -> None:
        self._access = access

    @property
    def url(self) -> str:
        """Where Redis is, without passwords."""
        return self._access.connection.url

    # Looking.

    async def overview(self) -> Overview:
        """Return how everything stands: O(queues + shards + workers)."""
        return await _bounded(read_overview(self._access))

    async def schedules(self) -> list[ScheduleInfo]:
        """Return every schedule: O(schedules), so ask while they are looked at."""
        return await _bounded(schedule_book(self._access).ls())

    async def dead(self) -> Sequence[DeadJob]:
        """Return the newest dead jobs: O(shards)."""
        return (await _bounded(list_dead(self._access, limit=LISTED))).jobs

    async def jobs(self, choice: Choice) -> Sequence[JobInfo]:
        """Return the newest jobs of a choice: O(shards)."""
        running = choice.worker is not None
        status = JobStatus.RUNNING if running else choice.status
        wanted = Selection(
            queue=choice.queue, statuses=frozenset() if status is None else frozenset({status})
        )
        page = await _bounded(list_jobs(self._access, wanted, limit=_SIFTED if running else LISTED))
        return [job for job in page.jobs if not running or job.worker == choice.worker]

    async def job(self, job_id: str) -> JobStory:
        """Return a job's whole story."""
        return await _bounded(read_story(self._access, job_id))

    # Doing: each returns what was done, in words.

    async def toggle_queue(self, queue: str, *, paused: bool) -> str:
        """Pause a queue, or resume one that is paused."""
        if paused:
            await _bounded(resume_queue(self._access, queue))
            return f"queue {queue} is open"
        await _bounded(pause_queue(self._access, queue))
        return f"queue {queue} is paused"

    async def toggle_schedule(self, name: str, *, paused: bool) -> str:
        """Pause a schedule, or resume one that is paused."""
        book = schedule_book(self._access)
        if paused:
            await _bounded(book.resume(name))
            return f"schedule {name} goes on"
        await _bounded(book.pause(name))
        return f"schedule {name} is paused"

    async def replay(self, job_id: str) -> str:
        """Run a dead job again, or a scheduled one at once."""
        verdict = await _bounded(retry_job(self._access, job_id))
        return f"{job_id} {'runs again' if verdict is Replayed.REPLAYED else 'is due now'}"

    async def cancel(self, job_id: str) -> str:
        """Cancel a job, or tell its worker to stop it."""
        verdict = await _bounded(cancel_job(self._access, job_id))
        done = verdict is CancelVerdict.CANCELLED
        return f"{job_id} {'is cancelled' if done else 'runs; its worker is told to stop it'}"


async def _bounded(asked: Awaitable[T]) -> T:
    try:
        async with asyncio.timeout(PATIENCE):
            return await asked
    except TimeoutError:
        raise NoAnswer from None
