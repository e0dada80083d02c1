"""``python -m benchmarks``: measure, print, write JSON, and draw."""

import json
import signal
import sys
from pathlib import Path
from types import FrameType

from rich.console import Console

from benchmarks.catalog import SYSTEMS, Role, System
from benchmarks.child import ChildFailed
from benchmarks.environments import PeerUnavailable, interpreter, versions
from benchmarks.machine import describe_machine
from benchmarks.options import Options, read
from benchmarks.plots import draw
from benchmarks.report import show
from benchmarks.results import Results, as_json
from benchmarks.runner import Plan, run
from benchmarks.scenarios.registry import SCENARIOS
from benchmarks.server import NoRedis, Server
from benchmarks.turn import Measured, Scale

_WIDTH = 150
_PACED = 80
_PACED_FULL = 1000


def main() -> int:
    """Run the benchmarks; returns 0 unless they could not be run. A bound that was missed is no error."""
    options = read()
    signal.signal(signal.SIGTERM, _end)  # an end that leaves neither Redis nor a system behind
    unavailable: list[str] = []
    plan = Plan(
        systems=_available(_chosen(options), unavailable),
        scenarios=[each for each in SCENARIOS if not options.scenarios or each.name in options.scenarios],
        scale=Scale(jobs=options.jobs, paced=_PACED_FULL if options.full else _PACED, full=options.full),
        rounds=options.rounds,
    )
    machine = describe_machine()
    try:
        with Server() as server:
            redis = server.version
            outcome = run(server, plan, home=Path(sys.executable), say=_say)
    except (NoRedis, ChildFailed) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    results = Results(outcome=outcome, plan=plan, machine=machine, redis=redis, unavailable=unavailable)
    console = Console(width=None if sys.stdout.isatty() else _WIDTH, highlight=False)
    show(console, results)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(as_json(results), indent=2, ensure_ascii=False) + "\n")
    console.print(f"\nall rounds: {options.json}")
    if options.plots is not None:
        try:
            for path in draw(options.json, options.plots):
                console.print(f"plot: {path}")
        except PeerUnavailable as error:
            console.print(f"no plots: {error}")
    return 0


def _end(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _chosen(options: Options) -> list[System]:
    return [
        system
        for system in SYSTEMS
        if (not options.only or system.name in options.only)
        and (options.peers or system.role is not Role.PEER)
    ]


def _available(systems: list[System], unavailable: list[str]) -> list[Measured]:
    measured: list[Measured] = []
    for system in systems:
        try:
            python = interpreter(system)
        except PeerUnavailable as error:
            unavailable.append(str(error))
            continue
        measured.append(Measured(system=system, python=python, versions=versions(system, python)))
    return measured


if __name__ == "__main__":
    sys.exit(main())
