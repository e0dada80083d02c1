"""`python -m tests.mutation`: breaks the protocol in every named way, and shows which test notices.

With `--only "<name>"` one mutant is tried. A full run writes `docs/mutations.md`.
"""

# ruff: noqa: T201 -- a program that prints

import argparse
import queue
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.mutation.catalog import MUTANTS
from tests.mutation.mutants import Mutant
from tests.mutation.table import PAGE, read_killers, render
from tests.mutation.trial import Trial, Verdict, copy_project, run_trial

_LINES_SHOWN = 15


def try_all(mutants: list[Mutant], *, processes: int) -> list[Trial]:
    """Try mutants side by side, each in a copy that nobody else uses."""
    copies: queue.Queue[Path] = queue.Queue()
    trials: list[Trial] = []

    def try_one(mutant: Mutant) -> Trial:
        copy = copies.get()
        try:
            return run_trial(mutant, copy)
        finally:
            copies.put(copy)

    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(processes) as pool:
        for number in range(processes):
            copies.put(copy_project(Path(folder) / str(number)))
        for trial in pool.map(try_one, mutants):
            trials.append(trial)
            print(
                f"{trial.verdict.value:<9} {trial.seconds:5.1f} s  {trial.mutant:<58} {trial.killer or ''}",
                flush=True,
            )
            if trial.verdict is not Verdict.KILLED:
                print("\n".join(trial.output.splitlines()[-_LINES_SHOWN:]), flush=True)
    return trials


def main() -> int:
    """Read the command line; return 1 if a mutant was not noticed."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=sorted(MUTANTS), help="try these alone", metavar="NAME")
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    mutants = [MUTANTS[name] for name in given.only or MUTANTS]
    for mutant in mutants:
        mutant.check()
    begun = time.monotonic()
    trials = try_all(mutants, processes=given.processes)
    noticed = {
        trial.mutant: trial.killer for trial in trials if trial.killer and trial.verdict is Verdict.KILLED
    }
    missed = [trial for trial in trials if trial.verdict is not Verdict.KILLED]
    PAGE.write_text(render({**read_killers(), **noticed}))
    print(f"\n{len(trials)} mutants in {time.monotonic() - begun:.0f} s; {len(missed)} were not noticed")
    for trial in missed:
        print(f"  {trial.verdict.value}: make mutate ARGS='--only \"{trial.mutant}\"'")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
