"""The figures of the whole fleet, read from Redis: O(shards, schedules and singletons), never O(backlog).

They are our own: what `XINFO` says of a group turns to nothing once unread entries are deleted.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from capelin.admin.access import Access
from capelin.admin.fleet import read_fleet
from capelin.admin.singletons import SingletonInfo, list_singletons
from capelin.lua.looking import Survey
from capelin.metrics import catalog
from capelin.metrics.catalog import OTHER
from capelin.metrics.figures import Figures
from capelin.priority import STREAMS
from capelin.schedule_book import ScheduleBook, ScheduleInfo

_MOST_NAMES: Final = 200
"""Queues, schedules and singletons, of each, that have labels of their own."""
_CODE: Final = "code"
_SKIPS: Final = ("stale", "missed", "overlap")


async def fleet_figures(access: Access) -> Figures:
    """Read them.

    Raises:
        Unreachable, RedisRefused, UnsupportedSchema: Some of them could not be read: there is none then.
    """
    figures = Figures()
    surveys = await access.surveys()
    now = await access.clock()
    alive = [member for member, expires in (await read_fleet(access)).values() if expires > now]
    labels = _labels_of({shard.queue for shard in surveys})
    by_label: dict[str, list[Survey]] = {}
    for shard, found in surveys.items():
        by_label.setdefault(labels[shard.queue], []).append(found)
    for label, standing in by_label.items():
        _add_queue(figures, label, standing)
        workers = sum(any(labels.get(queue) == label for queue in member.queues) for member in alive)
        figures.add(catalog.WORKERS, (label,), workers)
    book = ScheduleBook(access.connection, access.keys, access.settings)
    _add_schedules(figures, await book.ls())
    _add_singletons(figures, await list_singletons(access))
    return figures


def _labels_of(queues: Iterable[str]) -> Mapping[str, str]:
    """Return the label of each queue.

    There may be one for each customer: the first by name have labels of their own, so that which ones do
    does not change from scrape to scrape; the others share one.
    """
    return {queue: queue if place < _MOST_NAMES else OTHER for place, queue in enumerate(sorted(queues))}


def _add_queue(figures: Figures, queue: str, surveys: list[Survey]) -> None:
    for stream in STREAMS:
        waiting = sum(found.streams[stream].waiting for found in surveys)
        figures.add(catalog.DEPTH, (queue, stream), waiting)
    figures.add(catalog.OLDEST, (queue,), max(map(_oldest_age, surveys), default=0.0))
    scheduled = sum(found.scheduled + found.followers for found in surveys)
    figures.add(catalog.SCHEDULED, (queue,), scheduled)
    figures.add(catalog.RUNNING, (queue,), sum(sum(found.running.values()) for found in surveys))
    figures.add(catalog.WAITING_PARKED, (queue,), sum(sum(found.parked.values()) for found in surveys))
    figures.add(catalog.DLQ, (queue,), sum(found.dead for found in surveys))
    figures.add(catalog.PAUSED, (queue,), float(all(found.paused is not None for found in surveys)))
    owned = sum(bool(found.owner) and found.expires > found.now for found in surveys)
    figures.add(catalog.ORPHANED, (queue,), len(surveys) - owned)
    totals: Counter[str] = Counter()
    for found in surveys:
        totals.update(found.totals)
    figures.add(catalog.ENQUEUED, (queue,), totals["enqueued"])
    figures.add(catalog.DUPLICATES, (queue,), totals["duplicates"])
    figures.add(catalog.CANCELLED, (queue,), totals["cancelled"])


def _oldest_age(found: Survey) -> float:
    """Seconds for which the first has waited; a job that is due waits, too, though nobody has promoted it."""
    since = [standing.oldest for standing in found.streams.values() if standing.oldest is not None]
    if found.next_due is not None:
        since.append(found.next_due)
    return max(0, found.now - min(since, default=found.now)) / 1000


def _add_schedules(figures: Figures, schedules: Iterable[ScheduleInfo]) -> None:
    """Those of code by name. At run time there may be one for each customer: they share a label."""
    ticks: Counter[tuple[str, str]] = Counter()
    healthy: dict[str, bool] = {}
    ran: dict[str, float] = {}
    for one in schedules:
        name = one.name if one.source == _CODE and len(healthy) < _MOST_NAMES else OTHER
        ticks.update(dict.fromkeys([(name, reason) for reason in _SKIPS], 0))
        ticks[name, "fired"] += one.fired
        for reason, count in one.skipped.items():
            ticks[name, reason] += count
        healthy[name] = healthy.get(name, True) and one.healthy
        if one.last_run is not None:
            ran[name] = max(ran.get(name, 0.0), one.last_run.timestamp())
    for (name, outcome), count in ticks.items():
        figures.add(catalog.TICKS, (name, outcome), count)
    _add(figures, healthy, ran, of=(catalog.SCHEDULE_HEALTHY, catalog.SCHEDULE_RAN))


def _add_singletons(figures: Figures, singletons: Iterable[SingletonInfo]) -> None:
    runs: Counter[tuple[str, str]] = Counter()
    healthy: dict[str, bool] = {}
    ran: dict[str, float] = {}
    for one in singletons:
        name = one.name if len(healthy) < _MOST_NAMES else OTHER
        runs[name, "completed"] += one.runs
        runs[name, "failed"] += one.failures
        healthy[name] = healthy.get(name, True) and one.healthy
        if one.beat is not None:
            ran[name] = max(ran.get(name, 0.0), one.beat.timestamp())
    for (name, outcome), count in runs.items():
        figures.add(catalog.SINGLETON_RUNS, (name, outcome), count)
    _add(figures, healthy, ran, of=(catalog.SINGLETON_HEALTHY, catalog.SINGLETON_RAN))


def _add(
    figures: Figures,
    healthy: Mapping[str, bool],
    ran: Mapping[str, float],
    *,
    of: tuple[catalog.Metric, catalog.Metric],
) -> None:
    for name, fine in healthy.items():
        figures.add(of[0], (name,), float(fine))
    for name, moment in ran.items():
        figures.add(of[1], (name,), moment)
