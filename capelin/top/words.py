"""Figures in as few characters as a narrow screen has room for."""

from datetime import datetime
from typing import Final

from capelin._tables import DAY, HOUR, MINUTE

_KILO: Final = 1000
_KIBI: Final = 1024
_TEN: Final = 10
_SHORTEST: Final = 0.0005


def count(number: int) -> str:
    """Write a count in at most four characters; a dot for none, so that the others catch the eye.

    >>> [count(number) for number in (0, 7, 9_999, 12_345, 999_999, 1_200_000, 34_000_000)]
    ['·', '7', '9999', '12k', '999k', '1.2M', '34M']
    """
    if number <= 0:
        return "·"
    if number < _TEN * _KILO:
        return str(number)
    for unit in "kM":
        number_of = number / _KILO ** ("kM".index(unit) + 1)
        if number_of < _TEN:
            return f"{int(number_of * 10) / 10:g}{unit}"
        if number_of < _KILO:
            return f"{int(number_of)}{unit}"
    return f"{int(number / _KILO**3)}G"


def rate(a_second: float | None) -> str:
    """Write a rate in at most five characters; a dash while it is not known.

    >>> rate(None), rate(0.0), rate(0.25), rate(12.34), rate(4321.0), rate(43_210.0)
    ('-', '·', '0.2', '12.3', '4321', '43k')
    """
    if a_second is None:
        return "-"
    if a_second < 0.05:  # noqa: PLR2004 -- what would be written as 0.0
        return "·"
    return f"{a_second:.1f}" if a_second < _KILO else count(int(a_second))


def span(seconds: float | None) -> str:
    """Write a time span in at most four characters; nothing for None.

    >>> [span(seconds) for seconds in (None, 0.4, 12, 75, 7200, 200_000)]
    ['', '0.4s', '12s', '1m', '2h', '2d']
    """
    if seconds is None:
        return ""
    for unit, name in ((DAY, "d"), (HOUR, "h"), (MINUTE, "m")):
        if seconds >= unit:
            return f"{int(seconds / unit)}{name}"
    return f"{int(seconds)}s" if seconds >= _TEN else f"{max(0.0, seconds):.1f}s"


def lag(seconds: float | None) -> str:
    """Write how late an event loop is; a dash for a worker that does not say.

    >>> lag(None), lag(0.0), lag(0.0123), lag(2.5), lag(75)
    ('-', '0ms', '12ms', '2.5s', '1m')
    """
    if seconds is None:
        return "-"
    return f"{seconds * 1000:.0f}ms" if seconds < 1 - _SHORTEST else span(seconds)


def memory(size: int | None) -> str:
    """Write bytes; a dash for a worker that does not say.

    >>> memory(None), memory(52_428_800), memory(3 * 1024**3)
    ('-', '50M', '3.0G')
    """
    if size is None:
        return "-"
    mega = size / _KIBI**2
    return f"{mega:.0f}M" if mega < _KIBI else f"{mega / _KIBI:.1f}G"


def away(moment: datetime | None, now: datetime) -> str:
    """Write how long ago a moment was, or how far it is off: ``3m``, ``+2h``; nothing for None."""
    if moment is None:
        return ""
    seconds = (now - moment).total_seconds()
    return span(seconds) if seconds >= 0 else f"+{span(-seconds)}"


def cut(text: str, width: int) -> str:
    """Cut a text to a width, on one line.

    >>> cut("a long name", 6), cut("two  spaces", 20)
    ('a lon…', 'two spaces')
    """
    line = " ".join(text.split())
    return line if len(line) <= width else f"{line[: max(0, width - 1)]}…"
