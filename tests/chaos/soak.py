"""`python -m tests.chaos.soak --minutes 120`: does anything grow, that should not?

Two workers live through steady load of every kind while their connections are cut again and again. Memory of
workers and Redis, descriptors, threads and tasks are sampled; in the end nothing may be left of any job.
"""

# ruff: noqa: T201 -- a program that prints

import argparse
import asyncio
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import psutil

from capelin import Capelin
from capelin.errors import CapelinError
from capelin.settings import Settings
from tests.chaos.apps import duties
from tests.chaos.backends import AppendOnly
from tests.chaos.pods import Pod, Pods, Release
from tests.chaos.report import table
from tests.support.leaks import find_leaks
from tests.support.ledger import Ledger
from tests.support.processes import Processes
from tests.support.resp import texts
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until

WORKERS = 2
OURS = Settings(retention=2, resend_window=6, enqueue_timeout=2, socket_timeout=3)
"""Records go after seconds, so that what remains for longer is a leak. Clients have them, too: who cancels
what waits says for how long its record stays.
"""
SETTINGS = {
    f"CAPELIN_{name.upper()}": str(getattr(OURS, name))
    for name in ("retention", "resend_window", "enqueue_timeout", "socket_timeout")
}
RATE = 40.0
CUT_EVERY = 3.0
WARM_UP = 8.0
SAMPLES = 60
"""At least so many, and one a second at most."""
MAY_GROW = 0.04
MAY_GROW_BYTES = 3_000_000
"""By so much, or by that part, the larger of both: Python and Redis keep what they once had."""
FEW = 3
"""Descriptors, threads and tasks by which two moments may differ."""
GONE_WITHIN = 90.0


@dataclass(frozen=True, kw_only=True)
class Counted:
    """What a process that has nothing to do holds."""

    descriptors: int
    threads: int
    tasks: int


@dataclass(kw_only=True)
class Soak:
    """What was found.

    Attributes:
        memory: Bytes by name, one a sample.
        before, after: Of each worker at rest, before the load and when it was over.
        cuts: How often all connections were cut.
        jobs: How many starts there were.
    """

    memory: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    before: dict[str, Counted] = field(default_factory=dict[str, Counted])
    after: dict[str, Counted] = field(default_factory=dict[str, Counted])
    cuts: int = 0
    jobs: int = 0
    problems: list[str] = field(default_factory=list[str])

    def judge(self) -> None:
        """Add what has grown to the problems."""
        for name, samples in self.memory.items():
            first, last = self.middle_and_end(samples)
            if last - first > max(MAY_GROW_BYTES, MAY_GROW * first):
                self.problems.append(f"the memory of {name} grew from {first:,.0f} to {last:,.0f} bytes")
        for name, before in self.before.items():
            after = self.after[name]
            for what in ("descriptors", "threads", "tasks"):
                had, has = getattr(before, what), getattr(after, what)
                if has > had + FEW:
                    self.problems.append(f"{name} has {has} {what} at rest, and had {had}")

    @staticmethod
    def middle_and_end(samples: list[int]) -> tuple[float, float]:
        """The medians of the second and of the last third."""
        third = max(1, len(samples) // 3)
        return median(samples[third : 2 * third] or samples), median(samples[-third:])

    def __str__(self) -> str:
        rows: list[list[str]] = []
        for name, samples in self.memory.items():
            first, last = (f"{size / 1e6:.1f} MB" for size in self.middle_and_end(samples))
            before, after = self.before.get(name), self.after.get(name)
            held = ["", ""] if before is None or after is None else [_held(before), _held(after)]
            rows.append([name, first, last, *held])
        heads = ["", "memory, second third", "last third", "descriptors, threads, tasks before", "after"]
        facts = f"{self.jobs:,} starts; all connections were cut {self.cuts:,} times"
        return "\n\n".join([table(heads, rows), facts, *(f"PROBLEM: {problem}" for problem in self.problems)])


def _held(counted: Counted) -> str:
    return f"{counted.descriptors}, {counted.threads}, {counted.tasks}"


async def soak(seconds: float) -> Soak:
    """Let a fleet work for so long."""
    found = Soak()
    with (
        tempfile.TemporaryDirectory(prefix="capelin-soak-") as folder,
        AppendOnly() as backend,
        Processes() as processes,
    ):
        ledger = Ledger(Path(folder) / "ledger")
        pods = Pods(processes, url=backend.url, ledger=ledger, ttl=2.0, settings=SETTINGS)
        await asyncio.gather(*(pods.start(Release.TWO) for _ in range(WORKERS)))
        await _load(found, backend, pods, WARM_UP, sampled=False)
        await _rest(backend, pods)
        found.before = {pod.id: await _count(pod, pods, ledger) for pod in pods.working}
        await _load(found, backend, pods, seconds, sampled=True)
        await _rest(backend, pods)
        found.after = {pod.id: await _count(pod, pods, ledger) for pod in pods.working}
        await _nothing_left(found, backend.server)
        for pod in pods.working:
            if await pods.end(pod) != 0:
                found.problems.append(f"{pod.id} did not end well:\n{pod.child.output[-2000:]}")
        found.jobs = len(ledger.lines("start"))
    found.judge()
    return found


async def _load(found: Soak, backend: AppendOnly, pods: Pods, seconds: float, *, sampled: bool) -> None:
    pods.start_producer(rate=RATE, seed=7)
    pause = max(1.0, seconds / 3600) if seconds > SAMPLES else seconds / SAMPLES
    ends = time.time() + seconds
    next_cut = time.time() + CUT_EVERY
    async with Capelin(backend.url, settings=OURS) as app:
        app.include(duties.tasks)
        while time.time() < ends:
            turn = asyncio.create_task(_wait_and_cancel(app))
            await asyncio.sleep(pause)
            if time.time() > next_cut:
                next_cut += CUT_EVERY
                backend.network.cut()
                found.cuts += 1
            await turn
            if sampled:
                for pod in pods.working:
                    memory = psutil.Process(pod.child.pid).memory_info().rss
                    found.memory.setdefault(pod.id, []).append(memory)
                used = backend.server.info("memory")["used_memory"]
                found.memory.setdefault("Redis", []).append(int(used))
    if pods.producer is not None:
        pods.producer.terminate()
        if await pods.producer.wait(timeout=60) != 0:
            found.problems.append(f"the producer died:\n{pods.producer.output[-2000:]}")


async def _wait_and_cancel(app: Capelin) -> None:
    """What leaves subscriptions and flags behind, if anything does."""
    try:
        quick, long = await app.enqueue([duties.quick.job(1), duties.lasting.job(60.0)])
        await quick.result(timeout=5)
        await long.cancel()
    except (CapelinError, TimeoutError):
        pass  # its connection was cut


async def _rest(backend: AppendOnly, pods: Pods) -> None:
    """Return once nothing is waiting and nothing runs, but for what a schedule does."""

    def idle() -> bool:
        with backend.server.connect() as redis:
            keys = [
                key for queue in duties.QUEUES for key in texts(redis("KEYS", f"capelin:{{{queue}:*}}:s*"))
            ]
            streams = [("XLEN", key) for key in keys if ":stream:" in key]
            sets = [("ZCARD", key) for key in keys if key.endswith((":scheduled", ":stakes"))]
            return not any(redis.pipeline(*streams, *sets))

    await wait_until(idle, description="the fleet to be at rest", timeout=GONE_WITHIN)
    if not all(pod.child.running for pod in pods.working):
        raise AssertionError("a worker died")


async def _count(pod: Pod, pods: Pods, ledger: Ledger) -> Counted:
    process = psutil.Process(pod.child.pid)
    counted = len(ledger.lines("tasks"))
    pods.count_tasks(pod)
    await wait_until(lambda: len(ledger.lines("tasks")) > counted, description="a worker to count its tasks")
    tasks = [int(number) for pid, number in ledger.lines("tasks") if int(pid) == pod.child.pid]
    return Counted(descriptors=process.num_fds(), threads=process.num_threads(), tasks=tasks[-1])


async def _nothing_left(found: Soak, server: RedisServer) -> None:
    """No record of any job stays, and no key without a TTL or an owner."""

    def records() -> list[str]:
        return [
            key for queue in duties.QUEUES for key in texts(server.command("KEYS", f"*{{{queue}:*}}:job:*"))
        ]

    try:
        await wait_until(lambda: not records(), description="every record to be gone", timeout=GONE_WITHIN)
    except AssertionError:
        left = records()
        found.problems.append(f"{len(left)} records stay")
        found.problems += [f"{key}: {texts(server.command('HGETALL', key))}" for key in left[:5]]
    with server.connect() as redis:
        found.problems += find_leaks(redis)


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=120)
    found = asyncio.run(soak(parser.parse_args().minutes * 60))
    print(found)
    return 1 if found.problems else 0


if __name__ == "__main__":
    sys.exit(main())
