"""When the clocks of a time zone show the moments of a calendar: walked forward and backward, the same ticks.

* An expression whose second, minute and hour all begin without a star names times of the day. Each is meant
  once a day: one that the clocks skip ticks at the moment at which they are set forward, one that they show
  twice ticks the first time.
* Any other (`*/15 * * * *`, `@hourly`) ticks whenever the clocks show a moment that it matches: not in an
  hour that is skipped, and twice in one that is repeated.

All moments are whole seconds since the epoch, UTC.
"""

from collections.abc import Iterator
from itertools import takewhile

from capelin._calendar import DAY, Calendar
from capelin._zones import first_change, highest_wall, instant, last_change, offset

HORIZON = 50 * 366 * DAY
"""How far a tick is looked for. Leap days on a given weekday may be 40 years apart."""

_MONTH = 30 * DAY
# The years from 1900 to 9000: what lies a horizon beyond them is still a date.
_MOMENTS = range(-2_208_988_800, 221_845_392_000)


def ticks_after(moments: Calendar, zone: str, at: int) -> Iterator[int]:
    """Yield the ticks strictly after a moment, in order, for 50 years."""
    if at not in _MOMENTS:
        return
    until = at + HORIZON
    ticks = _fixed(moments, zone, at) if moments.fixed else _shown(moments, zone, at, until)
    yield from takewhile(lambda tick: tick <= until, ticks)


def last_tick(moments: Calendar, zone: str, at: int) -> int | None:
    """Return the last tick at or before a moment; None if there was none for 50 years."""
    if at not in _MOMENTS:
        return None
    return _last_fixed(moments, zone, at) if moments.fixed else _last_shown(moments, zone, at, at - HORIZON)


def _fixed(moments: Calendar, zone: str, at: int) -> Iterator[int]:
    for wall in moments.after(highest_wall(zone, at)):
        tick = instant(zone, wall)
        if tick > at:  # all times that are skipped tick at one moment, together
            yield tick
            at = tick


def _last_fixed(moments: Calendar, zone: str, at: int) -> int | None:
    wall = moments.last(highest_wall(zone, at))
    return None if wall is None else instant(zone, wall)


def _shown(moments: Calendar, zone: str, at: int, until: int) -> Iterator[int]:
    ahead = offset(zone, at)
    wall = at + ahead
    while at < until:
        change, known = None, at
        for found in moments.after(wall):
            tick = found - ahead
            if tick > known:
                # Asked once a month, not once a tick.
                change, known = first_change(zone, known, tick + _MONTH), tick + _MONTH
            if change is not None and tick >= change.at:
                break
            yield tick
        if change is None:
            return
        at, ahead, wall = change.at, change.after, change.at + change.after - 1


def _last_shown(moments: Calendar, zone: str, at: int, since: int) -> int | None:
    ahead = offset(zone, at)
    while at >= since and (wall := moments.last(at + ahead)) is not None:
        tick = wall - ahead
        change = last_change(zone, tick, at)
        if change is None:
            return tick
        at, ahead = change.at - 1, change.before
    return None
