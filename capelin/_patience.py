"""How long to go on when Redis does not answer: waits that grow and are jittered, until the time is over."""

import asyncio
import math
import random

_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 1.0


class Patience:
    """Pauses between attempts; each is drawn between half and the whole: many clients do not come as one.

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
        self._deadline = self._loop.time() + seconds
        self._next = _FIRST_PAUSE

    async def pause(self) -> bool:
        """Wait before the next attempt; False, at once, when there is no time for one any more."""
        pause = self._next * random.uniform(0.5, 1.0)  # noqa: S311 -- jitter
        if self._loop.time() + pause >= self._deadline:
            return False
        self._next = min(self._next * 2, _LONGEST_PAUSE)
        await asyncio.sleep(pause)
        return True
