"""``python -m benchmarks.metrics_cost``: what metrics cost a worker that drains a queue.

Each round is two processes, one that counts nothing and one with ``--http`` and a scrape every 5 seconds, in
turns on the same Redis, so that whatever the machine does meanwhile happens to both. What is compared is the
throughput from the first start to the last record, and the CPU time of the process in between.
"""

import argparse
import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from benchmarks.server import NoRedis, Server
from capelin import Capelin
from capelin.cli.running import fastest_loop
from capelin.logs import configure
from capelin.metrics.meter import NO_METER
from capelin.probes.server import Address
from capelin.probes.watch import Watch
from capelin.workers.worker import Worker

_ROOT = Path(__file__).parent.parent
_BATCH = 500
_LOOK = 0.001
_BOUND = 0.95


async def drain(url: str, jobs: int, *, counts: bool) -> dict[str, float]:
    """Enqueue jobs, then measure one worker until the last is recorded."""
    configure(level="warning")
    app = Capelin(url, name="metrics-cost")
    began: list[float] = []

    @app.task(name="noop")
    async def noop(number: int) -> None:
        if not began:
            began.extend((time.perf_counter(), time.process_time()))
        del number

    async with app:
        for first in range(0, jobs, _BATCH):
            await app.enqueue([noop.job(number) for number in range(first, min(first + _BATCH, jobs))])
        shards = [app.keys.shard("default", shard) for shard in range(app.settings.shards)]
        watch = Watch(app, http="127.0.0.1:0", reporting=None) if counts else None
        worker = Worker(app, meter=NO_METER if watch is None else watch.tally)
        async with contextlib.AsyncExitStack() as around:
            if watch is not None:
                await around.enter_async_context(watch.over(worker))
                await around.enter_async_context(_scraped(watch.address))
            running = asyncio.create_task(worker.run())
            await worker.started.wait()
            while worker.consumer.begun < jobs or len(worker.running):  # noqa: ASYNC110 -- nothing tells
                await asyncio.sleep(_LOOK)
            seconds, worked = time.perf_counter() - began[0], time.process_time() - began[1]
            finished = sum(
                await app.client().connection.commands([("ZCARD", one.finished) for one in shards])
            )
            if finished != jobs:
                raise RuntimeError(f"{finished} of {jobs} jobs are recorded")
            worker.stop()
            await running
    return {"throughput": jobs / seconds, "cpu": worked / jobs}


@contextlib.asynccontextmanager
async def _scraped(address: Address) -> AsyncGenerator[None]:
    """Have somebody else read the metrics meanwhile, as Prometheus does, and ask whether it lives."""
    program = (
        "import sys, time, urllib.request\n"
        "while True:\n"
        "    for path in ('/metrics', '/health/live'):\n"
        "        urllib.request.urlopen(sys.argv[1] + path).read()\n"
        "    print('scraped', flush=True)\n"
        "    time.sleep(5)\n"
    )
    words = [sys.executable, "-c", program, f"http://{address}"]
    scraper = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
    if scraper.stdout is None:
        raise RuntimeError("the scraper's output is not piped")
    await scraper.stdout.readline()  # what it takes to start is not what metrics cost
    try:
        yield
    finally:
        scraper.kill()
        await scraper.wait()


def _measure(url: str, jobs: int, *, counts: bool) -> dict[str, float]:
    words = [sys.executable, "-m", "benchmarks.metrics_cost", "--jobs", str(jobs), "--one", url]
    words += ["--counts"] if counts else []
    done = subprocess.run(words, cwd=_ROOT, check=True, capture_output=True, text=True)  # noqa: S603 -- our own
    answer: dict[str, float] = json.loads(done.stdout)
    return answer


def main() -> int:
    """Run it; returns 0 unless it could not be run. A bound that was missed is no error."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.metrics_cost", description=__doc__)
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--one", metavar="URL", help=argparse.SUPPRESS)
    parser.add_argument("--counts", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        with asyncio.Runner(loop_factory=fastest_loop()) as runner:
            print(json.dumps(runner.run(drain(options.one, options.jobs, counts=options.counts))))
        return 0
    found: dict[bool, list[dict[str, float]]] = {False: [], True: []}
    try:
        with Server() as server:
            for turn in range(options.rounds):
                for counts in (False, True) if turn % 2 == 0 else (True, False):
                    server.empty()
                    found[counts].append(_measure(server.url, options.jobs, counts=counts))
    except NoRedis as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    _show(found, options.jobs)
    return 0


def _show(found: dict[bool, list[dict[str, float]]], jobs: int) -> None:
    table = Table(
        title=f"drain of {jobs:,} no-op jobs, medians of {len(found[True])} rounds", title_justify="left"
    )
    for heading in ("", "jobs a second", "µs of CPU a job"):
        table.add_column(heading, justify="left" if not heading else "right")
    for counts, name in ((False, "without --http"), (True, "with --http, scraped every 5 s")):
        throughput, cpu = _median(found[counts], "throughput"), _median(found[counts], "cpu")
        table.add_row(name, f"{throughput:,.0f}", f"{cpu * 1e6:.1f}")
    console = Console(highlight=False)
    console.print(table)
    pairs = list(zip(found[False], found[True], strict=True))
    ratios = [counted["throughput"] / plain["throughput"] for plain, counted in pairs]
    verdict = "within" if median(ratios) >= _BOUND else "BEYOND"
    console.print(f"throughput with / without: {_spread(ratios)}: {verdict} the bound of {_BOUND}")
    console.print(
        f"CPU with / without: {_spread([counted['cpu'] / plain['cpu'] for plain, counted in pairs])}"
    )


def _spread(ratios: list[float]) -> str:
    return f"{median(ratios):.3f} ({min(ratios):.3f}-{max(ratios):.3f})"


def _median(rounds: list[dict[str, float]], name: str) -> float:
    return median([one[name] for one in rounds])


if __name__ == "__main__":
    sys.exit(main())
