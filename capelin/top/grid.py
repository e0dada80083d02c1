"""What a list shows, as values: headings that fit a width, and rows of text."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from capelin.top.words import cut

_GAP: Final = 1


class Mood(StrEnum):
    """How a row strikes the eye."""

    PLAIN = "plain"
    QUIET = "quiet"
    """Nothing happens there."""
    GOOD = "good"
    ODD = "odd"
    """Somebody should know: paused, retired, waiting for long."""
    BAD = "bad"
    """Somebody should act."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """A column.

    Attributes:
        name: What stands above it.
        width: In characters. The least for one that grows.
        right: Figures, which stand right.
        grows: Its part of what the screen has beyond the others' need; 0 for a fixed width.
        from_width: It is shown on screens that are at least so wide.
    """

    name: str
    width: int
    right: bool = False
    grows: int = 0
    from_width: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row.

    Attributes:
        key: What it is about: a queue, a worker, a job's id. Empty: nothing can be done with it.
        cells: A text for each heading.
        mood: How it strikes the eye.
        detail: All that is known of it, in a line.
    """

    key: str
    cells: tuple[str, ...]
    mood: Mood = Mood.PLAIN
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A list as it is shown.

    Attributes:
        headings: Its columns.
        rows: Its rows.
        empty: What is said when there are none.
    """

    headings: tuple[Heading, ...]
    rows: tuple[Row, ...]
    empty: str = ""

    def drawn(self, width: int) -> "Drawn":
        """Return what of it is drawn on a screen of that width."""
        shown = [at for at, heading in enumerate(self.headings) if width >= heading.from_width]
        headings = [self.headings[at] for at in shown]
        widths = _widths(headings, width)

        def line(texts: Sequence[str]) -> tuple[str, ...]:
            return tuple(map(_aligned, texts, headings, widths))

        return Drawn(
            names=line([heading.name for heading in headings]),
            lines=tuple(line([row.cells[at] for at in shown]) for row in self.rows),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A list that fits its screen: every text has the width of its column.

    Attributes:
        names: The headings.
        lines: The cells of each row.
    """

    names: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]


def _widths(headings: Sequence[Heading], width: int) -> list[int]:
    widths = [heading.width for heading in headings]
    shares = sum(heading.grows for heading in headings)
    spare = width - sum(widths) - _GAP * len(widths)
    if shares and spare > 0:
        widths = [
            size + spare * heading.grows // shares for size, heading in zip(widths, headings, strict=True)
        ]
    return widths


def _aligned(text: str, heading: Heading, width: int) -> str:
    line = cut(text, width)
    return line.rjust(width) if heading.right else line.ljust(width)
