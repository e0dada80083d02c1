"""The tally: what one worker process counts.

It is on the way of every job, so it adds to plain numbers and looks nothing up twice; labels and text are
made when somebody asks. What the event loop counts, the event loop alone writes; a reader in another thread
may be an increment behind.
"""

import threading
import time
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Final

from typing_extensions import override

from capelin.keys import ShardKeys
from capelin.lua import Delivery, OutcomeKind, OutcomeRow, Reaped, Verdict
from capelin.metrics import catalog
from capelin.metrics.catalog import BOUNDS, OTHER, Metric
from capelin.metrics.figures import Figures, Histogram, Labels
from capelin.metrics.meter import Meter
from capelin.workers.running import Start

WORKER_LOST: Final = "worker_lost"
PARKED_TOO_LONG: Final = "parked_too_long"
_REASONS: Final = {
    "InvalidArguments": "invalid_arguments",
    "InvalidResult": "invalid_result",
    "Reject": "rejected",
    "torn": "torn",
}
"""Why jobs die, by what the DLQ says; whatever a task raised is ``failed``."""
_COMPLETE: Final = OutcomeKind.COMPLETE.value
_COUNTED_BY_KIND: Final = {
    OutcomeKind.RETRY.value: catalog.RETRIED,
    OutcomeKind.SNOOZE.value: catalog.SNOOZED,
    OutcomeKind.RETURN.value: catalog.RETURNED,
    OutcomeKind.PARK.value: catalog.PARKED,
}
_ALWAYS_SHOWN: Final = (catalog.RETRIED, catalog.PARKED)


class _Spread:
    """A histogram that is being counted."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(BOUNDS, value)] += 1
        self.total += value

    def read(self) -> Histogram:
        return [*self.counts, self.total]


class _Cell:
    """What is counted of one task in one queue."""

    __slots__ = ("completed", "end_to_end", "run", "started")

    def __init__(self) -> None:
        self.started: dict[str, int] = {}
        self.completed = 0
        self.run = _Spread()
        self.end_to_end = _Spread()


class Tally(Meter):
    """Counts for Prometheus.

    Args:
        tasks: Names that jobs may ask for, aliases too, with the name that they are counted under.
    """

    def __init__(self, tasks: Mapping[str, str]) -> None:
        self._tasks = dict(tasks)
        self._cells: dict[str, dict[str, _Cell]] = {}
        self._waits: dict[tuple[str, str], _Spread] = {}
        self._rare: dict[tuple[str, Labels], tuple[Metric, float]] = {}
        self._lock = threading.Lock()
        self._redis_ahead = 0.0

    # On the worker's event loop.

    @override
    def took(self, shard: ShardKeys, jobs: Sequence[Delivery], now: int | None) -> None:
        if not jobs:
            return
        queue = shard.queue
        for job in jobs:
            cell = self._cell(queue, job.task)
            priority = job.priority
            cell.started[priority] = cell.started.get(priority, 0) + 1
            if now is not None and job.token == 1:
                wait = self._waits.get((queue, priority))
                if wait is None:
                    wait = self._waits[queue, priority] = _Spread()
                wait.observe(max(0, now - _ready(job)) / 1000)
        if now is not None:
            self._redis_ahead = now - time.monotonic() * 1000

    @override
    def stole(self, shard: ShardKeys, jobs: Sequence[Delivery], now: int) -> None:
        if jobs:
            self.took(shard, jobs, now)
            self._count(catalog.STOLEN, (shard.queue,), len(jobs))

    @override
    def adopted(self, shard: ShardKeys, jobs: Sequence[Delivery]) -> None:
        if jobs:
            self.took(shard, jobs, None)
            self._count(catalog.ADOPTED, (shard.queue,), len(jobs))

    @override
    def set_aside(self, shard: ShardKeys, entries: int) -> None:
        self._count(catalog.DEAD, (shard.queue, OTHER, "torn"), entries)

    @override
    def ended(self, start: Start) -> None:
        if start.began is not None:
            cell = self._cell(start.shard.queue, start.delivery.task)
            cell.run.observe(time.monotonic() - start.began)

    @override
    def recorded(
        self, shard: ShardKeys, outcomes: Sequence[tuple[Start, OutcomeRow]], verdicts: Sequence[Verdict]
    ) -> None:
        queue = shard.queue
        now = time.monotonic() * 1000 + self._redis_ahead
        for (start, row), verdict in zip(outcomes, verdicts, strict=True):
            if row.kind == _COMPLETE and (verdict is Verdict.RECORDED or verdict is Verdict.REPEATED):
                job = start.delivery
                cell = self._cell(queue, job.task)
                cell.completed += 1
                origin = _ready(job) if job.token == 1 else job.enqueued
                cell.end_to_end.observe(max(0.0, now - origin) / 1000)
            else:
                self._recorded(queue, start.delivery.task, row, verdict)

    def _recorded(self, queue: str, task: str, row: OutcomeRow, verdict: Verdict) -> None:
        if verdict is Verdict.STALE or verdict is Verdict.TORN:
            self._count(catalog.REFUSED, (queue, verdict.value), 1)
            return
        name = self._tasks.get(task, OTHER)
        cancelled = verdict is Verdict.CANCELLED or row.kind == OutcomeKind.CANCEL
        if row.failure:
            outcome = "cancelled" if cancelled else "dead" if row.kind == OutcomeKind.DEAD else "retried"
            self._count(catalog.FAILED, (queue, name, outcome), 1)
        if cancelled:
            return
        if row.kind == OutcomeKind.DEAD:
            reason = _REASONS.get(str(row.body), "failed")
            self._count(catalog.DEAD, (queue, name, reason), 1)
        elif (metric := _COUNTED_BY_KIND.get(row.kind)) is not None:
            self._count(metric, (queue, name), 1)

    # In the heartbeat's thread.

    @override
    def reaped(self, shard: ShardKeys, reaped: Reaped) -> None:
        queue = shard.queue
        for outcome, jobs in (
            ("returned", len(reaped.returned)),
            ("dead", len(reaped.buried)),
            ("cancelled", reaped.cancelled),
        ):
            self._count(catalog.REAPED, (queue, outcome), jobs)
        self._count(catalog.DEAD, (queue, OTHER, WORKER_LOST), len(reaped.buried))

    @override
    def buried(self, shard: ShardKeys, jobs: int) -> None:
        self._count(catalog.DEAD, (shard.queue, OTHER, PARKED_TOO_LONG), jobs)

    # In any thread.

    def figures(self) -> Figures:
        """Return what was counted so far."""
        figures = Figures()
        for queue, cells in list(self._cells.items()):
            for task, cell in list(cells.items()):
                for priority, starts in list(cell.started.items()):
                    figures.add(catalog.STARTED, (queue, task, priority), starts)
                figures.add(catalog.COMPLETED, (queue, task), cell.completed)
                for metric in _ALWAYS_SHOWN:
                    figures.add(metric, (queue, task), 0)
                figures.observe(catalog.RUN, (queue, task), cell.run.read())
                figures.observe(catalog.END_TO_END, (queue, task), cell.end_to_end.read())
        for (queue, priority), wait in list(self._waits.items()):
            figures.observe(catalog.WAIT, (queue, priority), wait.read())
        with self._lock:
            rare = [(metric, labels, value) for (_, labels), (metric, value) in self._rare.items()]
        for metric, labels, value in rare:
            figures.add(metric, labels, value)
        return figures

    def _cell(self, queue: str, task: str) -> _Cell:
        cells = self._cells.get(queue)
        if cells is None:
            cells = self._cells[queue] = {}
        name = self._tasks.get(task, OTHER)
        cell = cells.get(name)
        if cell is None:
            cell = cells[name] = _Cell()
        return cell

    def _count(self, metric: Metric, labels: Labels, by: float) -> None:
        if by:
            key = (metric.name, labels)
            with self._lock:
                self._rare[key] = metric, self._rare.get(key, (metric, 0.0))[1] + by


def _ready(job: Delivery) -> int:
    """Return when a job that starts for the first time was ready to, ms: due, or else in its stream."""
    if job.due is not None:
        return job.due
    _, _, entry = job.place.partition(":")
    return int(entry.partition("-")[0])
