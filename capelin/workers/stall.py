"""Does the worker's event loop make progress? Asked on the heartbeat's loop, which goes on when the other is
blocked.

What counts is the time for which this loop was awake to see it: a process that was stopped, or a machine that
slept, has no event loop that is stuck.
"""

import asyncio
import time
from collections.abc import Callable

_TICK = 0.25
_ASLEEP = 1.0


class Stall:
    """Watches the progress of another event loop.

    Args:
        progressed: The moment of its last progress, by ``clock``.
        clock: Monotonic seconds.
    """

    def __init__(
        self, progressed: Callable[[], float], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._progressed = progressed
        self._clock = clock
        self._awake_since = self._ticked = clock()

    @property
    def seconds(self) -> float:
        """For how long it has made no progress; 0 when this loop, too, has just slept."""
        now = self._clock()
        if now - self._ticked > _ASLEEP:
            return 0.0
        return now - max(self._progressed(), self._awake_since)

    def tick(self) -> None:
        """Note that this loop is awake; a few times a second."""
        now = self._clock()
        if now - self._ticked > _ASLEEP:
            self._awake_since = now
        self._ticked = now

    async def watch(self, look: Callable[[], None]) -> None:
        """Tick until cancelled, and have ``look`` called at each tick."""
        while True:
            self.tick()
            look()
            await asyncio.sleep(_TICK)
