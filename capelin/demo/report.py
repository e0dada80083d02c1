"""The demo's report: what became of every file and tick, and what to type next."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.text import Text

from capelin._tables import Column, table
from capelin.demo.files import library
from capelin.demo.fleet import LEASE_TTL
from capelin.demo.measure import Measures
from capelin.demo.outcome import Kill, Outcome
from capelin.demo.screen import Screen
from capelin.demo.ticked import report_ticks
from capelin.demo.ticking import Pulse, Ticks

_SLOWEST = 5
_MOST_DEAD = 15
_LONGEST_FILE = 34
_LONGEST_WHY = 48
_PLACE = re.compile(r" \([^()]+, line \d+\)$")


def report(
    screen: Screen,
    outcome: Outcome,
    ticks: Ticks,
    kill: Kill | None,
    pulses: Mapping[int, Pulse],
    *,
    url: str,
    keep: bool,
) -> None:
    """Print the report.

    Args:
        screen: Where.
        outcome: What became of the files.
        ticks: What became of the ticks.
        kill: The worker that was killed, if one was.
        pulses: What was seen of each lead, by its epoch.
        url: The demo's Redis.
        keep: Whether that stays until interrupted.
    """
    _accounting(screen, outcome)
    if kill is not None:
        _the_dead_worker(screen, outcome, kill)
    report_ticks(screen, ticks, kill, pulses)
    if outcome.measured:
        _findings(screen, outcome)
    if outcome.dead:
        _dlq(screen, outcome, url=url, keep=keep)


def _head(screen: Screen, text: str) -> None:
    screen.say()
    screen.say(Text(text, style="bold"))


def _accounting(screen: Screen, outcome: Outcome) -> None:
    _head(screen, "Every file accounted for" if outcome.complete else "NOT every file is accounted for")
    screen.say(f"  {outcome.files:>6,} files enqueued, one job each")
    screen.say(f"  {len(outcome.measured):>6,} measured")
    screen.say(f"  {len(outcome.dead):>6,} in the DLQ")
    screen.say(f"  {len(outcome.missing):>6,} missing, {len(outcome.repeated)} recorded twice")
    back = len(outcome.came_back)
    again = outcome.starts - outcome.files - back
    screen.say(f"  {outcome.starts:>6,} starts: {back} after the kill, {again} for another attempt")
    screen.say(f"  {outcome.seconds:>6,.1f} seconds")
    for path, why in list(outcome.missing.items())[:_MOST_DEAD]:
        screen.say(Text(f"         {_short(path)}: {why}", style="red"))
    for path in outcome.repeated[:_MOST_DEAD]:
        screen.say(Text(f"         {_short(path)}: recorded more than once", style="red"))


def _the_dead_worker(screen: Screen, outcome: Outcome, kill: Kill) -> None:
    _head(screen, f"{kill.name} was killed with SIGKILL after {kill.after:.1f} s, in the middle of its jobs")
    count = len(outcome.came_back)
    if count == 0:
        screen.say("  It had just finished what it ran, so nothing had to come back.")
        return
    fastest, slowest = outcome.came_back[0], outcome.came_back[-1]
    span = f"{fastest:.1f}" if f"{fastest:.1f}" == f"{slowest:.1f}" else f"{fastest:.1f} to {slowest:.1f}"
    jobs = "job" if count == 1 else "jobs"
    screen.say(f"  Its {count} {jobs} ran again, on other workers, {span} s after its death.")
    screen.say(f"  (The lease TTL is {LEASE_TTL:g} s here, so that you need not wait; the default is 6 s.)")


def _findings(screen: Screen, outcome: Outcome) -> None:
    found = outcome.measured.values()
    lines, code = sum(one.lines for one in found), sum(one.code for one in found)
    functions, classes = sum(one.functions for one in found), sum(one.classes for one in found)
    _head(screen, "What was measured")
    screen.say(f"  {lines:,} lines, {code:,} of them code; {functions:,} functions, {classes:,} classes;")
    complexity = sum(one.complexity for one in found)
    screen.say(f"  {complexity:,} paths through the functions, {complexity / max(1, functions):.1f} each.")
    path, hardest = max(outcome.measured.items(), key=lambda item: item[1].hardest_complexity)
    screen.say(f"  Most paths: {hardest.hardest}() of {_short(path)}, {hardest.hardest_complexity}.")
    _head(screen, "The slowest files")
    slowest = sorted(outcome.measured.items(), key=lambda item: item[1].seconds, reverse=True)[:_SLOWEST]
    screen.say(table(_SLOWEST_COLUMNS, [_slow_row(path, one) for path, one in slowest]))


_DEAD_COLUMNS = (Column("FILE", whole=True), Column("ATTEMPTS", right=True), Column("WHY"))
_SLOWEST_COLUMNS = (
    Column("FILE", whole=True),
    Column("SECONDS", right=True),
    Column("LINES", right=True),
    Column("FUNCTIONS", right=True),
    Column("CLASSES", right=True),
    Column("PATHS", right=True),
)


def _slow_row(path: str, one: Measures) -> Sequence[object]:
    return (
        _short(path),
        f"{one.seconds:.2f}",
        f"{one.lines:,}",
        f"{one.functions:,}",
        f"{one.classes:,}",
        f"{one.complexity:,}",
    )


def _dlq(screen: Screen, outcome: Outcome, *, url: str, keep: bool) -> None:
    _head(screen, "In the DLQ: what was made to fail, and the library's own examples of bad syntax")
    rows = [
        (_short(path), info.attempt, _why(info.error.message if info.error else "?"))
        for path, info in outcome.dead.items()
    ]
    screen.say(table(_DEAD_COLUMNS, rows[:_MOST_DEAD]))
    if len(rows) > _MOST_DEAD:
        screen.say(f"and {len(rows) - _MOST_DEAD} more")
    screen.say()
    screen.say(f"To run them again:  capelin dlq replay --all --redis {url}")
    if keep:
        screen.say("Redis and two workers go on until Ctrl-C; try also: capelin schedules --redis …")
    else:
        screen.say("This Redis ends now; `capelin demo --keep` leaves it running to try that.")


def _short(path: str) -> str:
    found = Path(path)
    text = str(found.relative_to(library())) if found.is_relative_to(library()) else found.name
    return text if len(text) <= _LONGEST_FILE else f"…{text[1 - _LONGEST_FILE :]}"


def _why(message: str) -> str:
    text = _PLACE.sub("", " ".join(message.removeprefix("not measurable: ").split()))
    return text if len(text) <= _LONGEST_WHY else f"{text[:_LONGEST_WHY]}…"
