"""arq, run by an interpreter of its own: arq needs redis-py below 6, which capelin's environment has not.

Configuration, all of it documented: ``max_jobs=100``; ``poll_delay=0.01``, since at the default of 0.5 s a
job waits for half of that and a worker fetches at most 1,000 jobs a second; ``keep_result`` as it is, one
hour; results are asked for every 10 ms (default 0.5 s). arq has no call that enqueues many jobs: 100
coroutines share the connection pool.
"""

# The strict checkers run where arq is not installed.
# mypy: disable-error-code="import-not-found"
# pyright: reportMissingImports=false, reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false

from collections.abc import Awaitable, Callable
from typing import Any

from arq import create_pool, func
from arq.connections import RedisSettings
from arq.constants import result_key_prefix
from arq.worker import Worker

from benchmarks.adapter import AT_ONCE, Adapter, Settings
from benchmarks.serving import main
from benchmarks.work import COROUTINES, Job, Work

_POLL = 0.01


class ArqAdapter(Adapter):
    """arq in its best documented configuration."""

    def __init__(self) -> None:
        self._pool: Any = None
        self._worker: Any = None

    async def open(self, url: str, settings: Settings) -> None:
        """As in ``Adapter``."""
        del settings
        self._pool = await create_pool(RedisSettings.from_dsn(url))

    async def enqueue_one(self, job: Job) -> None:
        """As in ``Adapter``."""
        await self._pool.enqueue_job(job.task, *job.arguments)

    async def result(self, job: Job, within: float) -> Any:
        """As in ``Adapter``."""
        enqueued = await self._pool.enqueue_job(job.task, *job.arguments)
        return await enqueued.result(timeout=within, poll_delay=_POLL)

    async def work(self, url: str, work: Work) -> None:
        """As in ``Adapter``."""
        del work
        worker = self._worker = Worker(
            [func(_with_context(body), name=each.value) for each, body in COROUTINES.items()],
            redis_settings=RedisSettings.from_dsn(url),
            max_jobs=AT_ONCE,
            poll_delay=_POLL,
            handle_signals=False,
        )
        try:
            await worker.async_run()
        finally:
            await worker.close()

    async def settled(self) -> bool:
        """As in ``Adapter``."""
        return self._worker is None or self._worker.job_counter == 0

    async def finished(self) -> int | None:
        """As in ``Adapter``."""
        return len(await self._pool.keys(f"{result_key_prefix}*"))

    async def close(self) -> None:
        """As in ``Adapter``."""
        await self._pool.aclose()


def _with_context(body: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def task(_context: dict[str, Any], *arguments: Any) -> Any:
        return await body(*arguments)

    return task


if __name__ == "__main__":
    main(ArqAdapter())
