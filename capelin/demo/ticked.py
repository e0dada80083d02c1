"""The demo's report on its schedule: each tick once, and how long nobody led."""

from collections.abc import Mapping

from rich.text import Text

from capelin.demo.outcome import Kill
from capelin.demo.screen import Screen
from capelin.demo.ticking import Pulse, Ticks
from capelin.demo.watching import name_of

_LATE = 0.5
"""Seconds; a tick's job that comes later is told of."""
_MOST_TOLD = 15


def report_ticks(screen: Screen, ticks: Ticks, kill: Kill | None, pulses: Mapping[int, Pulse]) -> None:
    """Print what became of the ticks.

    Args:
        screen: Where.
        ticks: What became of them.
        kill: The leader that was killed, if one was.
        pulses: What was seen of each lead, by its epoch.
    """
    screen.say()
    screen.say(Text(f"{'Each' if ticks.complete else 'NOT each'} tick fired once", style="bold"))
    span = (
        f", {ticks.first.astimezone():%H:%M:%S} to {ticks.last.astimezone():%H:%M:%S}"
        if (ticks.first is not None and ticks.last is not None)
        else ""
    )
    screen.say(f"  {ticks.due:>6,} ticks fell due{span}")
    screen.say(f"  {ticks.due - len(ticks.missing):>6,} ran: {_by(ticks)}")
    screen.say(f"  {len(ticks.missing):>6,} missing, {len(ticks.twice)} fired twice, {ticks.skipped} skipped")
    for one, why in list(ticks.missing.items())[:_MOST_TOLD]:
        screen.say(Text(f"         {one.astimezone():%H:%M:%S}: {why}", style="red"))
    for one in ticks.twice[:_MOST_TOLD]:
        screen.say(
            Text(f"         {one.astimezone():%H:%M:%S}: fired twice, or when nothing was due", style="red")
        )
    if kill is not None:
        _vacancy(screen, ticks, kill, pulses)


def _vacancy(screen: Screen, ticks: Ticks, kill: Kill, pulses: Mapping[int, Pulse]) -> None:
    later = sorted(epoch for epoch in pulses if epoch > kill.epoch)
    if not later:
        screen.say(Text(f"  {kill.name} led until it was killed, and nobody since.", style="red"))
        return
    successor = name_of(pulses[later[0]].leader or "?")
    screen.say(
        f"  {kill.name} led until it was killed. Nobody led for {(later[0] - kill.at) / 1000:.1f} s, "
        f"then {successor} did."
    )
    late = sum(seconds > _LATE for seconds in ticks.late)
    if late:
        ran = "tick" if late == 1 else "ticks"
        screen.say(f"  {late} {ran} fired more than {_LATE:g} s late, {ticks.late[-1]:.1f} s at most.")


def _by(ticks: Ticks) -> str:
    return ", ".join(f"{count} on {name}" for name, count in sorted(ticks.run_by.items())) or "none"
