"""The unit of latency: one question to Redis and its answer, through redis-py and ``capelin.connection``.

Asked after the same pauses as jobs are enqueued in the latency measurement: a process that slept, a socket
and a CPU that cooled down. Asked one behind the other it is faster, which no job that comes alone ever sees.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, cast

from redis.asyncio import Redis

from benchmarks.adapter import Settings
from benchmarks.serving import serve
from capelin.connection import Connection, connect
from capelin.lua import Call, Script

_NOTHING: Call[int] = Call(Script(name="nothing", text="return 1"), (), (), int)


class RoundTrip:
    """Measures round trips."""

    def __init__(self) -> None:
        self._connection: Connection | None = None
        self._raw: Redis | None = None

    async def open(self, url: str, settings: Settings) -> dict[str, Any]:
        """Connect."""
        del settings
        self._connection = connect(url)
        await self._connection.run(_NOTHING)
        self._raw = cast(Any, Redis).from_url(url)
        return {}

    async def measure(self, what: str, count: int, gap: tuple[float, float] | None) -> dict[str, Any]:
        """Tell how many seconds each of ``count`` round trips took.

        Args:
            what: ``redis-py`` (a PING), ``ping``, or ``evalsha`` of a script that does nothing.
            count: How many.
            gap: Pauses between them, the shortest and the longest in seconds; None for none.
        """
        connection, raw = self._connection, self._raw
        if connection is None or raw is None:
            raise RuntimeError("open() comes first")
        asks: dict[str, Callable[[], Awaitable[Any]]] = {
            "redis-py": lambda: _ping(raw),
            "ping": lambda: connection.command("PING"),
            "evalsha": lambda: connection.run(_NOTHING),
        }
        ask = asks[what]
        seconds: list[float] = []
        for _ in range(count):
            if gap is not None:
                await asyncio.sleep(random.uniform(*gap))  # noqa: S311 -- as jobs are paced
            begin = time.perf_counter()
            await ask()
            seconds.append(time.perf_counter() - begin)
        return {"seconds": seconds}

    async def stop(self) -> dict[str, Any]:
        """Disconnect."""
        if self._connection is not None:
            await self._connection.close()
        if self._raw is not None:
            await self._raw.aclose()
        return {}


async def _ping(raw: Redis) -> None:
    await cast(Any, raw).execute_command("PING")


if __name__ == "__main__":
    served = RoundTrip()
    serve({"open": served.open, "measure": served.measure, "stop": served.stop})
