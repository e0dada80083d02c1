"""When a schedule ticks: ``Cron`` and ``Every``, as values that compute their ticks and touch no clock.

A tick is a moment, in milliseconds since the epoch, and the job that it fires gets an id made of it:
guarantee 8, one job per tick, begins with every process naming the same ticks. So walking forward, walking
backward and asking from any moment in between name the same ones, also where clocks are set forward or back
(`capelin._wallclock` says how).
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import cast

from cronsim import CronSimError

from capelin._calendar import Calendar, calendar
from capelin._cron import NICKNAMES, check_expression, check_zone, never_ticks
from capelin._wallclock import HORIZON, last_tick, ticks_after
from capelin.durations import Duration, seconds
from capelin.errors import InvalidOption
from capelin.narrow import is_dict

_SHORTEST = 100
_LONGEST = HORIZON * 1000
_UTC = "UTC"
_CHECKED_FROM = 946_684_800  # 2000-01-01


class Timing(ABC):
    """When a schedule ticks. All moments are milliseconds since the epoch."""

    __slots__ = ()

    @abstractmethod
    def after(self, moment: int) -> int | None:
        """Return the first tick strictly after a moment; None if there is none in the next 50 years."""

    @abstractmethod
    def latest(self, moment: int) -> int | None:
        """Return the last tick at or before a moment; None if there was none in the last 50 years."""

    @abstractmethod
    def ticks(self, after: int, until: int) -> Iterator[int]:
        """Yield the ticks with ``after < tick <= until``, in order."""

    @abstractmethod
    def explain(self) -> str:
        """Return a sentence for people."""

    @abstractmethod
    def to_json(self) -> dict[str, object]:
        """Return what `timing_from_json` reads back."""


@dataclass(frozen=True)
class Cron(Timing):
    """Ticks at the moments that a cron expression names, on the clocks of a time zone.

    Attributes:
        expression: Five fields, six with the second first, or a nickname such as ``@daily``.
        timezone: An IANA name.

    Raises:
        InvalidOption: The expression cannot be read or never ticks, or there is no such time zone.

    Example:
        >>> print(Cron("0 9 * * mon-fri", "Europe/Berlin"))
        0 9 * * mon-fri Europe/Berlin
        >>> Cron("0 9 * * *").after(0)
        32400000
    """

    expression: str
    timezone: str = _UTC

    def __post_init__(self) -> None:
        object.__setattr__(self, "expression", check_expression(self.expression))
        check_zone(self.timezone)
        if not _ever_ticks(self.expression, self.timezone):
            raise never_ticks(self.expression)

    def __str__(self) -> str:
        return self.expression if self.timezone == _UTC else f"{self.expression} {self.timezone}"

    def after(self, moment: int) -> int | None:
        """Return the first tick strictly after a moment; None if there is none in the next 50 years."""
        tick = next(ticks_after(self._calendar(), self.timezone, moment // 1000), None)
        return None if tick is None else tick * 1000

    def latest(self, moment: int) -> int | None:
        """Return the last tick at or before a moment; None if there was none in the last 50 years."""
        tick = last_tick(self._calendar(), self.timezone, moment // 1000)
        return None if tick is None else tick * 1000

    def ticks(self, after: int, until: int) -> Iterator[int]:
        """Yield the ticks with ``after < tick <= until``, in order; at most 50 years of them."""
        for tick in ticks_after(self._calendar(), self.timezone, after // 1000):
            if tick * 1000 > until:
                return
            yield tick * 1000

    def explain(self) -> str:
        """Return a sentence for people.

        Example:
            >>> Cron("0 9 * * mon-fri", "Europe/Berlin").explain()
            'At 09:00 on Monday through Friday (Europe/Berlin)'
        """
        sentence = self._calendar().explain()
        return sentence if self.timezone == _UTC else f"{sentence} ({self.timezone})"

    def to_json(self) -> dict[str, object]:
        """Return what `timing_from_json` reads back."""
        return {"cron": self.expression, "timezone": self.timezone}

    def _calendar(self) -> Calendar:
        return _calendar(self.expression)


@dataclass(frozen=True)
class Every(Timing):
    """Ticks at the multiples of a period since the epoch, so that every process means the same moments.

    Attributes:
        period_ms: In milliseconds, from 100 up to 50 years.

    Raises:
        InvalidOption: The period is not a whole number of milliseconds in that range.

    Example:
        >>> print(Every(90_000))
        every 90s
        >>> Every(60_000).after(61_000)
        120000
    """

    period_ms: int

    def __post_init__(self) -> None:
        given = cast(object, self.period_ms)
        if not isinstance(given, int):
            raise InvalidOption(
                option="period_ms", value=given, why="expected whole milliseconds, such as 60000"
            )
        if not _SHORTEST <= given <= _LONGEST:
            raise InvalidOption(
                option="period_ms", value=given, why=f"must be from {_SHORTEST} to {_LONGEST} ms"
            )

    def __str__(self) -> str:
        count, unit = self._in_largest_unit()
        return f"every {count}{_SHORT[unit]}"

    def after(self, moment: int) -> int:
        """Return the first tick strictly after a moment."""
        return self.latest(moment) + self.period_ms

    def latest(self, moment: int) -> int:
        """Return the last tick at or before a moment."""
        return moment // self.period_ms * self.period_ms

    def ticks(self, after: int, until: int) -> Iterator[int]:
        """Yield the ticks with ``after < tick <= until``, in order."""
        yield from range(self.after(after), until + 1, self.period_ms)

    def explain(self) -> str:
        """Return a sentence for people.

        Example:
            >>> Every(90_000).explain()
            'Every 90 seconds'
        """
        count, unit = self._in_largest_unit()
        return f"Every {unit}" if count == 1 else f"Every {count} {unit}s"

    def to_json(self) -> dict[str, object]:
        """Return what `timing_from_json` reads back."""
        return {"every_ms": self.period_ms}

    def _in_largest_unit(self) -> tuple[int, str]:
        """Return the period as a whole number of the largest unit that allows it."""
        unit = next(unit for unit, length in _UNITS.items() if self.period_ms % length == 0)
        return self.period_ms // _UNITS[unit], unit


_UNITS = {"day": 86_400_000, "hour": 3_600_000, "minute": 60_000, "second": 1000, "millisecond": 1}
_SHORT = {"day": "d", "hour": "h", "minute": "m", "second": "s", "millisecond": "ms"}


def parse_cron(expression: str, timezone: str = _UTC) -> Cron:
    """Return when a cron expression ticks.

    Args:
        expression: Five fields (minute, hour, day of the month, month, weekday), six with the second first,
            or one of ``@yearly @annually @monthly @weekly @daily @midnight @hourly @minutely``.
        timezone: The IANA name of the zone on whose clocks it ticks.

    Raises:
        InvalidOption: It says which field is wrong, or what zone may have been meant.

    Example:
        >>> parse_cron("*/5 * * * *").after(1)
        300000
    """
    return Cron(expression, timezone)


def every(duration: Duration) -> Every:
    """Return the ticks at multiples of a period since the epoch.

    Args:
        duration: Seconds or a ``timedelta``: whole milliseconds, from 0.1 s up to 50 years.

    Raises:
        InvalidOption: It is not a duration, or not one of those.

    Example:
        >>> print(every(timedelta(minutes=5)))
        every 5m
    """
    # Decimal sees a float as it was written: 2.3 s are 2300 ms, where 2.3 * 1000 is a little less.
    period = Decimal(str(seconds("every", duration))) * 1000
    if period < _SHORTEST:
        why = "must be at least 0.1 s, such as 60 or timedelta(minutes=1); what never pauses is a singleton"
        raise InvalidOption(option="every", value=duration, why=why)
    if period > _LONGEST:
        raise InvalidOption(
            option="every", value=duration, why="must be 50 years at most; give seconds, not milliseconds"
        )
    if period % 1:
        why = "must be a whole number of milliseconds, such as 0.25 or timedelta(milliseconds=250)"
        raise InvalidOption(option="every", value=duration, why=why)
    return Every(int(period))


def timing_from_json(raw: object) -> Timing:
    """Return what a timing's ``to_json`` gave.

    Raises:
        InvalidOption: It is not of that shape, or not valid here: a zone that this machine lacks, say.
    """
    if is_dict(raw):
        if raw.keys() == {"cron", "timezone"}:
            return Cron(raw["cron"], raw["timezone"])
        if raw.keys() == {"every_ms"}:
            return Every(raw["every_ms"])
    raise InvalidOption(
        option="timing", value=raw, why='expected {"cron": …, "timezone": …} or {"every_ms": …}'
    )


def _calendar(expression: str) -> Calendar:
    return calendar(NICKNAMES.get(expression, expression))


@lru_cache(maxsize=1024)
def _ever_ticks(expression: str, timezone: str) -> bool:
    try:
        moments = _calendar(expression)
    except CronSimError:  # each field can be read, but its month never has that day
        return False
    return next(ticks_after(moments, timezone, _CHECKED_FROM), None) is not None
