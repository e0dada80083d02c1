"""What a measured system has to be able to do.

Run in every system's own environment, so it imports nothing but the standard library.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from benchmarks.work import Job, Work

Settings = Mapping[str, Any]

AT_ONCE = 100
"""Jobs that a worker may run at a time, and callers that enqueue at a time if no call takes many."""


class Unable(Exception):
    """The system was asked for what its row in the catalog says that it cannot do."""


class Adapter(Protocol):
    """A task system with the tasks of ``Work``."""

    async def open(self, url: str, settings: Settings) -> None:
        """Connect to Redis, in whatever way is best for enqueueing.

        Args:
            url: Where it is.
            settings: The system's own, where a scenario asks for others than the configuration.
        """
        ...

    def prepare(self, jobs: Sequence[Job], *, together: bool) -> None:
        """Do what may be done before the clock starts: nothing, but for the bare loop."""
        del jobs, together

    async def enqueue_one(self, job: Job) -> None:
        """Enqueue one job and return once Redis has confirmed it."""
        ...

    async def enqueue_many(self, jobs: Sequence[Job]) -> None:
        """Enqueue jobs in the fastest documented way and return once Redis has confirmed all."""
        await spread(self.enqueue_one, jobs)

    async def delay_many(self, jobs: Sequence[Job], seconds: float) -> None:
        """Enqueue jobs that are due in so many seconds."""
        raise Unable(f"{type(self).__name__} does not delay {len(jobs)} jobs by {seconds} s")

    async def result(self, job: Job, within: float) -> Any:
        """Enqueue a job, and return its result once it is there."""
        raise Unable(f"{type(self).__name__} waits for no result of {job} within {within} s")

    async def work(self, url: str, work: Work) -> None:
        """Be one worker process until cancelled.

        Args:
            url: Where Redis is.
            work: Which jobs there will be; most systems are documented to be set up by it.
        """
        ...

    async def settled(self) -> bool:
        """Whether the worker has recorded the end of every job that it began."""
        ...

    async def finished(self) -> int | None:
        """Return how many jobs Redis holds as successfully finished, or None when it holds no such record."""
        ...

    async def close(self) -> None:
        """Disconnect."""
        ...


async def spread(call: Callable[[Job], Awaitable[None]], jobs: Sequence[Job]) -> None:
    """Call for each job, in so many coroutines as a worker may run jobs."""
    left = iter(jobs)

    async def some() -> None:
        for job in left:
            await call(job)

    await asyncio.gather(*(some() for _ in range(min(AT_ONCE, len(jobs)))))
