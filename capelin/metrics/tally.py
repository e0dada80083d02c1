"""The tally: what one worker process counts.

It is on the way of every job, so it adds to plain numbers and looks nothing up twice; labels and text are
made when somebody asks. What the event loop counts, the event loop alone writes; a reader in another thread
may be an increment behind.
"""

import threading
import time
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from typing_extensions import override

from capelin.keys import ShardKeys
from capelin.lua import OutcomeKind, OutcomeRow, Reaped, Verdict
from capelin.metrics import catalog
from capelin.metrics.catalog import BOUNDS, OTHER, Metric
from capelin.metrics.figures import Figures, Histogram, Labels
from capelin.metrics.meter import Meter

if TYPE_CHECKING:
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
_RECORDED: Final = Verdict.RECORDED
_REPEATED: Final = Verdict.REPEATED
_COUNTED_BY_KIND: Final = {
    OutcomeKind.RETRY.value: catalog.RETRIED,
    OutcomeKind.SNOOZE.value: catalog.SNOOZED,
    OutcomeKind.RETURN.value: catalog.RETURNED,
    OutcomeKind.PARK.value: catalog.PARKED,
}
_ENTRY: Final = slice(2, 15)
"""Of a place: the ms of the entry's id, 13 digits from 2001 to 2286."""
_OF_A_TASK: Final = (
    (catalog.RETRIED, ()),
    (catalog.PARKED, ()),
    *((catalog.FAILED, (outcome,)) for outcome in ("retried", "dead")),
    *((catalog.DEAD, (reason,)) for reason in ("failed", "rejected", "invalid_arguments")),
)
_OF_A_QUEUE: Final = (
    (catalog.STOLEN, ()),
    (catalog.ADOPTED, ()),
    *((catalog.REAPED, (outcome,)) for outcome in ("returned", "dead", "cancelled")),
    *((catalog.REFUSED, (verdict.value,)) for verdict in (Verdict.STALE, Verdict.TORN)),
    *((catalog.DEAD, (OTHER, reason)) for reason in (WORKER_LOST, PARKED_TOO_LONG, "torn")),
)
"""What is shown before it happened: if a counter begins with its first increment, nobody sees that one."""


class _Spread:
    """A histogram that is being counted."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.total = 0.0

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


_NOWHERE: Final = _Cell()


class Tally(Meter):
    """Counts for Prometheus.

    Args:
        tasks: Names that jobs may ask for, aliases too, with the name that they are counted under.
        queues: Those names, with the queue of each: they are counted from zero on.
    """

    def __init__(self, tasks: Mapping[str, str], queues: Mapping[str, str] | None = None) -> None:
        self._tasks = dict(tasks)
        self._cells: dict[str, dict[str, _Cell]] = {}
        self._waits: dict[tuple[str, str], _Spread] = {}
        self._rare: dict[tuple[str, Labels], tuple[Metric, float]] = {}
        self._lock = threading.Lock()
        self._redis_ahead = 0.0
        for task, queue in (queues or {}).items():
            self._cell(queue, task)

    # On the worker's event loop.

    @override
    def took(self, shard: ShardKeys, starts: "Sequence[Start]", now: int | None) -> None:
        if not starts:
            return
        queue = shard.queue
        task = priority = ""
        entry: str | int = ""
        started: dict[str, int] = {}
        wait, waited, bucket = _NOWHERE.run, 0.0, 0
        ready = 0
        for start in starts:
            # Most of a batch are of one task, one priority, one moment: what they share is worked out once.
            job = start.delivery
            if job.task != task:
                task = job.task
                started = self._cell(queue, task).started
            if job.priority != priority:
                priority = job.priority
                wait = self._wait(queue, priority)
            started[priority] = started.get(priority, 0) + 1
            if job.token > 1:
                start.ready = job.enqueued
                continue
            moment = job.place[_ENTRY] if job.due is None else job.due
            if moment != entry:
                entry, ready = moment, int(moment)
                waited = 0.0 if now is None else max(0.0, (now - ready) / 1000)
                bucket = bisect_left(BOUNDS, waited)
            start.ready = ready
            if now is not None:
                wait.counts[bucket] += 1
                wait.total += waited
        if now is not None:
            self._redis_ahead = now - time.monotonic() * 1000

    @override
    def stole(self, shard: ShardKeys, starts: "Sequence[Start]", now: int) -> None:
        if starts:
            self.took(shard, starts, now)
            self._count(catalog.STOLEN, (shard.queue,), len(starts))

    @override
    def adopted(self, shard: ShardKeys, starts: "Sequence[Start]") -> None:
        if starts:
            self.took(shard, starts, None)
            self._count(catalog.ADOPTED, (shard.queue,), len(starts))

    @override
    def set_aside(self, shard: ShardKeys, entries: int) -> None:
        self._count(catalog.DEAD, (shard.queue, OTHER, "torn"), entries)

    @override
    def ended(self, start: "Start") -> None:
        start.ended = time.monotonic()

    @override
    def recorded(
        self, shard: ShardKeys, outcomes: "Sequence[tuple[Start, OutcomeRow]]", verdicts: Sequence[Verdict]
    ) -> None:
        queue = shard.queue
        now = time.monotonic() * 1000 + self._redis_ahead
        task = ""
        cell = _NOWHERE
        run, end_to_end = cell.run, cell.end_to_end
        ready, took, bucket = -1, 0.0, 0
        for (start, row), verdict in zip(outcomes, verdicts, strict=True):
            if start.delivery.task != task:
                task = start.delivery.task
                cell = self._cell(queue, task)
                run, end_to_end = cell.run, cell.end_to_end
            began, ended = start.began, start.ended
            if began is not None and ended is not None:
                ran = ended - began
                run.counts[bisect_left(BOUNDS, ran)] += 1
                run.total += ran
            if row.kind == _COMPLETE and (verdict is _RECORDED or verdict is _REPEATED):
                cell.completed += 1
                if start.ready != ready:
                    ready = start.ready
                    took = max(
                        0.0, (now - ready) / 1000
                    )  # a clock that was set back must not make a sum fall
                    bucket = bisect_left(BOUNDS, took)
                end_to_end.counts[bucket] += 1
                end_to_end.total += took
            else:
                self._recorded(queue, task, row, verdict)

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
                for metric, rest in _OF_A_TASK:
                    figures.add(metric, (queue, task, *rest), 0)
                for metric, spread in ((catalog.RUN, cell.run), (catalog.END_TO_END, cell.end_to_end)):
                    if any(spread.counts):
                        figures.observe(metric, (queue, task), spread.read())
            for metric, rest in _OF_A_QUEUE:
                figures.add(metric, (queue, *rest), 0)
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

    def _wait(self, queue: str, priority: str) -> _Spread:
        wait = self._waits.get((queue, priority))
        if wait is None:
            wait = self._waits[queue, priority] = _Spread()
        return wait

    def _count(self, metric: Metric, labels: Labels, by: float) -> None:
        if by:
            key = (metric.name, labels)
            with self._lock:
                self._rare[key] = metric, self._rare.get(key, (metric, 0.0))[1] + by
