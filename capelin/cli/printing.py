"""What commands print: tables for people, JSON for programs."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from capelin._tables import Column, ago, at, cell, needed_width, since, table

__all__ = [
    "Column",
    "ago",
    "at",
    "print_details",
    "print_json",
    "print_line",
    "print_note",
    "print_rest",
    "print_table",
    "print_torn",
    "printed",
    "since",
]


def print_json(value: Any) -> None:
    """Print a value as JSON, for programs; moments as ISO 8601, enums as their values."""
    from pydantic_core import to_jsonable_python

    typer.echo(json.dumps(to_jsonable_python(value), indent=2, ensure_ascii=False))


def print_line(value: Any) -> None:
    """Print a value as JSON on one line."""
    from pydantic_core import to_jsonable_python

    typer.echo(json.dumps(to_jsonable_python(value), ensure_ascii=False))


def printed(value: Any, *, as_json: bool, as_lines: bool) -> bool:
    """Print a value for programs, if somebody asked for that; a line for each element of a list.

    Returns:
        Whether it was: people need nothing more then.
    """
    if as_lines:
        for each in value if isinstance(value, list) else [value]:  # pyright: ignore[reportUnknownVariableType]
            print_line(each)
    elif as_json:
        print_json(value)
    return as_lines or as_json


def print_table(columns: Sequence[Column], rows: Sequence[Sequence[object]]) -> None:
    """Print a table that fits the terminal, or 80 columns where there is none."""
    console = Console(highlight=False)
    # What people copy is never cut: a long id makes the table wider than the terminal.
    console.width = max(console.width, needed_width(columns, rows))
    console.print(table(columns, rows, width=console.width))


def print_details(title: str, rows: Sequence[tuple[str, object]]) -> None:
    """Print what is known of one thing, a line each; rows with nothing to say are left out."""
    console = Console(highlight=False)
    console.print(Text(title, style="bold"), soft_wrap=True)
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, style="dim")
    grid.add_column(overflow="fold")
    for name, value in rows:
        if value is not None and value != "":
            grid.add_row(f"  {name}", cell(value))
    console.print(grid)


def print_note(text: str, *, whole: bool = False) -> None:
    """Print a remark below a table, for people only: on standard error, where no pipe picks it up.

    Args:
        text: The remark.
        whole: Do not break its lines: there is something in it that people copy.
    """
    Console(stderr=True, highlight=False).print(Text(text, style="dim"), soft_wrap=whole)


def print_torn(torn: Mapping[str, str]) -> None:
    """Name on standard error what could not be read, for people and programs alike, if there is any.

    Raises:
        typer.Exit: With 1, if there is: what was printed or done is not all of it.
    """
    for why in dict.fromkeys(torn.values()):
        typer.echo(f"not read: {why}", err=True)
    if torn:
        raise typer.Exit(1)


def print_rest(scanned: int, cursor: str | None, *, narrow: bool) -> None:
    """Say below a listing how much of it was looked at, and where to go on."""
    looked = f"Looked at {scanned:,} {'entry' if scanned == 1 else 'entries'}"
    if cursor is not None:
        print_note(f"{looked}; there is more. To go on, add\n  --after {cursor}", whole=True)
    elif narrow:
        print_note(f"{looked}: that is all of them.")
