"""A consumer's lanes that have nothing to do: they are woken one at a time, since what wakes them is most
often work for one.
"""

import asyncio


class Lanes:
    """The lanes that wait."""

    def __init__(self) -> None:
        self._idle: list[asyncio.Future[None]] = []

    def __len__(self) -> int:
        return len(self._idle)

    def wake(self) -> None:
        """Wake a lane, if one waits. One that does not will look for itself before it does."""
        while self._idle:
            lane = self._idle.pop()
            if not lane.done():  # a lane that was cancelled has not run yet to say so
                lane.set_result(None)
                return

    async def wait(self, seconds: float | None) -> None:
        """Wait until woken, or until the time is over; None waits for ever."""
        loop = asyncio.get_running_loop()
        woken: asyncio.Future[None] = loop.create_future()
        self._idle.append(woken)
        timer = None if seconds is None else loop.call_later(seconds, self._time_over, woken)
        try:
            await woken
        finally:
            if timer is not None:
                timer.cancel()
            if woken in self._idle:
                self._idle.remove(woken)

    def _time_over(self, woken: asyncio.Future[None]) -> None:
        if not woken.done():
            self._idle.remove(woken)
            woken.set_result(None)
