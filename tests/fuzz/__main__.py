"""`python -m tests.fuzz --cases 100000`: many cases; `--seed url:42` makes one of them again."""

import argparse
import random
import sys
import time

from tests.fuzz.targets import TARGETS, found


def main() -> int:
    reader = argparse.ArgumentParser(prog="python -m tests.fuzz")
    reader.add_argument("--cases", type=int, default=100_000, help="in all")
    reader.add_argument("--seed", help="one case: TARGET:NUMBER")
    given = reader.parse_args()
    if given.seed:
        TARGETS[given.seed.partition(":")[0]](random.Random(given.seed))  # noqa: S311 -- a case, made again
        return 0
    wrong = 0
    for name, target in TARGETS.items():
        began, cases = time.monotonic(), given.cases // len(TARGETS) + 1
        for number in range(cases):
            if (what := found(target, f"{name}:{number}")) is not None:
                wrong += 1
                sys.stdout.write(f"{name}:{number} {what}\n")
        sys.stdout.write(f"{name:10} {cases:9,} cases in {time.monotonic() - began:.0f} s\n")
    return min(wrong, 1)


if __name__ == "__main__":
    sys.exit(main())
