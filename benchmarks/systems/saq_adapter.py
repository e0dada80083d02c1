"""SAQ, run by an interpreter of its own: it needs redis-py below 8, and nothing of it belongs to capelin.

Configuration, all of it documented: ``concurrency=100``; the extra ``hiredis``; results kept for ten minutes,
as by default. SAQ has no call that enqueues many jobs: 100 coroutines share the queue, which lets 100 of them
talk to Redis at once (``max_concurrent_ops``).
"""

# The strict checkers run where SAQ is not installed.
# mypy: disable-error-code="import-not-found"
# pyright: reportMissingImports=false, reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false

import asyncio
from collections.abc import Sequence
from typing import Any

from saq import Queue, Worker
from saq.job import Status

from benchmarks.adapter import Adapter, Started, main

_AT_ONCE = 100


class SaqAdapter(Adapter):
    """SAQ in its best documented configuration."""

    def __init__(self) -> None:
        self._queue: Any = None
        self._worker: Any = None

    async def open(self, url: str) -> None:
        """As in ``Adapter``."""
        self._queue = Queue.from_url(url, max_concurrent_ops=_AT_ONCE)
        await self._queue.connect()

    async def enqueue_one(self, number: int) -> None:
        """As in ``Adapter``."""
        await self._queue.enqueue("noop", number=number)

    async def enqueue_many(self, numbers: Sequence[int]) -> None:
        """As in ``Adapter``."""
        left = iter(numbers)

        async def some() -> None:
            for number in left:
                await self.enqueue_one(number)

        await asyncio.gather(*(some() for _ in range(_AT_ONCE)))

    async def work(self, url: str, started: Started) -> None:
        """As in ``Adapter``."""
        del url

        async def noop(_context: dict[str, Any], *, number: int) -> None:
            started(number)

        worker = self._worker = Worker(self._queue, [("noop", noop)], concurrency=_AT_ONCE)
        await worker.start()

    def settled(self) -> bool:
        """As in ``Adapter``."""
        return self._worker is None or not self._worker.job_task_contexts

    async def finished(self) -> int:
        """As in ``Adapter``."""
        return sum([1 async for _ in self._queue.iter_jobs([Status.COMPLETE], batch_size=1000)])

    async def close(self) -> None:
        """As in ``Adapter``."""
        await self._queue.disconnect()


if __name__ == "__main__":
    main(SaqAdapter())
