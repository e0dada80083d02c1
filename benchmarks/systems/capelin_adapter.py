"""capelin as it is used: its public API to enqueue, its worker with default settings to run."""

import asyncio
from collections.abc import Sequence

from benchmarks.adapter import Adapter, Started, main
from capelin import Capelin
from capelin.logs import configure
from capelin.workers.worker import Worker


class CapelinAdapter(Adapter):
    """Enqueues with ``task.enqueue`` and ``app.enqueue``; one worker, concurrency 100."""

    def __init__(self) -> None:
        self._app: Capelin[None] | None = None
        self._worker: Worker | None = None
        self._started: Started = _nobody

    async def open(self, url: str) -> None:
        """As in ``Adapter``."""
        configure(level="warning")  # what the standard library's logging shows of the others
        app = self._app = Capelin(url, name="benchmark")

        @app.task(name="noop")
        async def noop(number: int) -> None:
            self._started(number)

        self._noop = noop

    async def enqueue_one(self, number: int) -> None:
        """As in ``Adapter``."""
        await self._noop.enqueue(number)

    async def enqueue_many(self, numbers: Sequence[int]) -> None:
        """As in ``Adapter``."""
        await self._opened.enqueue([self._noop.job(number) for number in numbers])

    async def work(self, url: str, started: Started) -> None:
        """As in ``Adapter``."""
        del url
        self._started = started
        worker = self._worker = Worker(self._opened)
        running = asyncio.create_task(worker.run())
        try:
            await asyncio.shield(running)
        except asyncio.CancelledError:
            worker.stop()
            await running

    def settled(self) -> bool:
        """As in ``Adapter``."""
        return self._worker is None or len(self._worker.running) == 0

    async def finished(self) -> int:
        """As in ``Adapter``."""
        app = self._opened
        client = app.client()
        shards = [app.keys.shard("default", shard) for shard in range(app.settings.shards)]
        counts = await client.connection.commands([("ZCARD", shard.finished) for shard in shards])
        return sum(counts)

    async def close(self) -> None:
        """As in ``Adapter``."""
        await self._opened.close()

    @property
    def _opened(self) -> Capelin[None]:
        if self._app is None:
            raise RuntimeError("open() comes first")
        return self._app


def _nobody(number: int) -> None:
    raise RuntimeError(f"job {number} ran in a process that is no worker")


if __name__ == "__main__":
    main(CapelinAdapter())
