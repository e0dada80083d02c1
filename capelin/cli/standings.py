"""How a schedule's standing reads, for people."""

import json
from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from capelin._tables import ago, at, since
from capelin.schedule_book import ScheduleInfo, ScheduleStatus

LATE = "late!"
"""What the status of a schedule is for people when no run completed in time."""

_ON_TIME = 2
"""Seconds after which a tick that is due is called late."""

_CATCH_UP = {
    "latest": "latest: the newest missed tick, unless it is stale",
    "all": "all: each missed tick that is not stale",
    "none": "none: a tick runs on time or not at all",
}
_OVERLAP = {
    "allow": "allow: runs may overlap",
    "skip": "skip: no second run while one has not ended",
    "queue": "queue: a second run waits until the first has ended",
}
_SOURCE = {"code": "declared in its code", "api": "added at run time"}


def status_of(schedule: ScheduleInfo) -> str:
    """Return the status in a word; ``late!`` for one whose runs fail to come."""
    if schedule.status is ScheduleStatus.ACTIVE and not schedule.healthy:
        return LATE
    return schedule.status.value


def next_of(schedule: ScheduleInfo, now: int) -> str:
    """Return when the next tick is, short; ``now`` is Redis's clock, ms."""
    if schedule.next is None:
        return ""
    seconds = schedule.next.timestamp() - now / 1000
    if seconds > 0:
        return f"in {ago(seconds)}"
    return "now" if seconds > -_ON_TIME else f"{ago(-seconds)} late"


def last_of(schedule: ScheduleInfo, now: int) -> str:
    """Return what became of the newest tick, and how long ago, short."""
    if schedule.last_outcome is None:
        return ""
    return f"{schedule.last_outcome} {since(schedule.decided, now)}"


def facts_of(schedule: ScheduleInfo, now: int) -> list[tuple[str, object]]:
    """Return all that is known of a schedule, a line each."""
    arguments = [*map(_json, schedule.args), *(f"{name}={_json(v)}" for name, v in schedule.kwargs.items())]
    skipped = ", ".join(f"{count} {reason}" for reason, count in sorted(schedule.skipped.items()))
    stale = "never" if schedule.skip_if_older_than is None else f"after {ago(schedule.skip_if_older_than)}"
    readable = schedule.status is not ScheduleStatus.UNREADABLE
    return [
        ("status", _status_in_words(schedule, now)),
        ("when", schedule.when),
        ("meaning", schedule.meaning),
        ("app", f"{schedule.app}, {_SOURCE.get(schedule.source, schedule.source)}"),
        ("task", schedule.task),
        (
            "arguments",
            _arguments(schedule, arguments) if readable else None,
        ),
        ("queue", schedule.queue),
        ("next tick", _moment(schedule.next, now)),
        ("last fired", _moment(schedule.last_tick, now)),
        ("its job", schedule.last_job),
        ("last outcome", _outcome(schedule, now)),
        ("last run", _moment(schedule.last_run, now)),
        ("run due by", _moment(schedule.run_by, now)),
        ("fired", schedule.fired),
        ("skipped", f"{sum(schedule.skipped.values())} ({skipped})" if skipped else 0),
        ("catch up", _CATCH_UP.get(schedule.catch_up, schedule.catch_up)),
        ("stale", stale if readable else None),
        ("overlap", _OVERLAP.get(schedule.overlap, schedule.overlap)),
        ("jitter", f"up to {ago(schedule.jitter)}" if schedule.jitter else None),
        ("start", at(schedule.start)),
        ("end", at(schedule.end)),
        ("as it is since", at(schedule.since)),
    ]


def why_not_fired(schedule: ScheduleInfo, ticks: Sequence[datetime]) -> str:
    """Return why the ticks of a schedule are not fired, or why there are none; empty when they are."""
    if schedule.status is ScheduleStatus.PAUSED:
        return f"It is paused: none of its ticks is fired until capelin schedules resume {schedule.name}."
    if schedule.status is ScheduleStatus.RETIRED:
        return "It has left its app's code: none of its ticks is fired."
    if schedule.status is ScheduleStatus.UNREADABLE:
        return "A newer release wrote it: this capelin cannot say when it ticks."
    if schedule.status is ScheduleStatus.OVER and not ticks:
        end = f": its end was {at(schedule.end)}" if schedule.end is not None else ""
        return f"It has no tick any more{end}."
    return ""


def by_clock(moment: datetime, zone: str) -> datetime:
    """Return a moment as the clocks of a zone show it."""
    return moment.astimezone(ZoneInfo(zone))


def _arguments(schedule: ScheduleInfo, shown: list[str]) -> str:
    return "encrypted" if schedule.encrypted else ", ".join(shown) or "none"


def _status_in_words(schedule: ScheduleInfo, now: int) -> str:
    status = status_of(schedule)
    if status == LATE:
        late = since(schedule.run_by, now)
        return f"{LATE} A run was to complete {late} ago at the latest; does a worker run its task?"
    if schedule.status is ScheduleStatus.PAUSED:
        return f"paused, since {at(schedule.paused)}"
    if schedule.status is ScheduleStatus.RETIRED:
        return f"retired, since {at(schedule.retired)}: it left its app's code"
    return status if status == "active" else f"{status}. {why_not_fired(schedule, ())}"


def _outcome(schedule: ScheduleInfo, now: int) -> str | None:
    if schedule.last_outcome is None:
        return None
    return f"{schedule.last_outcome}, decided {_moment(schedule.decided, now)}"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _moment(moment: datetime | None, now: int) -> str | None:
    if moment is None:
        return None
    distance = since(moment, now)
    return f"{at(moment)}, {distance if distance.startswith('in ') else f'{distance} ago'}"
