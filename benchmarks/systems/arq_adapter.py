"""arq, run by an interpreter of its own: arq needs redis-py below 6, which capelin's environment has not.

Configuration, all of it documented: ``max_jobs=100``; ``poll_delay=0.01``, since at the default of 0.5 s a
job waits for half of that and a worker fetches at most 1,000 jobs a second; ``keep_result`` as it is, one
hour. arq has no call that enqueues many jobs: 100 coroutines share the connection pool.
"""

# The strict checkers run where arq is not installed.
# mypy: disable-error-code="import-not-found"
# pyright: reportMissingImports=false, reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false

import asyncio
from collections.abc import Sequence
from typing import Any

from arq import create_pool, func
from arq.connections import RedisSettings
from arq.constants import result_key_prefix
from arq.worker import Worker

from benchmarks.adapter import Adapter, Started, main

_AT_ONCE = 100
_POLL = 0.01


class ArqAdapter(Adapter):
    """arq in its best documented configuration."""

    def __init__(self) -> None:
        self._pool: Any = None
        self._worker: Any = None

    async def open(self, url: str) -> None:
        """As in ``Adapter``."""
        self._pool = await create_pool(RedisSettings.from_dsn(url))

    async def enqueue_one(self, number: int) -> None:
        """As in ``Adapter``."""
        await self._pool.enqueue_job("noop", number)

    async def enqueue_many(self, numbers: Sequence[int]) -> None:
        """As in ``Adapter``."""
        left = iter(numbers)

        async def some() -> None:
            for number in left:
                await self.enqueue_one(number)

        await asyncio.gather(*(some() for _ in range(_AT_ONCE)))

    async def work(self, url: str, started: Started) -> None:
        """As in ``Adapter``."""

        async def noop(_context: dict[str, Any], number: int) -> None:
            started(number)

        worker = self._worker = Worker(
            [func(noop, name="noop")],
            redis_settings=RedisSettings.from_dsn(url),
            max_jobs=_AT_ONCE,
            poll_delay=_POLL,
            handle_signals=False,
        )
        try:
            await worker.async_run()
        finally:
            await worker.close()

    def settled(self) -> bool:
        """As in ``Adapter``."""
        return self._worker is None or self._worker.job_counter == 0

    async def finished(self) -> int:
        """As in ``Adapter``."""
        return len(await self._pool.keys(f"{result_key_prefix}*"))

    async def close(self) -> None:
        """As in ``Adapter``."""
        await self._pool.aclose()


if __name__ == "__main__":
    main(ArqAdapter())
