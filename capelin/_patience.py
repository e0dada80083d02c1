"""How long to go on when Redis does not answer: waits that grow and are jittered, until the time is over."""

import asyncio
import math

from capelin._backoff import Backoff


class Patience:
    """Pauses between attempts, for as long as there is time.

    Args:
        seconds: From now on until no further attempt begins; ``math.inf`` for one that goes on as long as its
            caller waits.

    Example:
        patience = Patience(30)
        while True:
            try:
                return await connection.run(call)
            except Unreachable:
                if not await patience.pause():
                    raise
    """

    def __init__(self, seconds: float = math.inf) -> None:
        self._loop = asyncio.get_running_loop()
        self._seconds = seconds
        self._deadline = self._loop.time() + seconds
        self._backoff: Backoff | None = None

    def renew(self) -> None:
        """Begin anew, for something else."""
        self._deadline = self._loop.time() + self._seconds
        self._backoff = None

    async def pause(self) -> bool:
        """Wait before the next attempt; False, at once, when there is no time for one any more."""
        if self._backoff is None:
            self._backoff = Backoff()
        pause = self._backoff.step()
        if self._loop.time() + pause >= self._deadline:
            return False
        await asyncio.sleep(pause)
        return True
