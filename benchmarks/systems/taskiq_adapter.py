"""taskiq with Redis streams, run by an interpreter of its own.

Configuration, all of it documented: ``RedisStreamBroker``, its broker that acknowledges;
``max_async_tasks=100`` and ``xread_count=100``, both the default; ``consumer_id="0"``, since at the default
of ``$`` what was enqueued before the first worker came is lost; results in Redis, which its guide adds to
every broker, for 10 minutes. A result is asked for every 5 ms (default 200 ms). There is no call that
enqueues many jobs: 100 coroutines share the pool. Jobs that compute are plain functions in its process pool.
The worker is its ``run_receiver_task``, which is what its program runs in each process.
"""

# The strict checkers run where taskiq is not installed.
# mypy: disable-error-code="import-not-found"
# pyright: reportMissingImports=false, reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUntypedFunctionDecorator=false
import asyncio
import os
from typing import Any, cast

from redis.asyncio import Redis
from taskiq.api import run_receiver_task
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

from benchmarks.adapter import AT_ONCE, Adapter, Settings
from benchmarks.serving import main
from benchmarks.work import COROUTINES, Job, Work, spin_plainly

_KEPT = 600
_RESULTS = "result"
_ASK = 0.005


class TaskiqAdapter(Adapter):
    """taskiq in its best documented configuration."""

    def __init__(self) -> None:
        self._broker: Any = None
        self._backend: Any = None
        self._tasks: dict[Work, Any] = {}
        self._acknowledged = True

    async def open(self, url: str, settings: Settings) -> None:
        """As in ``Adapter``."""
        del settings
        self._backend = RedisAsyncResultBackend(url, result_ex_time=_KEPT, prefix_str=_RESULTS)
        broker = self._broker = RedisStreamBroker(url, consumer_id="0").with_result_backend(self._backend)
        self._tasks = {
            each: broker.task(task_name=each.value)(spin_plainly if each is Work.SPIN else body)
            for each, body in COROUTINES.items()
        }
        await broker.startup()

    async def enqueue_one(self, job: Job) -> None:
        """As in ``Adapter``."""
        await self._tasks[job.work].kiq(*job.arguments)

    async def result(self, job: Job, within: float) -> Any:
        """As in ``Adapter``."""
        enqueued = await self._tasks[job.work].kiq(*job.arguments)
        return (await enqueued.wait_result(check_interval=_ASK, timeout=within)).return_value

    async def work(self, url: str, work: Work) -> None:
        """As in ``Adapter``."""
        del url
        await run_receiver_task(
            self._broker,
            max_async_tasks=AT_ONCE,
            use_process_pool=work is Work.SPIN,
            sync_workers=os.cpu_count() if work is Work.SPIN else None,
        )

    async def settled(self) -> bool:
        """As in ``Adapter``."""
        group = (await self._backend_call("XPENDING", "taskiq", "taskiq"))["pending"]
        return bool(group == 0)

    async def finished(self) -> int | None:
        """As in ``Adapter``: a result a job."""
        keys = await self._backend_call("KEYS", f"{_RESULTS}:*")
        return len(keys)

    async def _backend_call(self, *words: str) -> Any:
        async with Redis(connection_pool=self._broker.connection_pool) as redis:
            return await cast(Any, redis).execute_command(*words)

    async def close(self) -> None:
        """As in ``Adapter``."""
        await asyncio.wait_for(self._broker.shutdown(), 5)


if __name__ == "__main__":
    main(TaskiqAdapter())
