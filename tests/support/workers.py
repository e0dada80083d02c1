"""Workers in the process of the test: quick to start, and what they hold can be looked at.

What is about processes (a kill, a freeze, a blocked event loop) needs `processes.worker` instead.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any, Protocol

from capelin import Capelin
from capelin.settings import Settings
from capelin.workers.worker import Worker

QUICK = Settings(lease_ttl=1.0, grace=5.0)
"""A TTL as short as it may be: what waits for the end of one takes little time."""


class LocalWorker:
    """A worker that runs in this process."""

    def __init__(self, worker: Worker, task: "asyncio.Task[None]") -> None:
        self.worker, self.task = worker, task

    @property
    def id(self) -> str:
        """Its id in the fleet."""
        return self.worker.id

    async def stop(self) -> None:
        """End it cleanly; can be called twice."""
        if not self.task.done():
            self.worker.stop()
        await self.task


class RunningWorker(Protocol):
    """Starts a worker in this process, and returns when it has started."""

    async def __call__(
        self,
        app: Capelin[Any],
        *,
        settings: Settings | None = ...,
        queues: Mapping[str, int] | None = ...,
        burst: bool = ...,
        scheduler: bool = ...,
        chosen: Callable[[str], bool] = ...,
    ) -> LocalWorker: ...


async def start_worker(
    ends: AsyncExitStack,
    app: Capelin[Any],
    *,
    settings: Settings | None = None,
    queues: Mapping[str, int] | None = None,
    burst: bool = False,
    scheduler: bool = True,
    chosen: Callable[[str], bool] = lambda _: True,
) -> LocalWorker:
    """Start a worker that `ends` stops; in tests it is the fixture `running_worker`.

    Its settings are those of the app unless it is given others. Who owns what follows from the ids of
    workers: `chosen` is asked of ids until it likes one.
    """

    def make() -> Worker:
        return Worker(app, settings=settings, queues=queues, burst=burst, scheduler=scheduler)

    worker = make()
    while not chosen(worker.id):
        worker = make()
    local = LocalWorker(worker, asyncio.create_task(worker.run()))
    started = asyncio.create_task(worker.started.wait())
    await asyncio.wait([started, local.task], return_when=asyncio.FIRST_COMPLETED)
    started.cancel()
    if local.task.done():
        await local.task
    ends.push_async_callback(local.stop)
    return local
