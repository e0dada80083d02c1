"""capelin as it is used: its public API to enqueue, its worker with default settings to run.

Jobs that compute have ``run_in="process"``, as its documentation says, in as many processes as there are
cores, and a queue of their own, since a worker asks a queue for no more jobs than it has slots of every kind
that the queue's tasks need.
"""

import asyncio
import os
from collections.abc import Sequence
from typing import Any

from benchmarks.adapter import Adapter, Settings
from benchmarks.serving import main
from benchmarks.systems import capelin_spin
from benchmarks.work import COROUTINES, Job, Work
from capelin import Capelin
from capelin._collecting import set_aside_what_stays
from capelin.logs import configure
from capelin.settings import Settings as CapelinSettings
from capelin.workers.worker import Worker


class CapelinAdapter(Adapter):
    """Enqueues with ``task.enqueue`` and ``app.enqueue``; one worker, concurrency 100."""

    def __init__(self) -> None:
        self._app: Capelin[None] | None = None
        self._worker: Worker | None = None
        self._tasks: dict[Work, Any] = {}

    async def open(self, url: str, settings: Settings) -> None:
        """As in ``Adapter``."""
        configure(level="warning")  # what the standard library's logging shows of the others
        chosen = {"redis_url": url, "cpu": os.cpu_count() or 1, **settings}
        app = self._app = Capelin(name="benchmark", settings=CapelinSettings.model_validate(chosen))
        self._tasks = {
            work: app.task(name=work.value)(body)
            for work, body in COROUTINES.items()
            if work is not Work.SPIN
        }
        app.include(capelin_spin.tasks)
        self._tasks[Work.SPIN] = capelin_spin.spin

    async def enqueue_one(self, job: Job) -> None:
        """As in ``Adapter``."""
        await self._tasks[job.work].enqueue(*job.arguments)

    async def enqueue_many(self, jobs: Sequence[Job]) -> None:
        """As in ``Adapter``."""
        await self._opened.enqueue([self._tasks[job.work].job(*job.arguments) for job in jobs])

    async def delay_many(self, jobs: Sequence[Job], seconds: float) -> None:
        """As in ``Adapter``."""
        delayed = {work: task.options(delay=seconds) for work, task in self._tasks.items()}
        await self._opened.enqueue([delayed[job.work].job(*job.arguments) for job in jobs])

    async def result(self, job: Job, within: float) -> Any:
        """As in ``Adapter``."""
        enqueued = await self._tasks[job.work].enqueue(*job.arguments)
        return await enqueued.result(timeout=within)

    async def work(self, url: str, work: Work) -> None:
        """As in ``Adapter``."""
        del url
        queue = capelin_spin.QUEUE if work is Work.SPIN else "default"
        worker = self._worker = Worker(self._opened, queues={queue: 1})
        set_aside_what_stays()  # as `capelin worker` does
        running = asyncio.create_task(worker.run())
        try:
            await asyncio.shield(running)
        except asyncio.CancelledError:
            worker.stop()
            await running

    async def settled(self) -> bool:
        """As in ``Adapter``."""
        return self._worker is None or len(self._worker.running) == 0

    async def finished(self) -> int | None:
        """As in ``Adapter``."""
        app = self._opened
        client = app.client()
        shards = [app.keys.shard("default", shard) for shard in range(app.settings.shards)]
        counts = await client.connection.commands([("ZCARD", shard.finished) for shard in shards])
        return sum(map(int, counts))

    async def close(self) -> None:
        """As in ``Adapter``."""
        await self._opened.close()

    @property
    def _opened(self) -> Capelin[None]:
        if self._app is None:
            raise RuntimeError("open() comes first")
        return self._app


if __name__ == "__main__":
    main(CapelinAdapter())
