"""How far a long repair is: a bar on standard error, where there is a terminal to draw it on."""

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from capelin.admin import Repaired


@contextmanager
def bar(what: str, total: int, *, quiet: bool = False) -> Generator[Callable[["Repaired"], None]]:
    """Draw a bar; what this gives is told how far it is.

    Args:
        what: Is being done.
        total: To how many jobs.
        quiet: Draw nothing.
    """
    if quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda so_far: progress.update(task, completed=so_far.total)


@contextmanager
def spinner(what: str, *, quiet: bool = False) -> Generator[Callable[[str], None]]:
    """Show that something goes on; what this gives changes the words."""
    if quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console

    with Console(stderr=True).status(what) as status:
        yield status.update
