"""What commands print: tables for people, JSON for programs."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
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
}
"""How words that matter look on a terminal."""


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        right: Figures, which stand right.
        whole: Never cut, whatever the width: what people copy.
    """

    name: str
    right: bool = False
    whole: bool = False


def print_json(value: Any) -> None:
    """Print a value as JSON, for programs; moments as ISO 8601, enums as their values."""
    from pydantic_core import to_jsonable_python

    typer.echo(json.dumps(to_jsonable_python(value), indent=2, ensure_ascii=False))


def print_table(columns: Sequence[Column], rows: Sequence[Sequence[object]]) -> None:
    """Print a table that fits the terminal, or 80 columns where there is none."""
    console = Console(highlight=False)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        widest = max((len(str(row[index])) for row in rows), default=0)
        table.add_column(
            column.name,
            justify="right" if column.right else "left",
            no_wrap=True,
            overflow="ellipsis",
            min_width=max(widest, len(column.name)) if column.whole or column.right else None,
        )
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    console.print(table)


def print_details(title: str, rows: Sequence[tuple[str, object]]) -> None:
    """Print what is known of one thing, a line each; rows with nothing to say are left out."""
    console = Console(highlight=False)
    console.print(Text(title, style="bold"), soft_wrap=True)
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for name, value in rows:
        if value is not None and value != "":
            table.add_row(f"  {name}", _cell(value))
    console.print(table)


def print_note(text: str) -> None:
    """Print a remark below a table, for people only: on standard error, where no pipe picks it up."""
    Console(stderr=True, highlight=False).print(Text(text, style="dim"))


def ago(seconds: float | None) -> str:
    """Write a time span short: ``0.4 s``, ``12 s``, ``3 m``, ``2 h``, ``5 d``; nothing for None.

    >>> ago(0.41), ago(75), ago(7200)
    ('0.4 s', '1 m', '2 h')
    """
    if seconds is None:
        return ""
    for unit, name in ((DAY, "d"), (HOUR, "h"), (MINUTE, "m")):
        if seconds >= unit:
            return f"{seconds / unit:.0f} {name}" if seconds >= 10 * unit else f"{int(seconds / unit)} {name}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{max(0.0, seconds):.1f} s"  # noqa: PLR2004


def since(moment: datetime | None, now: int) -> str:
    """Write how long ago a moment was; ``now`` is Redis's clock, ms."""
    if moment is None:
        return ""
    seconds = now / 1000 - moment.timestamp()
    return ago(seconds) if seconds >= 0 else f"in {ago(-seconds)}"


def at(moment: datetime | None) -> str:
    """Write a moment in the local time zone, to the second."""
    return "" if moment is None else moment.astimezone().strftime("%Y-%m-%d %H:%M:%S %z")


def _cell(value: object) -> Text:
    text = "" if value is None else str(value)
    return Text(text, style=STYLES.get(text.partition(" ")[0], ""))
