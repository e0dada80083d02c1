"""How times are typed: ``90``, ``5m``, ``every:1h``, ``50/s``, ``2027-01-01T09:00+01:00``."""

import re
from datetime import datetime
from decimal import Decimal

from capelin.errors import InvalidOption

_UNITS = {"": "1", "ms": "0.001", "s": "1", "m": "60", "h": "3600", "d": "86400"}
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|)")
_EVERY = re.compile(r"every[: ]\s*(.*)", re.DOTALL)
_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:/\s*(s|m|h|d))?")
_NEVER = "none"


def read_when(text: str) -> str | float:
    """Read when a schedule ticks: a cron expression as it is, or seconds for ``every:…``.

    Raises:
        InvalidOption: What follows ``every:`` is no time span.

    Example:
        >>> read_when("0 9 * * mon-fri"), read_when("every:5m")
        ('0 9 * * mon-fri', 300.0)
    """
    found = _EVERY.fullmatch(text.strip())
    return text if found is None else read_span("every", found[1])


def read_span(option: str, text: str) -> float:
    """Read a time span: seconds, or a number with ``ms``, ``s``, ``m``, ``h`` or ``d``.

    Raises:
        InvalidOption: It is none.

    Example:
        >>> read_span("--jitter", "1.5"), read_span("--jitter", "2h")
        (1.5, 7200.0)
    """
    found = _SPAN.fullmatch(text.strip())
    if found is None:
        raise InvalidOption(option=option, value=text, why="expected a time span, as 90, 90s, 5m, 1h or 7d")
    return float(Decimal(found[1]) * Decimal(_UNITS[found[2]]))


def read_limit(option: str, text: str) -> float | None:
    """Read a time span, or None for ``none``.

    Raises:
        InvalidOption: It is neither.
    """
    return None if text.strip().lower() == _NEVER else read_span(option, text)


def read_rate(option: str, text: str) -> float:
    """Read a rate: so many a second, or a number with ``/s``, ``/m``, ``/h`` or ``/d``.

    Raises:
        InvalidOption: It is none.

    Example:
        >>> read_rate("--rate", "50/s"), read_rate("--rate", "90/m")
        (50.0, 1.5)
    """
    found = _RATE.fullmatch(text.strip())
    rate = Decimal(found[1]) / Decimal(_UNITS[found[2] or "s"]) if found else Decimal(0)
    if rate <= 0:
        raise InvalidOption(option=option, value=text, why="expected a rate, as 50/s, 100/m or 1000/h")
    return float(rate)


def read_moment(option: str, text: str) -> datetime:
    """Read a moment that says its zone.

    Raises:
        InvalidOption: It is none, or names no zone.
    """
    why = "expected a moment with its zone, as 2027-01-01T09:00Z or 2027-01-01T09:00+01:00"
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise InvalidOption(option=option, value=text, why=why) from None
    if found.tzinfo is None:
        raise InvalidOption(option=option, value=text, why=why)
    return found
