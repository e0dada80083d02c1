"""What may be typed behind ``python -m benchmarks``."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.catalog import SYSTEMS
from benchmarks.scenarios.registry import SCENARIOS


class Options(argparse.Namespace):
    """What was typed."""

    jobs: int
    rounds: int
    full: bool
    only: list[str]
    scenarios: list[str]
    peers: bool
    json: Path
    plots: Path | None


def read(words: Sequence[str] | None = None) -> Options:
    """Read the command line.

    Args:
        words: It; that of this process by default.
    """
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure capelin beside its peers and its limits, in turns, on one Redis.",
    )
    parser.add_argument("--jobs", type=_count, default=4000, help="jobs to enqueue together and drain")
    parser.add_argument("--rounds", type=_count, default=3, help="how often it is each system's turn")
    parser.add_argument(
        "--full",
        action="store_true",
        help="every scenario in every round, and the long ones: backlogs, delayed jobs, idle workers",
    )
    parser.add_argument(
        "--only",
        type=_names([system.name for system in SYSTEMS]),
        default=[],
        metavar="NAME,NAME",
        help="only these systems, such as capelin,arq",
    )
    parser.add_argument(
        "--scenarios",
        type=_names([scenario.name for scenario in SCENARIOS]),
        default=[],
        metavar="NAME,NAME",
        help="only these: " + ", ".join(scenario.name for scenario in SCENARIOS),
    )
    parser.add_argument(
        "--no-peers", dest="peers", action="store_false", help="only capelin and its limits: installs nothing"
    )
    parser.add_argument(
        "--json", type=Path, default=Path("build/benchmarks.json"), help="where all rounds go"
    )
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="draw plots (SVG) into this folder")
    return parser.parse_args(words, namespace=Options())


def _count(text: str) -> int:
    count = int(text) if text.isascii() and text.isdigit() else 0
    if count < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return count


def _names(known: Sequence[str]) -> Callable[[str], list[str]]:
    by_word = {name.lower(): name for name in known}

    def names(text: str) -> list[str]:
        found: list[str] = []
        for word in text.split(","):
            name = by_word.get(word.strip().lower())
            if name is None:
                raise argparse.ArgumentTypeError(f"{word!r} is none of: {', '.join(by_word)}")
            found.append(name)
        return found

    return names
