"""Is a worker alive? Asked from another thread, so that a blocked event loop is seen.

The classic silent death: the process is there, its connections are open, its leases are renewed, and it takes
nothing. So it is not asked how it feels: what counts is that work is ready in a shard of its own, slots are
free, and it begins nothing.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final

import structlog

from capelin.connection import Connection
from capelin.errors import CapelinError
from capelin.keys import ShardKeys
from capelin.lua.looking import Survey, survey
from capelin.probes.answers import Check
from capelin.workers.worker import Worker

log = structlog.get_logger("capelin.worker")

_BEAT: Final = 0.25
_LOOK_EVERY: Final = 2.0
_SHARDS_A_LOOK: Final = 50
_SHOWN_FOR: Final = 15.0
_READY_FOR: Final = 1000
"""ms that work has been ready before anybody wonders."""


class Vitals:
    """Watches one worker's event loop and consumer. Run it on another event loop.

    Args:
        worker: The worker.
        post: Runs a function on the worker's event loop.
        limit: Seconds for which the loop, or the consumer, may stand still.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        worker: Worker,
        *,
        post: Callable[[Callable[[], None]], None],
        limit: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._worker, self._post, self._limit, self._clock = worker, post, limit, clock
        self._sent: float | None = None
        self._lags: deque[tuple[float, float]] = deque(maxlen=int(_SHOWN_FOR / _BEAT) + 1)
        self._begun: int = -1
        self._begun_at = clock()
        self._idle_since: float | None = None
        self._where = ""
        self._turn = 0

    # Watching.

    async def beat(self) -> None:
        """Measure the event loop's lag until cancelled."""
        while True:
            if self._sent is None:
                self._sent = self._clock()
                self._post(self._answered)
            self._note_begun()
            await asyncio.sleep(_BEAT)

    async def look(self, connection: Connection) -> None:
        """Look for work that the worker leaves lying, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            try:
                await self.look_once(connection)
            except CapelinError:  # whether Redis is there is another question
                self._idle_since = None
            except Exception:
                log.exception("a bug of capelin: it cannot be seen whether work is left lying")
                self._idle_since = None

    async def look_once(self, connection: Connection) -> None:
        """Look whether work waits that the worker could begin, and does not."""
        begun = self._note_begun()
        looked = self._clock()
        lying = None if looked - self._begun_at < _LOOK_EVERY else await self._left_lying(connection)
        if lying is None or self._note_begun() != begun:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = looked
        self._where = "" if lying is None else str(lying)

    def _answered(self) -> None:  # on the worker's event loop
        sent, self._sent = self._sent, None
        if sent is not None:
            now = self._clock()
            self._lags.append((now, now - sent))

    def _note_begun(self) -> int:
        begun: int = self._worker.consumer.begun if self._worker.started.is_set() else 0
        if begun != self._begun:
            self._begun, self._begun_at = begun, self._clock()
        return begun

    async def _left_lying(self, connection: Connection) -> ShardKeys | None:
        shards = self._shards_with_room()
        if not shards:
            return None
        for shard, found in zip(
            shards, await connection.run_many([survey(shard) for shard in shards]), strict=True
        ):
            if isinstance(found, Survey) and _has_ready_work(found):
                return shard
        return None

    def _shards_with_room(self) -> list[ShardKeys]:
        slots = self._worker.slots
        if slots is None or self._worker.stopping or not self._worker.started.is_set():
            return []
        # Slots that are promised to a take count as free: a take that is never answered must not hide this.
        free = {pool: slots.sizes[pool] - slots.used[pool] for pool in slots.sizes}
        owned = self._worker.ownership.shards
        suspect = [shard for shard in owned if str(shard) == self._where]
        begin = self._turn % max(1, len(owned))
        self._turn += _SHARDS_A_LOOK
        seen = dict.fromkeys([*suspect, *(owned[begin:] + owned[:begin])[:_SHARDS_A_LOOK]])
        return [shard for shard in seen if all(free[pool] > 0 for pool in slots.pools_of(shard.queue))]

    # Asked.

    @property
    def lag(self) -> float:
        """The longest that a callback waited on the event loop in the last seconds, or has waited so far."""
        now = self._clock()
        recent = [lag for at, lag in list(self._lags) if now - at <= _SHOWN_FOR]
        return max([*recent, self._standing_still], default=0.0)

    @property
    def _standing_still(self) -> float:
        sent = self._sent
        return 0.0 if sent is None else self._clock() - sent

    def checks(self) -> list[Check]:
        """Return whether the worker lives."""
        return [self._event_loop(), self._services(), self._consumer()]

    def _event_loop(self) -> Check:
        blocked = self._standing_still
        if blocked > self._limit:
            return Check(name="event_loop", ok=False, detail=f"it has made no progress for {blocked:.1f} s")
        return Check(name="event_loop", ok=True)

    def _services(self) -> Check:
        failure = self._worker.failure
        if failure is not None:
            return Check(name="services", ok=False, detail=f"{failure}; the worker ends")
        return Check(name="services", ok=True)

    def _consumer(self) -> Check:
        since = self._idle_since
        idle = 0.0 if since is None else self._clock() - since
        if idle > self._limit:
            detail = f"work is ready in {self._where}, slots are free, and nothing was begun for {idle:.1f} s"
            return Check(name="consumer", ok=False, detail=detail)
        return Check(name="consumer", ok=True)


def _has_ready_work(found: Survey) -> bool:
    if found.paused is not None:
        return False
    ready = [standing.oldest for standing in found.streams.values() if standing.oldest is not None]
    if found.next_due is not None:
        ready.append(found.next_due)
    return any(found.now - since > _READY_FOR for since in ready)
