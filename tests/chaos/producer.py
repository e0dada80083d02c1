"""A process that enqueues all the time, and notes what was confirmed to it: `python -m tests.chaos.producer`.

SIGTERM lets it end what it has begun. Killed, it leaves jobs behind that nobody confirmed: they may exist.
"""

import argparse
import asyncio
import random
import signal
import time
from typing import Any

from capelin import Priority
from capelin.errors import CapelinError, EnqueueError, NotReplicated
from capelin.jobs import Job
from capelin.requests import JobRequest
from tests.chaos.apps import duties, release_two
from tests.support.ledger import Ledger

TURN = 0.1
"""Seconds between two calls."""
AT_ONCE = 40
"""Calls that may wait for Redis at a time."""
KEYS = 50
"""Dedupe keys in use."""
PRIORITIES: tuple[Priority, ...] = tuple(Priority)


class Producer:
    """Enqueues at a rate, in calls of several jobs."""

    def __init__(self, *, rate: float, seed: int) -> None:
        self._rate = rate
        self._chance = random.Random(seed)  # noqa: S311 -- it is to be repeatable
        self._ledger = Ledger.here()
        self._calls: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self._number = 0

    def stop(self) -> None:
        """Begin no further call."""
        self._stopping.set()

    async def run(self) -> None:
        """Enqueue until stopped."""
        owed = 0.0
        async with release_two.app:
            while not self._stopping.is_set():
                owed = min(owed + self._rate * TURN, self._rate)
                if len(self._calls) < AT_ONCE and owed >= 1:
                    requests = [self._request() for _ in range(int(owed))]
                    owed -= len(requests)
                    call = asyncio.create_task(self._enqueue(requests))
                    self._calls.add(call)
                    call.add_done_callback(self._calls.discard)
                try:
                    async with asyncio.timeout(TURN):
                        await self._stopping.wait()
                except TimeoutError:
                    pass
            await asyncio.gather(*self._calls)

    async def _enqueue(self, requests: list[JobRequest[Any]]) -> None:
        try:
            jobs = await release_two.app.enqueue(requests)
        except EnqueueError as error:
            self._ledger.note("refused", len(error.unsent), time.time(), type(error.causes[0]).__name__)
            jobs = error.enqueued
        except NotReplicated as error:  # they exist; but nobody was told that they stay
            self._ledger.note("refused", len(error.lacking), time.time(), type(error).__name__)
            lacking = {job.id for job in error.lacking}
            jobs = [job for job in error.jobs if job.id not in lacking]
        except CapelinError as error:
            self._ledger.note("refused", len(requests), time.time(), type(error).__name__)
            return
        now = time.time()
        for job in jobs:
            self._confirmed(job, now)

    def _confirmed(self, job: Job[Any], now: float) -> None:
        self._ledger.note("merged" if job.duplicate else "accepted", job.id, now)

    def _request(self) -> JobRequest[Any]:  # noqa: PLR0911 -- one kind of job after the other
        chance, self._number = self._chance, self._number + 1
        priority = chance.choice(PRIORITIES)
        match chance.choices(range(8), weights=(52, 15, 8, 5, 5, 4, 4, 7))[0]:
            case 1:
                return duties.lasting.options(priority=priority).job(chance.uniform(0.05, 3))
            case 2:
                return duties.threaded.options(priority=priority).job(chance.uniform(0.01, 0.4))
            case 3:
                return duties.failing.options(priority=priority).job(self._number)
            case 4:
                return release_two.greet.job("bob")
            case 5:
                return release_two.greet.job("bob", loud=True)
            case 6:
                return release_two.later.job(self._number)
            case 7 if chance.random() < 0.5:
                return duties.quick.options(delay=chance.uniform(0.1, 3)).job(self._number)
            case 7:
                key = str(chance.randrange(KEYS))
                return duties.lasting.options(dedupe_key=key).job(chance.uniform(0.05, 1))
            case _:
                return duties.quick.options(priority=priority).job(self._number)


async def _main(rate: float, seed: int) -> None:
    producer = Producer(rate=rate, seed=seed)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, producer.stop)
    await producer.run()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.producer", description=__doc__)
    parser.add_argument("--rate", type=float, required=True, help="jobs a second")
    parser.add_argument("--seed", type=int, required=True)
    given = parser.parse_args()
    asyncio.run(_main(given.rate, given.seed))
