"""SAQ, run by an interpreter of its own: it needs redis-py below 8, and nothing of it belongs to capelin.

Configuration, all of it documented: ``concurrency=100``; the extra ``hiredis``; results kept for ten minutes,
as by default; results are asked for every 10 ms (default 0.5 s). SAQ has no call that enqueues many jobs: 100
coroutines share the queue, which lets 100 of them talk to Redis at once (``max_concurrent_ops``).
"""

# The strict checkers run where SAQ is not installed.
# mypy: disable-error-code="import-not-found"
# pyright: reportMissingImports=false, reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false

from collections.abc import Awaitable, Callable
from typing import Any

from saq import Queue, Worker
from saq.job import Status

from benchmarks.adapter import AT_ONCE, Adapter, Settings
from benchmarks.serving import main
from benchmarks.work import COROUTINES, Job, Work

_ASK = 0.01


class SaqAdapter(Adapter):
    """SAQ in its best documented configuration."""

    def __init__(self) -> None:
        self._queue: Any = None
        self._worker: Any = None

    async def open(self, url: str, settings: Settings) -> None:
        """As in ``Adapter``."""
        del settings
        self._queue = Queue.from_url(url, max_concurrent_ops=AT_ONCE)
        await self._queue.connect()

    async def enqueue_one(self, job: Job) -> None:
        """As in ``Adapter``."""
        await self._queue.enqueue(job.task, **job.named)

    async def result(self, job: Job, within: float) -> Any:
        """As in ``Adapter``."""
        return await self._queue.apply(job.task, timeout=within, poll_interval=_ASK, **job.named)

    async def work(self, url: str, work: Work) -> None:
        """As in ``Adapter``."""
        del url, work
        functions = [(each.value, _with_context(body)) for each, body in COROUTINES.items()]
        worker = self._worker = Worker(self._queue, functions, concurrency=AT_ONCE)
        await worker.start()

    async def settled(self) -> bool:
        """As in ``Adapter``."""
        return self._worker is None or not self._worker.job_task_contexts

    async def finished(self) -> int | None:
        """As in ``Adapter``."""
        return sum([1 async for _ in self._queue.iter_jobs([Status.COMPLETE], batch_size=1000)])

    async def close(self) -> None:
        """As in ``Adapter``."""
        await self._queue.disconnect()


def _with_context(body: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def task(_context: dict[str, Any], **arguments: Any) -> Any:
        return await body(**arguments)

    return task


if __name__ == "__main__":
    main(SaqAdapter())
