"""docket (pydocket), run by an interpreter of its own.

Configuration, all of it documented: ``concurrency=100`` (default 10); ``minimum_check_interval`` of 10 ms,
since at the default of 250 ms a worker whose slots are full sleeps that long and runs 400 jobs a second at
that concurrency; ``max_connections=400`` in the URL, since redis-py's pool of 100 runs dry at that
concurrency and the worker then pauses for 5 s; states kept for 15 minutes, as by default. Many jobs go out
with ``add_many``. It runs coroutines alone, jobs that compute too.
"""

# The strict checkers run where docket is not installed.
# mypy: disable-error-code="import-not-found"
# pyright: reportMissingImports=false, reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUntypedFunctionDecorator=false
import os
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from docket import Docket, Worker

from benchmarks.adapter import AT_ONCE, Adapter, Settings
from benchmarks.serving import main
from benchmarks.work import COROUTINES, Job, Work

_CHECK = timedelta(milliseconds=10)
_CONNECTIONS = 4 * AT_ONCE


class DocketAdapter(Adapter):
    """docket in its best documented configuration."""

    def __init__(self) -> None:
        self._docket: Any = None
        self._worker: Any = None

    async def open(self, url: str, settings: Settings) -> None:
        """As in ``Adapter``."""
        del settings
        self._docket = Docket(name="benchmark", url=f"{url}?max_connections={_CONNECTIONS}")
        await self._docket.__aenter__()
        for each, body in COROUTINES.items():
            self._docket.register(body, names=[each.value])

    async def enqueue_one(self, job: Job) -> None:
        """As in ``Adapter``."""
        await self._docket.add(job.task)(*job.arguments)

    async def enqueue_many(self, jobs: Sequence[Job]) -> None:
        """As in ``Adapter``."""
        await self._docket.add_many([self._docket.call(job.task)(*job.arguments) for job in jobs])

    async def result(self, job: Job, within: float) -> Any:
        """As in ``Adapter``."""
        execution = await self._docket.add(job.task)(*job.arguments)
        return await execution.get_result(timeout=timedelta(seconds=within))

    async def work(self, url: str, work: Work) -> None:
        """As in ``Adapter``."""
        del url, work
        name = f"benchmark-{os.getpid()}"
        async with Worker(
            self._docket, name=name, concurrency=AT_ONCE, minimum_check_interval=_CHECK
        ) as self._worker:
            await self._worker.run_forever()

    async def settled(self) -> bool:
        """As in ``Adapter``: what its stream still holds is not yet acknowledged."""
        async with self._docket.redis() as redis:
            return bool(await redis.xlen(self._docket.stream_key) == 0)

    async def finished(self) -> int | None:
        """As in ``Adapter``: the state that it keeps of each job."""
        async with self._docket.redis() as redis:
            keys = await redis.keys(f"{self._docket.prefix}:runs:*")
            async with redis.pipeline(transaction=False) as pipe:
                for key in keys:
                    pipe.hget(key, "state")
                states = await pipe.execute()
        return sum(1 for state in states if state in (b"completed", "completed"))

    async def close(self) -> None:
        """As in ``Adapter``."""
        await self._docket.__aexit__(None, None, None)


if __name__ == "__main__":
    main(DocketAdapter())
