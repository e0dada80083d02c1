"""What the screen knows: the last look, how old it is, and what is wrong with Redis, if anything is."""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from capelin.admin import DeadJob, Overview, WorkerState
from capelin.errors import CapelinError
from capelin.records import JobInfo
from capelin.schedule_book import ScheduleInfo
from capelin.top import views
from capelin.top.grid import Grid
from capelin.top.rates import History
from capelin.top.views import View
from capelin.top.words import count, span


class Picture:
    """What was seen last. An outage changes nothing in it but its age.

    Args:
        url: Where Redis is, for the title.
        every: Seconds between looks.
        clock: Monotonic seconds.

    Attributes:
        overview: The last look; None before the first.
        schedules, dead, jobs: The last looks at what is read while it is shown only.
    """

    def __init__(self, url: str, *, every: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._url, self._every, self._clock = url, every, clock
        self._history = History()
        self._seen_at = clock()
        self._trouble: str | None = None
        self.overview: Overview | None = None
        self.schedules: Sequence[ScheduleInfo] = ()
        self.dead: Sequence[DeadJob] = ()
        self.jobs: Sequence[JobInfo] = ()

    @property
    def now(self) -> datetime:
        """Redis's clock at the last look."""
        return datetime.fromtimestamp(0, UTC) if self.overview is None else self.overview.moment

    @property
    def in_trouble(self) -> bool:
        """Whether the last look failed, so that what is shown is old, or missed a part."""
        return self._trouble is not None or bool(self.overview and self.overview.broken)

    def saw(self, overview: Overview) -> None:
        """Take a look in."""
        self.overview = overview
        self._history.saw(overview)
        self._seen_at, self._trouble = self._clock(), None

    def failed(self, error: CapelinError) -> None:
        """A look failed."""
        self._trouble = " ".join(str(error).split())

    def is_paused(self, view: View, key: str) -> bool:
        """Whether a queue, or a schedule, is paused."""
        if view is View.SCHEDULES:
            return any(one.name == key and one.paused is not None for one in self.schedules)
        known = () if self.overview is None else self.overview.queues
        return any(one.queue == key and one.paused_shards for one in known)

    # What is shown.

    def title(self) -> str:
        """The first line."""
        if self._trouble is not None:
            age = span(self._clock() - self._seen_at)
            seen = "never seen" if self.overview is None else f"seen {age} ago"
            return f"{seen}: {self._trouble}"
        if self.overview is not None and self.overview.broken:
            name, why = next(iter(self.overview.broken.items()))
            more = f" and {len(self.overview.broken) - 1} more" if len(self.overview.broken) > 1 else ""
            return f"left out: {name}{more}: {why}"
        return f"capelin top  {self._url}  {self.now.astimezone():%H:%M:%S}, every {self._every:g}s"

    def totals(self) -> str:
        """The second line."""
        found = self.overview
        if found is None:
            return "looking …"
        waiting, running = sum(one.waiting for one in found.queues), sum(one.running for one in found.queues)
        buried, alive = sum(one.dead for one in found.queues), sum(one.alive for one in found.workers)
        gone = sum(one.state is WorkerState.GONE for one in found.workers)
        queues = f"{len(found.queues)} {'queue' if len(found.queues) == 1 else 'queues'}"
        workers = f"{alive} {'worker' if alive == 1 else 'workers'}{f', {gone} gone' if gone else ''}"
        return (
            f"{queues}: {_some(waiting)} wait, {_some(running)} run, {_some(buried)} dead"
            f" | {workers} | leader: {found.leader or 'none'}"
        )

    def grid(self, view: View) -> Grid:  # noqa: PLR0911 -- one a view
        """The list of a view."""
        found = self.overview
        if found is None:
            return Grid(headings=(), rows=(), empty="")
        match view:
            case View.QUEUES:
                return views.queues(found, self._history)
            case View.WORKERS:
                return views.workers(found)
            case View.SHARDS:
                return views.shards(found)
            case View.SCHEDULES:
                return views.schedules(self.schedules, self.now)
            case View.DEAD:
                return views.dead(self.dead, sum(queue.dead for queue in found.queues), self.now)
            case View.JOBS:
                return views.jobs(self.jobs, self.now)


def _some(number: int) -> str:
    return count(number) if number else "0"
