"""Which moments of a wall clock a cron expression names, without any time zone.

cronsim reads the expression and finds the days; a day's times are looked up in sorted tables. What a time
zone makes of these moments is not asked of cronsim: around a change of 30 minutes, or one at midnight, it
passes ticks over or invents them. `capelin._wallclock` says it.

Wall-clock moments are whole seconds since 1970-01-01 00:00 of that clock.
"""

from bisect import bisect_right
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from itertools import takewhile

from cronsim import CronSim

DAY = 86_400
_EPOCH = date(1970, 1, 1).toordinal()
_ANY_DAY = datetime(2000, 1, 1)  # noqa: DTZ001 -- a wall clock's
_SECOND = timedelta(seconds=1)


class Calendar:
    """The wall-clock moments of one expression.

    Attributes:
        fixed: Neither second, minute nor hour begins with a star: it names times of the day, and each of them
            is meant once a day, also on one that skips or repeats it.

    Raises:
        CronSimError: The expression is not one.
    """

    def __init__(self, expression: str) -> None:
        fields = expression.split()
        second, minute, hour, *days = fields if len(fields) == 6 else ["0", *fields]  # noqa: PLR2004
        self._read = CronSim(expression, _ANY_DAY)
        self._days = " ".join(["0 0 0", *days])
        self._seconds = [at.second for at in _in_a_day(f"{second} 0 0 * * *")]
        hours = [at.hour for at in _in_a_day(f"0 0 {hour} * * *")]
        minutes = [at.minute for at in _in_a_day(f"0 {minute} 0 * * *")]
        self._minutes = [3600 * hour + 60 * minute for hour in hours for minute in minutes]
        self.fixed = not any(field.startswith("*") for field in (second, minute, hour))

    def explain(self) -> str:
        """Return a sentence for people."""
        return self._read.explain()

    def after(self, wall: int) -> Iterator[int]:
        """Yield the moments strictly after one, in order, until there is none for 50 years."""
        today = wall // DAY
        day = _first_day(self._days, today)
        while day is not None:
            start = day * DAY
            # The minute that runs is looked at second by second, those before it not at all.
            skipped = bisect_right(self._minutes, wall - start - 60) if day == today else 0
            for index in range(skipped, len(self._minutes)):
                minute = start + self._minutes[index]
                for second in self._seconds:
                    if (moment := minute + second) > wall:
                        yield moment
            day = _first_day(self._days, day + 1)

    def last(self, wall: int) -> int | None:
        """Return the last moment at or before one; None if there was none for 50 years."""
        today, now = divmod(wall, DAY)
        day = _last_day(self._days, today)
        if day is not None and day == today:
            begun = bisect_right(self._minutes, now)
            if begun:
                minute = self._minutes[begun - 1]
                if passed := bisect_right(self._seconds, now - minute):
                    return day * DAY + minute + self._seconds[passed - 1]
            if begun > 1:
                return day * DAY + self._minutes[begun - 2] + self._seconds[-1]
            day = _last_day(self._days, today - 1)
        return None if day is None else day * DAY + self._minutes[-1] + self._seconds[-1]


@lru_cache(maxsize=1024)
def calendar(expression: str) -> Calendar:
    """Return the calendar of an expression, read once."""
    return Calendar(expression)


def _in_a_day(expression: str) -> Iterator[datetime]:
    moments = CronSim(expression, _ANY_DAY - _SECOND)
    return takewhile(lambda moment: moment.date() == _ANY_DAY.date(), moments)


@lru_cache(maxsize=4096)
def _first_day(days: str, day: int) -> int | None:
    return _day(CronSim(days, _midnight(day) - _SECOND))


@lru_cache(maxsize=4096)
def _last_day(days: str, day: int) -> int | None:
    return _day(CronSim(days, _midnight(day) + _SECOND, reverse=True))


def _midnight(day: int) -> datetime:
    return datetime.combine(date.fromordinal(_EPOCH + day), time())


def _day(moments: CronSim) -> int | None:
    found = next(moments, None)
    return None if found is None else found.toordinal() - _EPOCH
