"""The pulse of a worker: how its event loop and its memory are.

It rides on the worker's sign of life, so that whoever looks at the fleet sees it without asking the worker.
"""

import asyncio
import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

TICK: Final = 0.25
_SHOWN_FOR: Final = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse:
    """How a worker process is.

    Attributes:
        lag: The longest that its event loop kept a callback waiting in the last 15 seconds, in seconds.
        memory: Bytes that the process holds in RAM, its children for process tasks apart; 0 when the system
            does not say.
    """

    lag: float
    memory: int

    def to_json(self) -> str:
        return json.dumps({"lag": self.lag, "memory": self.memory}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes | None) -> "Pulse | None":
        """Read one; None when there is none that this release can read."""
        try:
            raw: dict[str, Any] = json.loads(text or b"")
            return cls(lag=float(raw["lag"]), memory=int(raw["memory"]))
        except (ValueError, KeyError, TypeError):
            return None


class Ticker:
    """Ticks on the worker's event loop, and so shows that it turns, and how late.

    Attributes:
        progressed: The moment of the last tick, by ``clock``.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.progressed = clock()
        self._lags: deque[tuple[float, float]] = deque(maxlen=int(_SHOWN_FOR / TICK) + 1)

    async def run(self) -> None:
        """Tick until cancelled."""
        self.progressed = self._clock()
        while True:
            await asyncio.sleep(TICK)
            self.tick()

    def tick(self) -> None:
        """Note a tick that was to come ``TICK`` after the last one."""
        now = self._clock()
        self._lags.append((now, self._late(now)))
        self.progressed = now

    @property
    def lag(self) -> float:
        """How late the latest tick of the last 15 seconds was, or the next one is by now. From any thread."""
        now = self._clock()
        return max([self._late(now), *(lag for at, lag in list(self._lags) if now - at <= _SHOWN_FOR)])

    def _late(self, now: float) -> float:
        return max(0.0, now - self.progressed - TICK)

    def pulse(self) -> Pulse:
        """Return the pulse of this process. From any thread."""
        return Pulse(lag=round(self.lag, 4), memory=resident_memory())


def resident_memory() -> int:
    """Return the bytes of RAM that this process holds; the most that it ever held where only that is known;
    else 0.
    """
    try:
        pages = Path("/proc/self/statm").read_bytes().split()[1]
    except OSError:
        return _most_memory()
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _most_memory() -> int:
    if sys.platform == "win32":
        return 0
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
