"""Tables and figures for people: what the command line and the demo print."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

MINUTE, HOUR, DAY = 60, 3600, 86400

STYLES: Mapping[str, str] = {
    "running": "green",
    "completed": "green",
    "failed": "red",
    "cancelled": "yellow",
    "parked": "magenta",
    "scheduled": "cyan",
    "paused": "yellow",
    "gone": "red",
    "quiet": "yellow",
    "stopping": "yellow",
    "healthy": "green",
    "silent": "red",
    "active": "green",
    "late!": "red",
    "unreadable": "red",
    "leads": "green",
}
"""How cells that begin with such a word look on a terminal."""

_MANY = 10
_GAP = 2


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        right: Figures, which stand right and are never cut.
        whole: Never cut, whatever the width: what people copy.
    """

    name: str
    right: bool = False
    whole: bool = False


def table(columns: Sequence[Column], rows: Sequence[Sequence[object]], *, width: int | None = None) -> Table:
    """Make a table that fits into the width in which it is printed, as far as its whole columns allow.

    Args:
        columns: Its columns.
        rows: A value for each of them.
        width: What it is to fit into, if that is known: then the longest of what may be cut is cut first.
    """
    made = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False, header_style="bold")
    least = _widths(columns, rows)
    most = least if width is None else _fitted(columns, rows, least, width)
    for column, low, high in zip(columns, least, most, strict=True):
        made.add_column(
            column.name,
            justify="right" if column.right else "left",
            no_wrap=True,
            overflow="ellipsis",
            min_width=low,
            max_width=None if width is None else high,
        )
    for row in rows:
        made.add_row(*(cell(value) for value in row))
    return made


def needed_width(columns: Sequence[Column], rows: Sequence[Sequence[object]]) -> int:
    """Return the least width in which nothing is cut that must be whole."""
    widths = _widths(columns, rows)
    return sum(widths) + _GAP * (len(widths) - 1)


def _fitted(
    columns: Sequence[Column], rows: Sequence[Sequence[object]], least: Sequence[int], width: int
) -> list[int]:
    widths = [max((len(str(row[index] or "")) for row in rows), default=0) for index in range(len(columns))]
    widths = [max(pair) for pair in zip(widths, least, strict=True)]
    excess = sum(widths) + _GAP * (len(widths) - 1) - width
    while excess > 0 and (cut := [at for at in range(len(widths)) if widths[at] > least[at]]):
        widths[max(cut, key=lambda at: widths[at])] -= 1
        excess -= 1
    return widths


def _widths(columns: Sequence[Column], rows: Sequence[Sequence[object]]) -> list[int]:
    widths: list[int] = []
    for index, column in enumerate(columns):
        values = [str(row[index]) for row in rows] if column.whole or column.right else []
        widths.append(max((len(value) for value in (column.name, *values)), default=0))
    return widths


def cell(value: object) -> Text:
    """Make a cell of a value: its text as it is, without any markup in it."""
    text = "" if value is None else str(value)
    return Text(text, style=STYLES.get(text.partition(" ")[0], ""))


def ago(seconds: float | None) -> str:
    """Write a time span short: ``0.4 s``, ``12 s``, ``3 m``, ``2 h``, ``5 d``; nothing for None.

    >>> ago(0.41), ago(75), ago(7200)
    ('0.4 s', '1 m', '2 h')
    """
    if seconds is None:
        return ""
    for unit, name in ((DAY, "d"), (HOUR, "h"), (MINUTE, "m")):
        if seconds >= unit:
            return f"{int(seconds / unit)} {name}"
    return f"{seconds:.0f} s" if seconds >= _MANY else f"{max(0.0, seconds):.1f} s"


def since(moment: datetime | None, now: int) -> str:
    """Write how long ago a moment was, or in how long it is; ``now`` is Redis's clock, ms."""
    if moment is None:
        return ""
    seconds = now / 1000 - moment.timestamp()
    return ago(seconds) if seconds >= 0 else f"in {ago(-seconds)}"


def at(moment: datetime | None) -> str:
    """Write a moment in the local time zone, to the second."""
    return "" if moment is None else moment.astimezone().strftime("%Y-%m-%d %H:%M:%S %z")
