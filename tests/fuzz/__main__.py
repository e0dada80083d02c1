"""`python -m tests.fuzz --cases 100000`: many cases; `--seed url:42` makes one of them again."""

import argparse
import sys
import time

import structlog

from tests.fuzz.targets import BENCHES, found, shares


def main() -> int:
    reader = argparse.ArgumentParser(prog="python -m tests.fuzz")
    reader.add_argument("--cases", type=int, default=100_000, help="in all")
    reader.add_argument("--only", choices=sorted(BENCHES), help="all cases of one kind")
    reader.add_argument("--seed", help="one case: KIND:NUMBER")
    given = reader.parse_args()
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())  # what is logged is not printed
    if given.seed:
        return min(_try(given.seed.partition(":")[0], [given.seed]), 1)
    wrong, total = 0, 0
    for name, cases in ({given.only: given.cases} if given.only else shares(given.cases)).items():
        began = time.monotonic()
        wrong += _try(name, [f"{name}:{number}" for number in range(cases)])
        total += cases
        _say(f"{name:10} {cases:9,} cases in {time.monotonic() - began:.0f} s")
    _say(f"{'all':10} {total:9,} cases, {wrong} failed")
    return min(wrong, 1)


def _try(name: str, seeds: list[str]) -> int:
    """Try cases of one kind; say which fail, and return how many."""
    bench = BENCHES[name]
    wrong = 0
    with bench.set_up() as target:
        for seed in seeds:
            if (what := found(target, seed, refuses=bench.refuses)) is not None:
                wrong += 1
                _say(f"--seed {seed} {what}")
    return wrong


def _say(line: str) -> None:
    sys.stdout.write(f"{line.encode(errors='backslashreplace').decode()}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
