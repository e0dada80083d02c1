"""Time zones as what a clock on the wall does: an offset, and the moments at which it changes.

`zoneinfo` answers what the offset is at a moment; a schedule also needs to know when it changes, so that each
stretch between two changes can be walked like one in UTC. All moments are whole seconds since the epoch, UTC.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from capelin._calendar import DAY

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 -- a wall clock's
# No clock was ever set by more than a day; two days leave room for the moment itself.
_AROUND = 2 * DAY


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """A moment at which clocks are set.

    Attributes:
        at: The first moment with the new offset.
        before: The offset that ends, in seconds east of UTC.
        after: The offset that begins.
    """

    at: int
    before: int
    after: int


def offset(zone: str, at: int) -> int:
    """Return how far a zone's clocks are ahead of UTC at a moment, in seconds."""
    return _ahead(datetime.fromtimestamp(at, _zone(zone)))


def first_change(zone: str, after: int, until: int) -> Change | None:
    """Return the first change with ``after < at <= until``."""
    for year in range(_year(after), _year(until) + 1):
        for change in _changes(zone, year):
            if after < change.at <= until:
                return change
    return None


def last_change(zone: str, after: int, until: int) -> Change | None:
    """Return the last change with ``after < at <= until``."""
    for year in range(_year(until), _year(after) - 1, -1):
        for change in reversed(_changes(zone, year)):
            if after < change.at <= until:
                return change
    return None


def highest_wall(zone: str, at: int) -> int:
    """Return the latest time that a zone's clocks have shown by a moment.

    It stands still while an hour is repeated, and so never runs backwards, as the clocks do.
    """
    wall = at + offset(zone, at)
    change = last_change(zone, at - _AROUND, at)
    return wall if change is None else max(wall, change.at + change.before - 1)


def instant(zone: str, wall: int) -> int:
    """Return when a zone's clocks first show a time, or, for one that is skipped, pass it."""
    before = _ahead((_EPOCH + timedelta(seconds=wall)).replace(tzinfo=_zone(zone)))
    at = wall - before
    if offset(zone, at) == before:
        return at
    # Python reads a skipped time by the offset that was in force before: it lies after the change.
    change = last_change(zone, at - _AROUND, at)
    return at if change is None else change.at


@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def _ahead(local: datetime) -> int:
    ahead = local.utcoffset()
    return 0 if ahead is None else int(ahead.total_seconds())


def _year(at: int) -> int:
    return datetime.fromtimestamp(at, UTC).year


@lru_cache(maxsize=4096)
def _changes(zone: str, year: int) -> tuple[Change, ...]:
    """Return a year's changes. Looking once a day finds all but those undone within a day; there are none."""
    start, end = (int(datetime(y, 1, 1, tzinfo=UTC).timestamp()) for y in (year, year + 1))
    changes: list[Change] = []
    before = offset(zone, start - 1)
    last = start - 1
    while last < end - 1:
        now = min(last + DAY, end - 1)
        if (after := offset(zone, now)) != before:
            changes.append(Change(at=_moment(zone, last, now, before), before=before, after=after))
            before = after
        last = now
    return tuple(changes)


def _moment(zone: str, low: int, high: int, before: int) -> int:
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if offset(zone, middle) == before else (low, middle)
    return high
