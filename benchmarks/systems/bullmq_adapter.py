"""BullMQ's Python package, run by an interpreter of its own.

Configuration, all of it documented: ``concurrency=100`` (default 1); hiredis; completed jobs kept, as by
default. Many jobs go out with ``addBulk``, one transaction a call; 1,000 jobs a call, since one for all of
them holds up Redis for everybody. The package offers no call that waits for a result; as its documentation
says, ``QueueEvents`` tells what completed, and a caller waits for its own job's event.
"""

# The strict checkers run where BullMQ is not installed.
# mypy: disable-error-code="import-not-found"
# pyright: reportMissingImports=false, reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUntypedFunctionDecorator=false
import asyncio
from collections.abc import Sequence
from typing import Any

from bullmq import Queue, QueueEvents, Worker

from benchmarks.adapter import AT_ONCE, Adapter, Settings
from benchmarks.serving import main
from benchmarks.work import COROUTINES, Job, Work

_QUEUE = "benchmark"
_A_CALL = 1000


class BullmqAdapter(Adapter):
    """BullMQ in its best documented configuration."""

    def __init__(self) -> None:
        self._connection: dict[str, Any] = {}
        self._queue: Any = None
        self._worker: Any = None
        self._events: Any = None
        self._returned: dict[str, Any] = {}
        self._news = asyncio.Condition()

    async def open(self, url: str, settings: Settings) -> None:
        """As in ``Adapter``."""
        del settings
        self._connection = {"connection": url}
        self._queue = Queue(_QUEUE, self._connection)

    async def enqueue_one(self, job: Job) -> None:
        """As in ``Adapter``."""
        await self._queue.add(job.task, job.arguments)

    async def enqueue_many(self, jobs: Sequence[Job]) -> None:
        """As in ``Adapter``."""
        for begin in range(0, len(jobs), _A_CALL):
            await self._queue.addBulk(
                [{"name": job.task, "data": job.arguments} for job in jobs[begin : begin + _A_CALL]]
            )

    async def result(self, job: Job, within: float) -> Any:
        """As in ``Adapter``."""
        if self._events is None:
            await self._listen()
        enqueued = await self._queue.add(job.task, job.arguments)
        identity = str(enqueued.id)
        async with asyncio.timeout(within), self._news:
            await self._news.wait_for(lambda: identity in self._returned)
        return self._returned.pop(identity)

    async def _listen(self) -> None:
        events = self._events = QueueEvents(_QUEUE, {**self._connection, "lastEventId": "0"})

        def completed(event: dict[str, Any], *_others: Any) -> None:
            self._returned[str(event["jobId"])] = event.get("returnvalue")
            told.append(asyncio.ensure_future(tell()))
            del told[:-AT_ONCE]

        async def tell() -> None:
            async with self._news:
                self._news.notify_all()

        told: list[asyncio.Future[None]] = []
        events.on("completed", completed)

    async def work(self, url: str, work: Work) -> None:
        """As in ``Adapter``."""
        del url, work

        async def process(job: Any, _token: str) -> Any:
            return await COROUTINES[Work(job.name)](*job.data)

        worker = self._worker = Worker(
            _QUEUE, process, {**self._connection, "concurrency": AT_ONCE, "autorun": False}
        )
        try:
            await worker.run()
        finally:
            await worker.close(force=True)

    async def settled(self) -> bool:
        """As in ``Adapter``."""
        return bool(self._worker is None or (await self._queue.getJobCounts("active"))["active"] == 0)

    async def finished(self) -> int | None:
        """As in ``Adapter``."""
        return int(await self._queue.getCompletedCount())

    async def close(self) -> None:
        """As in ``Adapter``."""
        if self._events is not None:
            await self._events.close()
        await self._queue.close()


if __name__ == "__main__":
    main(BullmqAdapter())
