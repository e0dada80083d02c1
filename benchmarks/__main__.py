"""``python -m benchmarks``: measure, print, and write JSON."""

import argparse
import json
import sys
from pathlib import Path

from rich.console import Console

from benchmarks.catalog import SYSTEMS, Role, System
from benchmarks.child import ChildFailed
from benchmarks.environments import PeerUnavailable, interpreter, versions
from benchmarks.machine import describe_machine
from benchmarks.report import as_json, show
from benchmarks.runner import Measured, run
from benchmarks.server import NoRedis, Server

_WIDTH = 150


def main() -> int:
    """Run the benchmarks; returns 0 unless they could not be run. A bound that was missed is no error."""
    options = _options()
    chosen = _chosen(options.only, peers=options.peers)
    systems: list[Measured] = []
    unavailable: list[str] = []
    for system in chosen:
        try:
            python = interpreter(system)
        except PeerUnavailable as error:
            unavailable.append(str(error))
            continue
        systems.append(Measured(system=system, python=python, versions=versions(system, python)))
    machine = describe_machine()
    try:
        with Server() as server:
            redis = server.version
            outcome = run(
                server,
                systems,
                jobs=options.jobs,
                rounds=options.rounds,
                home=Path(sys.executable),
                say=lambda text: print(text, file=sys.stderr, flush=True),
            )
    except (NoRedis, ChildFailed) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    console = Console(width=None if sys.stdout.isatty() else _WIDTH, highlight=False)
    show(
        console,
        outcome,
        systems,
        machine=machine,
        redis=redis,
        jobs=options.jobs,
        rounds=options.rounds,
        unavailable=unavailable,
    )
    report = as_json(
        outcome,
        systems,
        machine=machine,
        redis=redis,
        jobs=options.jobs,
        rounds=options.rounds,
        unavailable=unavailable,
    )
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    console.print(f"\nall rounds: {options.json}")
    return 0


class _Options(argparse.Namespace):
    jobs: int
    rounds: int
    only: list[str]
    peers: bool
    json: Path


def _options() -> _Options:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure capelin beside its peers and its limits, in turns, on one Redis.",
    )
    parser.add_argument("--jobs", type=_count, default=10_000, help="jobs to enqueue together and drain")
    parser.add_argument("--rounds", type=_count, default=3, help="how often it is each system's turn")
    parser.add_argument(
        "--only", type=_names, default=[], metavar="NAME,NAME", help="only these systems, such as capelin,arq"
    )
    parser.add_argument(
        "--no-peers", dest="peers", action="store_false", help="only capelin and its limits: installs nothing"
    )
    parser.add_argument(
        "--json", type=Path, default=Path("build/benchmarks.json"), help="where all rounds go"
    )
    return parser.parse_args(namespace=_Options())


def _count(text: str) -> int:
    count = int(text) if text.isascii() and text.isdigit() else 0
    if count < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return count


def _names(text: str) -> list[str]:
    known = {system.name.lower(): system.name for system in SYSTEMS}
    names: list[str] = []
    for word in text.split(","):
        name = known.get(word.strip().lower())
        if name is None:
            raise argparse.ArgumentTypeError(f"{word!r} is none of: {', '.join(known)}")
        names.append(name)
    return names


def _chosen(only: list[str], *, peers: bool) -> list[System]:
    return [
        system
        for system in SYSTEMS
        if (not only or system.name in only) and (peers or system.role is not Role.PEER)
    ]


if __name__ == "__main__":
    sys.exit(main())
