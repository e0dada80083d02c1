"""`python -m tests.chaos --minutes 10`: breaks everything, and accounts for every job.

The minutes are shared out among the backends. The exit status is 1 when something was lost that may not be,
or is not explained. `--kills`, `--waits` and `--outages` measure one promise over and over instead.
"""

# ruff: noqa: T201 -- a program that prints

import argparse
import asyncio
import sys

from tests.chaos.backends import BACKENDS
from tests.chaos.measured.kills import measure_kills
from tests.chaos.measured.outages import measure_outages
from tests.chaos.measured.waits import measure_waits
from tests.chaos.report import report
from tests.chaos.run import Plan, Result, run_chaos


def say(text: str) -> None:
    """Tell how far it is."""
    print(text, file=sys.stderr, flush=True)


async def chaos(backends: list[str], plan: Plan) -> int:
    """Run chaos on some backends, one after the other; return the exit code."""
    results: list[Result] = []
    for name in backends:
        result = await run_chaos(BACKENDS[name], plan, say)
        results.append(result)
        print(f"\n{report([result])}\n", flush=True)
    if len(results) > 1:
        print(f"\n{report(results)}")
    return 0 if all(result.account.good for result in results) else 1


async def kills(count: int, ttl: float) -> int:
    """Kill workers; return the exit code."""
    measured = await measure_kills(count, ttl, say)
    print(f"\n{measured}")
    return 1 if measured.unexplained else 0


async def waits(rounds: int) -> int:
    """Let jobs wait for owners that are dead or full; return the exit code."""
    measured = await measure_waits(rounds, say)
    print(f"\n{measured}")
    return 0 if measured.good else 1


async def outages(count: int, longest: float) -> int:
    """Survive outages; return the exit code."""
    measured = await measure_outages(count, longest, say)
    print(f"\n{measured}")
    return 0 if measured.good else 1


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="of disturbances, on all backends together")
    parser.add_argument("--backends", default=",".join(BACKENDS), help="some of them")
    parser.add_argument("--seed", type=int, default=1, help="which disturbances; the machine adds its own")
    parser.add_argument("--rate", type=float, default=Plan.rate, help="jobs a second")
    parser.add_argument("--workers", type=int, default=Plan.workers, help="worker processes")
    parser.add_argument("--ttl", type=float, default=Plan.ttl, help="seconds, of leases and stakes")
    parser.add_argument("--min-replicas", type=int, default=0, help="copies that each enqueue waits for")
    parser.add_argument("--only", default="", help="these disturbances, such as kill_worker,cut_connections")
    parser.add_argument("--kills", type=int, help="kill so many workers (TTL 1 s), and measure")
    parser.add_argument("--waits", type=int, help="so many rounds of jobs that wait for owners, and measure")
    parser.add_argument("--outages", type=int, help="so many outages of Redis, and measure")
    parser.add_argument("--longest", type=float, default=60, help="seconds, of the outages")
    given = parser.parse_args()
    if given.kills:
        return asyncio.run(kills(given.kills, 1.0))
    if given.waits:
        return asyncio.run(waits(given.waits))
    if given.outages:
        return asyncio.run(outages(given.outages, given.longest))
    backends = given.backends.split(",")
    plan = Plan(
        seconds=given.minutes * 60 / len(backends),
        rate=given.rate,
        workers=given.workers,
        ttl=given.ttl,
        seed=given.seed,
        min_replicas=given.min_replicas,
        only=tuple(name for name in given.only.split(",") if name),
    )
    return asyncio.run(chaos(backends, plan))


if __name__ == "__main__":
    sys.exit(main())
