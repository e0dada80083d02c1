"""Stealing: a worker with free slots looks into foreign shards for what has waited too long, whoever owns
it, dead or busy.

The probes of a whole fleet share a budget, so each worker's rate is its part of it: nobody coordinates, and
a large fleet asks no more than a small one. A shard needs no more than 20 probes a second for a job to wait
50 ms more on average. A worker looks into several shards at once, less often: to wake Redis up for one look
costs more than the look.
"""

import asyncio
import random
from collections.abc import Callable, Sequence

import structlog

from capelin.errors import CapelinError
from capelin.keys import ShardKeys
from capelin.workers.consumer import Consumer
from capelin.workers.ownership import Ownership

log = structlog.get_logger("capelin.worker")

_TICK = 0.05
_A_SHARD = 20.0
_TOGETHER = 8
_PATIENCE = 1.0
"""Seconds between its looks that a worker bears for having more of them together: the fleet may change."""


class Thief:
    """Probes of one worker.

    Args:
        shards: Returns all shards of the queues it serves, now.
        budget: Probes a second of the whole fleet.
        has_room: Whether the worker could run another job.
    """

    def __init__(
        self,
        consumer: Consumer,
        *,
        shards: Callable[[], Sequence[ShardKeys]],
        ownership: Ownership,
        budget: float,
        has_room: Callable[[], bool],
    ) -> None:
        self._consumer = consumer
        self._shards = shards
        self._ownership = ownership
        self._budget = budget
        self._has_room = has_room

    @property
    def rate(self) -> float:
        """Probes a second of this worker: its part of what the fleet may send, or needs."""
        fleet = min(self._budget, _A_SHARD * len(self._shards()))
        return fleet / (1 + self._ownership.idle_others)

    async def run(self) -> None:
        """Probe until cancelled."""
        owed = 0.0
        last = asyncio.get_running_loop().time()
        while True:
            # Jittered, so that the probes of a fleet spread over time.
            rate = self.rate
            together = max(1.0, min(_TOGETHER, len(self._foreign()), rate * _PATIENCE))
            await asyncio.sleep(max(_TICK, together / max(rate, 0.1)) * random.uniform(0.5, 1.5))  # noqa: S311
            now = asyncio.get_running_loop().time()
            owed = min(owed + rate * (now - last), max(together, rate))
            last = now
            foreign = self._foreign()
            count = min(int(owed), len(foreign))
            if count == 0 or not self._has_room():
                continue
            owed -= count
            try:
                await self._consumer.probe(random.sample(foreign, count))
            except CapelinError as error:
                log.debug("a probe failed", error=str(error))

    def _foreign(self) -> list[ShardKeys]:
        return [shard for shard in self._shards() if not self._ownership.owns(shard)]
