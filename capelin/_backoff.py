"""How long to wait before Redis is tried again: longer each time, and jittered."""

import asyncio
import random


class Backoff:
    """Waits that grow from ``first`` to ``most`` seconds; each is drawn between half and the whole."""

    def __init__(self, *, first: float = 0.05, most: float = 1.0) -> None:
        self._first, self._most = first, most
        self._next = first

    def reset(self) -> None:
        self._next = self._first

    def step(self) -> float:
        """Return the next wait in seconds."""
        wait = self._next
        self._next = min(self._most, wait * 2)
        return wait * random.uniform(0.5, 1.0)  # noqa: S311 -- jitter

    async def sleep(self) -> None:
        await asyncio.sleep(self.step())
