"""streaQ, run by an interpreter of its own.

Configuration, all of it documented: ``concurrency=100`` (default 16; prefetching as much again is its
default); uvloop; ``handle_signals=False``, since the process is not its own; results kept for 5 minutes, as
by default. Many jobs go out with ``enqueue_many``, its pipelined call. Jobs that compute are coroutines:
plain functions run in threads there, which compute no faster.
"""

# The strict checkers run where streaQ is not installed.
# mypy: disable-error-code="import-not-found"
# pyright: reportMissingImports=false, reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUntypedFunctionDecorator=false
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

from streaq import Worker

from benchmarks.adapter import AT_ONCE, Adapter, Settings
from benchmarks.serving import main
from benchmarks.work import COROUTINES, Job, Work


class StreaqAdapter(Adapter):
    """streaQ in its best documented configuration."""

    def __init__(self) -> None:
        self._client: Any = None
        self._worker: Any = None
        self._tasks: dict[Work, Any] = {}
        self._stack = AsyncExitStack()

    async def open(self, url: str, settings: Settings) -> None:
        """As in ``Adapter``."""
        del settings
        self._client, self._tasks = _worker(url)
        await self._stack.enter_async_context(self._client)

    async def enqueue_one(self, job: Job) -> None:
        """As in ``Adapter``."""
        await self._tasks[job.work].enqueue(*job.arguments)

    async def enqueue_many(self, jobs: Sequence[Job]) -> None:
        """As in ``Adapter``."""
        await self._client.enqueue_many([self._tasks[job.work].enqueue(*job.arguments) for job in jobs])

    async def result(self, job: Job, within: float) -> Any:
        """As in ``Adapter``."""
        enqueued = await self._tasks[job.work].enqueue(*job.arguments)
        return (await enqueued.result(timeout=int(within))).result

    async def work(self, url: str, work: Work) -> None:
        """As in ``Adapter``."""
        del work
        self._worker, _ = _worker(url)
        await self._worker.run_async()

    async def settled(self) -> bool:
        """As in ``Adapter``: no job that it fetched is unfinished; what it calls running has less in it."""
        return self._worker is None or self._worker._count == 0  # noqa: SLF001 -- it tells nobody

    async def finished(self) -> int | None:
        """As in ``Adapter``."""
        return sum([1 async for _ in self._client.redis.scan_iter(match="*:results:*", count=1000)])

    async def close(self) -> None:
        """As in ``Adapter``."""
        await self._stack.aclose()


def _worker(url: str) -> tuple[Any, dict[Work, Any]]:
    worker = Worker(redis_url=url, concurrency=AT_ONCE, handle_signals=False)
    return worker, {each: worker.task(name=each.value)(body) for each, body in COROUTINES.items()}


if __name__ == "__main__":
    main(StreaqAdapter())
