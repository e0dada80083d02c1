"""How the demo looks while it runs: a live view on a terminal, a line now and then where there is none."""

from collections.abc import Mapping
from typing import Any, Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from capelin.demo.ticking import Pulse
from capelin.demo.watching import Glance, name_of

_LINES: Final = 10
"""How many lines tell of the way where there is no terminal."""

_BAR: Final = 30


class Screen:
    """Where the demo says what happens."""

    def __init__(self) -> None:
        self.console = Console(highlight=False)
        self._live: Live | None = None
        self._total = 0
        self._told = 0

    def say(self, text: RenderableType = "") -> None:
        """Print a line, or whatever rich prints; above the live view while there is one."""
        self.console.print(text, soft_wrap=isinstance(text, (str, Text)))

    def begin(self, total: int) -> None:
        """Begin to show how work goes on."""
        self._total = total
        if self.console.is_terminal:
            self._live = Live(console=self.console, refresh_per_second=8)
            self._live.start()

    def show(self, glance: Glance, pulse: Pulse, *, workers: Mapping[str, str], seconds: float) -> None:
        """Show how work stands.

        Args:
            glance: What Redis says of the work.
            pulse: What it says of the schedule.
            workers: What to say of each worker, by name.
            seconds: Since the work began.
        """
        if self._live is not None:
            self._live.update(self._view(glance, pulse, workers, seconds))
            return
        ended = glance.done + glance.dead
        while self._told < _LINES and ended * _LINES >= (self._told + 1) * self._total:
            self._told += 1
            if ended * _LINES < (self._told + 1) * self._total or self._told == _LINES:
                alive = sum(not state.startswith("killed") for state in workers.values())
                self.say(
                    f"{seconds:5.1f} s  {ended} of {self._total} files ({ended / self._total:.0%}), "
                    f"{glance.dead} dead, {alive} workers"
                )

    def end(self) -> None:
        """Leave the live view as it is."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _view(
        self, glance: Glance, pulse: Pulse, workers: Mapping[str, str], seconds: float
    ) -> RenderableType:
        ended = glance.done + glance.dead
        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            ProgressBar(total=max(1, self._total), completed=ended, width=_BAR),
            f"{ended}/{self._total} files",
            f"{seconds:.0f} s",
            f"{ended / seconds:.0f}/s" if seconds > 1 else "",
            Text(f"{glance.dead} dead", style="red") if glance.dead else "",
        )
        leader = None if pulse.leader is None else name_of(pulse.leader)
        grid = Table.grid(padding=(0, 2))
        for name, state in workers.items():
            cells: list[Any] = [Text(f"  {name}", style="bold"), _styled(state)]
            running = glance.running.get(name, 0)
            held = state.startswith("killed") and running
            cells.append(Text("leads", style="cyan") if name == leader and not held else "")
            cells.append(f"{running} {'in its dead hands' if held else 'running'}" if running else "")
            grid.add_row(*cells)
        return Group(bar, grid, _heartbeat(pulse))


def _heartbeat(pulse: Pulse) -> Text:
    if pulse.tick is None:
        return Text("")
    by = f" by {pulse.worker}" if pulse.worker is not None else ""
    return Text.assemble(("  tick ", "bold"), (f"{pulse.tick.astimezone():%H:%M:%S}", "cyan"), by)


def _styled(state: str) -> Text:
    return Text(state, style="red" if state.startswith("killed") else "green")
