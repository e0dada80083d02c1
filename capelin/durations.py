"""Durations: seconds as a number, or a ``timedelta``, everywhere in the public API."""

import math
from datetime import timedelta
from typing import cast

from capelin.errors import InvalidOption

_EXPECTED = "seconds (a number) or a timedelta"

Duration = float | timedelta


def seconds(option: str, value: Duration, *, minimum: float = 0.0) -> float:
    """Return a duration in seconds.

    Args:
        option: The name of the option, for the message.
        value: Seconds, or a ``timedelta``.
        minimum: The smallest value that makes sense, in seconds.

    Raises:
        InvalidOption: Not a number, not finite, or below the minimum.

    Example:
        >>> seconds("delay", timedelta(minutes=1))
        60.0
    """
    given = cast(object, value)  # it arrives from users, and may be anything
    if isinstance(given, timedelta):
        result = given.total_seconds()
    elif isinstance(given, (int, float)) and not isinstance(given, bool):
        result = float(given)
    else:
        raise InvalidOption(option=option, value=value, why=f"expected {_EXPECTED}")
    if not math.isfinite(result):
        raise InvalidOption(option=option, value=value, why="must be finite")
    if result < minimum:
        raise InvalidOption(option=option, value=value, why=f"must be at least {minimum:g} s")
    return result


def milliseconds(value: float) -> int:
    """Return seconds as whole milliseconds, rounded up so that nothing comes early."""
    return math.ceil(value * 1000 - 1e-6)
