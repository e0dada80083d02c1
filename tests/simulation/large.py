"""`python -m tests.simulation.large`: what a large fleet asks of Redis, counted under a virtual clock.

Beside each count stands what the timers explain, worked out on paper from the settings. Nobody has 500
machines at hand; whether so many poll, or more than one wakes for a job, shows here all the same.
"""

# ruff: noqa: T201 -- a program that prints

import argparse
import asyncio
import math
import sys
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest import mock

from capelin import Capelin
from capelin.lua.loader import load
from capelin.settings import Settings
from tests.simulation import loop as loop_module
from tests.simulation.loop import SimLoop
from tests.simulation.patches import simulated
from tests.simulation.server import SimRedis
from tests.simulation.session import Session
from tests.simulation.world import Pod, World

_OLDER_THAN = load("take").args.index("older_than")
_STARTED_WITHIN = 60.0


@dataclass(frozen=True, kw_only=True)
class Size:
    """A fleet.

    Attributes:
        workers: Each serves every queue.
        queues, shards: So many queues of so many shards.
        jobs: Enqueued one after another while the fleet is idle.
        seconds: For how long it is watched, before the jobs.
    """

    workers: int
    queues: int
    shards: int
    jobs: int = 100
    seconds: float = 10.0

    @property
    def all_shards(self) -> int:
        """The shards of all queues."""
        return self.queues * self.shards


@dataclass(frozen=True, kw_only=True)
class Counted:
    """What was asked of Redis: while nothing happened, and in the seconds with jobs; the starts."""

    idle: Counter[str]
    busy: Counter[str]
    busy_seconds: float
    started: int


def on_paper(size: Size, settings: Settings) -> dict[str, float]:
    """Commands a second of an idle fleet, by what they are."""
    beats, waits = 1 / settings.renew_interval, 1 / settings.block
    workers, shards = size.workers, size.all_shards
    return {
        "fleet_beat": workers * beats,  # each worker's sign of life
        "renew": shards * beats,  # each shard's lease, by its owner
        "BLPOP": min(workers, shards) * waits,  # each owner waits in one
        "take": shards * waits,  # and looks again after a wait in vain
        "XREAD": workers * waits,  # each worker's inbox
        "retain": shards / 10,  # each shard, by its owner
        "open_queue": workers * size.queues / 10,  # was a queue cut anew?
        "peek": min(settings.steal_budget, 20 * shards),  # of the whole fleet
        "lease_acquire": (workers - 1) * beats,  # may I lead?
        "lease_renew": beats,  # the leader
        "schedule_commit": beats,  # have the schedules changed?
    }


class _Idle(Pod):
    """A worker, or a client, of an app whose only task does nothing."""

    def __init__(self, world: World, slot: str, number: int, *, size: Size, settings: Settings) -> None:
        super().__init__(world, slot, number, 1)
        self.app = Capelin(f"redis://{self.name}.sim:6379/0", name="large", settings=settings)
        self.started: list[int] = []
        for queue in range(size.queues):
            self._add_task(f"queue{queue}")

    def _add_task(self, queue: str) -> None:
        @self.app.task(name=queue, queue=queue)
        async def note(number: int) -> None:
            self.started.append(number)


@contextmanager
def _counting(counts: Counter[str]) -> Generator[None]:
    run = SimRedis.run

    def counted(self: SimRedis, session: Session, command: list[bytes]) -> None:
        run(self, session, command)
        name = session.script_name or command[0].decode().upper()
        if name == "take" and command[3 + int(command[2]) + _OLDER_THAN]:
            name = "steal"
        counts[name] += 1

    with mock.patch.object(SimRedis, "run", counted):
        yield


def count(size: Size, settings: Settings, *, seed: int = 1) -> Counted:
    """Let a fleet of that size stand idle, then give it jobs."""
    return copy_context().run(_count, size, settings, seed)


def _count(size: Size, settings: Settings, seed: int) -> Counted:
    loop = SimLoop(seed)
    # The loop's callbacks take time, one after another: 500 pods would share the time of one CPU.
    with mock.patch.object(loop_module, "_A_CALLBACK", 1), simulated(loop, seed):
        try:
            return loop.run_until_complete(_watch(loop, size, settings, seed))
        finally:
            loop.close()


async def _watch(loop: SimLoop, size: Size, settings: Settings, seed: int) -> Counted:
    world = World(loop, seed, cluster=False)
    loop.set_exception_handler(lambda _, context: world.complain(context))
    counts: Counter[str] = Counter()
    with world.watched(), _counting(counts):
        pods = [
            _Idle(world, f"w{number}", number, size=size, settings=settings) for number in range(size.workers)
        ]
        try:
            for pod in pods:
                world.pods[pod.name] = pod
                pod.start_worker()
            await _settled(pods, size)
            await asyncio.sleep(
                2 * settings.lease_ttl
            )  # reaped, judged, read again: all that follows a start
            counts.clear()
            await asyncio.sleep(size.seconds)
            idle = Counter(counts)
            client = _Idle(world, "web", 0, size=size, settings=settings)
            await client.do(_enqueue(client, 0, size), "first")  # its connection, and what it asks at first
            await asyncio.sleep(settings.block)
            counts.clear()
            begun = loop.elapsed
            for number in range(1, size.jobs + 1):
                await client.do(_enqueue(client, number, size), "enqueue")
                await asyncio.sleep(0.02)
            # Whole waits: they end in bursts, of which one more or fewer would be most of what is counted.
            waits = math.ceil((loop.elapsed - begun) / settings.block) + 1
            await asyncio.sleep(begun + waits * settings.block - loop.elapsed)
            if world.history.problems:
                raise RuntimeError("; ".join(world.history.problems))
            return Counted(
                idle=idle,
                busy=Counter(counts),
                busy_seconds=loop.elapsed - begun,
                started=sum(len(pod.started) for pod in pods) - 1,
            )
        finally:
            await world.end()


async def _settled(pods: list[_Idle], size: Size) -> None:
    """Wait until every shard has an owner, and none has moved for two seconds."""
    shares: list[list[int]] = []
    for _ in range(round(_STARTED_WITHIN)):
        await asyncio.sleep(1.0)
        shares.append([0 if pod.worker is None else len(pod.worker.ownership.shards) for pod in pods])
        if sum(shares[-1]) == size.all_shards and shares[-3:] == [shares[-1]] * 3:
            return
    raise RuntimeError(f"after {_STARTED_WITHIN:g} s, shards are shared so: {shares[-1]}")


async def _enqueue(client: _Idle, number: int, size: Size) -> None:
    task: Any = client.app.tasks[f"queue{number % size.queues}"]
    await task.enqueue(number)


def main() -> int:
    """Read the command line, count, and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.large", description=__doc__)
    add = partial(parser.add_argument, type=int)
    add("--workers", default=500)
    add("--queues", default=50)
    add("--shards", default=64, help="of each queue")
    add("--jobs", default=100, help="enqueued one after another")
    add("--seconds", default=10, help="for which it is watched while idle")
    given = parser.parse_args()
    size, settings = Size(**vars(given)), Settings(shards=given.shards)
    counted = count(size, settings)
    paper = on_paper(size, settings)
    print(
        f"{size.workers} workers, {size.queues} queues of {size.shards} shards; commands a second at idle\n"
    )
    print(f"{'what':<18} {'counted':>10} {'on paper':>10}")
    for name in sorted({*counted.idle, *paper}, key=lambda name: -paper.get(name, 0)):
        print(f"{name:<18} {counted.idle[name] / size.seconds:>10,.1f} {paper.get(name, 0):>10,.1f}")
    print(
        f"{'all':<18} {counted.idle.total() / size.seconds:>10,.1f} {sum(paper.values()):>10,.1f}\n\n"
        f"{size.jobs} jobs, one after another: {counted.started} starts\n"
    )
    for name in ("enqueue", "BLPOP", "take", "finish"):
        beside = paper.get(name, 0) * counted.busy_seconds
        print(f"{name:<18} {(counted.busy[name] - beside) / size.jobs:>10,.2f} a job, beside what idle costs")
    return 0 if counted.started == size.jobs else 1


if __name__ == "__main__":
    sys.exit(main())
