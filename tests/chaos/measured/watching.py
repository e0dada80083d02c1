"""Was it the machine? Evidence for a measurement that is beyond its bound.

The processes note when they stood still; a thread here talks to Redis all the while. What none of them saw is
capelin's own.
"""

import threading
import time
from types import TracebackType
from typing import Self

from tests.chaos.journal import Journal
from tests.support.servers import RedisServer

_BEAT = 0.02
_NOTICED = 0.06


class MachineWatch:
    """Notes when this process stood still, or Redis did not answer it.

    Example:
        with MachineWatch(server) as machine:
            ...
        print(machine.lost(since, until, journal))
    """

    def __init__(self, server: RedisServer) -> None:
        self._redis = server.connect()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="machine-watch", daemon=True)
        self._still: list[tuple[float, float]] = []

    def lost(self, since: float, until: float, journal: Journal | None = None) -> float:
        """The longest time within a span for which this process, Redis, or any worker stood still."""
        spans = list(self._still)
        for found in journal.still.values() if journal is not None else ():
            spans += found
        return max([0.0, *(min(end, until) - max(begin, since) for begin, end in spans)])

    def _watch(self) -> None:
        last = time.time()
        while not self._stopping.wait(_BEAT):
            self._redis("PING")
            now = time.time()
            if now - last > _NOTICED:
                self._still.append((last, now))
            last = now

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()
        self._redis.close()
