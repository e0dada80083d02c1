"""A list on the screen. It keeps its cursor on what it was on, whatever comes and goes around it."""

from collections.abc import Mapping
from typing import ClassVar, Final

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.coordinate import Coordinate
from textual.widgets import DataTable

from capelin.top.grid import Drawn, Grid, Mood, Row

_STYLES: Final[Mapping[Mood, str]] = {
    Mood.PLAIN: "",
    Mood.QUIET: "dim",
    Mood.GOOD: "green",
    Mood.ODD: "yellow",
    Mood.BAD: "red",
}


class Listing(DataTable[Text]):
    """Shows grids.

    Args:
        id: Its name on the screen.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "select_cursor", "Look inside", key_display="⏎"),
    ]

    def __init__(self, *, id: str) -> None:  # noqa: A002 -- textual's word
        super().__init__(id=id, cursor_type="row", cell_padding=0)
        self._grid = Grid(headings=(), rows=())
        self._drawn = Drawn(names=(), lines=())

    @property
    def current(self) -> Row | None:
        """The row under the cursor."""
        rows, at = self._grid.rows, self.cursor_row
        return rows[at] if 0 <= at < len(rows) else None

    @property
    def empty(self) -> str:
        """What is to be said when there are no rows."""
        return "" if self._grid.rows else self._grid.empty

    def show_grid(self, grid: Grid, width: int) -> None:
        """Show a grid on a screen of that width."""
        before, self._grid = self._grid, grid
        drawn = grid.drawn(width)
        same_rows = [row.key for row in before.rows] == [row.key for row in grid.rows]
        if same_rows and drawn.names == self._drawn.names:
            self._change_cells(before, drawn)
        else:
            self._draw_anew(before, drawn)
        self._drawn = drawn

    def _change_cells(self, before: Grid, drawn: Drawn) -> None:
        for at, row in enumerate(self._grid.rows):
            moods_differ = row.mood is not before.rows[at].mood
            for column, text in enumerate(drawn.lines[at]):
                if moods_differ or text != self._drawn.lines[at][column]:
                    self.update_cell_at(Coordinate(at, column), Text(text, style=_STYLES[row.mood]))

    def _draw_anew(self, before: Grid, drawn: Drawn) -> None:
        cursor = self.cursor_row
        key = before.rows[cursor].key if 0 <= cursor < len(before.rows) else None
        top = self.scroll_y
        self.clear(columns=True)
        for name in drawn.names:
            self.add_column(Text(name), width=len(name) + 1)
        for row, line in zip(self._grid.rows, drawn.lines, strict=True):
            self.add_row(*(Text(text, style=_STYLES[row.mood]) for text in line))
        keys = [row.key for row in self._grid.rows]
        place = keys.index(key) if key in keys else min(cursor, len(keys) - 1)
        if place > 0:
            self.move_cursor(row=place, animate=False)
            self.scroll_to(y=top, animate=False)
