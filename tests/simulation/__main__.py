"""`python -m tests.simulation --seeds 1000`: plays seeds, and shows what fails.

`--seed N` plays one, and prints its scenario and its trace; `--shrink` looks for the smallest scenario that
still fails. `--break "<name>"` breaks the protocol on purpose, to see that it is found.
"""

# ruff: noqa: T201 -- a program that prints

import argparse
import gc
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from tests.simulation.breaking import BREAKS
from tests.simulation.coverage import Coverage
from tests.simulation.drawing import draw
from tests.simulation.run import Outcome, run
from tests.simulation.shrink import shrink

_AT_ONCE = 20


def play(seed: int, broken: str | None = None) -> Outcome:
    """Play one seed."""
    return run(draw(seed), broken=None if broken is None else BREAKS[broken]())


def show(outcome: Outcome) -> str:
    """A failure for people."""
    lines = [str(outcome.scenario), "", *outcome.trace, ""]
    lines += [f"!! {problem}" for problem in outcome.problems] or ["every guarantee held"]
    return "\n".join(lines)


def play_one(seed: int, *, broken: str | None, smallest: bool) -> int:
    """Play a seed and print everything; return the exit code."""
    outcome = play(seed, broken)
    if outcome.problems and smallest:
        outcome = shrink(
            outcome,
            lambda scenario: run(scenario, broken=None if broken is None else BREAKS[broken]()),
            say=lambda text: print(text, file=sys.stderr),
        )
    print(show(outcome))
    return 1 if outcome.problems else 0


def play_many(first: int, count: int, *, processes: int, broken: str | None) -> int:
    """Play many seeds side by side, and print a summary; return the exit code."""
    begun = time.monotonic()
    coverage = Coverage()
    failed: list[int] = []
    virtual = 0.0
    done = 0
    # What is there before the first play stays; to look through it after each one would take time.
    with ProcessPoolExecutor(processes, initializer=gc.freeze) as pool:
        seeds = range(first, first + count)
        for outcome in pool.map(
            partial(play, broken=broken), seeds, chunksize=min(_AT_ONCE, max(1, count // 8))
        ):
            done += 1
            virtual += outcome.virtual
            coverage.add(outcome)
            if outcome.problems:
                failed.append(outcome.scenario.seed)
                print(f"seed {outcome.scenario.seed}: {outcome.problems[0]}", flush=True)
    seconds = time.monotonic() - begun
    print(f"\n{coverage}")
    print(
        f"\n{done:,} seeds, {virtual / 3600:.1f} simulated hours in {seconds:.0f} s "
        f"({done / seconds * 60:.0f} seeds a minute); {len(failed)} failed"
    )
    for seed in failed[:10]:
        print(f"  see it again: python -m tests.simulation --seed {seed} --shrink")
    return 1 if failed else 0


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="play this one, and print its trace")
    parser.add_argument("--shrink", action="store_true", help="look for the smallest scenario that fails")
    parser.add_argument("--seeds", type=int, default=100, help="how many to play")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument(
        "--break", dest="broken", choices=sorted(BREAKS), help="break the protocol on purpose"
    )
    given = parser.parse_args()
    if given.seed is not None:
        return play_one(given.seed, broken=given.broken, smallest=given.shrink)
    return play_many(given.first, given.seeds, processes=given.processes, broken=given.broken)


if __name__ == "__main__":
    sys.exit(main())
