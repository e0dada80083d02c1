"""The process of a measured system: it does what it is told to.

This module runs in every system's own environment, so it imports nothing but the standard library. All that
is timed is timed here, with the same lines for every system: a system cannot be timed more kindly than
another. Commands come as JSON lines on standard input, answers leave as JSON lines on standard output.
"""

import asyncio
import contextlib
import json
import os
import random
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from importlib import import_module
from typing import Any, TextIO

from benchmarks.adapter import Adapter, Settings
from benchmarks.reports import Listener
from benchmarks.starts import Starts
from benchmarks.work import Job, Work, report_to

Handler = Callable[..., Awaitable[dict[str, Any]]]

_LOOK = 0.001
_SHORTEST_BEAT = 0.001
_RESULT_LIMIT = 20.0
_SETTLE_LIMIT = 10.0


class Served:
    """An adapter's side of each command."""

    def __init__(self, adapter: Adapter) -> None:
        self.adapter = adapter
        self.starts = Starts()
        self._url = ""
        self._listener: Listener | None = None
        self._worker: asyncio.Task[None] | None = None

    async def open(self, url: str, settings: Settings) -> dict[str, Any]:
        """Connect."""
        self._url = url
        await self.adapter.open(url, settings)
        return {}

    async def enqueue(
        self, work: str, first: int, count: int, *, together: bool, size: int
    ) -> dict[str, Any]:
        """Enqueue jobs, one at a time or all together; tells the seconds it took."""
        jobs = list(_jobs(work, first, count, size))
        self.adapter.prepare(jobs, together=together)
        begin = time.perf_counter()
        if together:
            await self.adapter.enqueue_many(jobs)
        else:
            for job in jobs:
                await self.adapter.enqueue_one(job)
        return {"seconds": time.perf_counter() - begin}

    async def delay(self, first: int, count: int, seconds: float) -> dict[str, Any]:
        """Enqueue ``count`` jobs that are due later."""
        await self.adapter.delay_many(list(_jobs(Work.NOOP.value, first, count, 0)), seconds)
        return {}

    async def pace(self, first: int, count: int, gap: tuple[float, float]) -> dict[str, Any]:
        """Enqueue jobs with random pauses between them; tells when each was begun to be enqueued."""
        jobs = list(_jobs(Work.NOOP.value, first, count, 0))
        self.adapter.prepare(jobs, together=False)
        sent: list[int] = []
        for job in jobs:
            await asyncio.sleep(random.uniform(*gap))  # noqa: S311 -- so that no beat meets another
            sent.append(time.monotonic_ns())
            await self.adapter.enqueue_one(job)
        return {"sent": sent}

    async def stream(self, first: int, count: int, rate: float) -> dict[str, Any]:
        """Enqueue ``rate`` jobs a second; tells when each was begun to be enqueued.

        Those that have become due meanwhile are enqueued together. A producer that cannot keep up sends
        later, as the moments show; a job's latency counts from when it was really sent.
        """
        jobs = list(_jobs(Work.NOOP.value, first, count, 0))
        sent: list[int] = []
        begin = time.monotonic()
        while len(sent) < count:
            due = min(count, 1 + int((time.monotonic() - begin) * rate))
            batch = jobs[len(sent) : due]
            if batch:
                sent += [time.monotonic_ns()] * len(batch)
                if len(batch) == 1:
                    await self.adapter.enqueue_one(batch[0])
                else:
                    await self.adapter.enqueue_many(batch)
            await asyncio.sleep(max(_SHORTEST_BEAT, begin + len(sent) / rate - time.monotonic()))
        return {"sent": sent}

    async def results(self, first: int, count: int, gap: tuple[float, float]) -> dict[str, Any]:
        """Call for results, one after the other; tells the seconds until each was there."""
        seconds: list[float] = []
        for job in _jobs(Work.ECHO.value, first, count, 0):
            await asyncio.sleep(random.uniform(*gap))  # noqa: S311 -- so that no beat meets another
            begin = time.perf_counter()
            got = await self.adapter.result(job, _RESULT_LIMIT)
            seconds.append(time.perf_counter() - begin)
            if got != job.number:
                raise RuntimeError(f"the result of job {job.number} is {got!r}")
        return {"seconds": seconds}

    async def work(self, work: str, expect: int, enough: int | None = None) -> dict[str, Any]:
        """Start the worker; expect all jobs that wait, from number 0 on, or so many of them as are enough."""
        self.starts.expect(0, expect, enough=enough)
        report_to(self.starts.add)
        self._listener = Listener(self.starts.add_at)
        self._worker = asyncio.create_task(self.adapter.work(self._url, Work(work)))
        return {}

    async def expect(self, first: int, count: int) -> dict[str, Any]:
        """Forget the starts so far and expect others."""
        self.starts.expect(first, count)
        return {}

    async def drained(self, timeout: float) -> dict[str, Any]:
        """Wait until every expected job has started and its end is recorded.

        Tells the seconds from the first start to the last record, and the CPU seconds of this process and its
        children in them.
        """
        if await self._watched(self.starts.wait(timeout)):
            await self._settled()
        end = time.monotonic_ns()
        self.starts.stop_clock()
        first = self.starts.moments[0] if self.starts.moments else end
        return {
            "first": first,
            "seconds": (end - first) / 1e9,
            "worked": self.starts.worked,
            **self.starts.account(),
        }

    async def begun(self, timeout: float) -> dict[str, Any]:
        """Wait for the expected starts; tells which jobs started when."""
        if await self._watched(self.starts.wait(timeout)):
            await self._settled()
        return {"numbers": self.starts.numbers, "moments": self.starts.moments, **self.starts.account()}

    async def sampled(self, timeout: float) -> dict[str, Any]:
        """Wait until enough jobs have started, with more to come; tells the moments."""
        await self._watched(self.starts.wait(timeout))
        return {"moments": self.starts.moments}

    async def tally(self) -> dict[str, Any]:
        """Tell how many of the expected jobs have started here."""
        return self.starts.account()

    async def settle(self) -> dict[str, Any]:
        """Wait until every job that was begun here is recorded; tells the starts and when that was.

        Also the CPU seconds of this process and its children since the first start.
        """
        await self._settled()
        end = time.monotonic_ns()
        self.starts.stop_clock()
        return {
            "numbers": self.starts.numbers,
            "moments": self.starts.moments,
            "end": end,
            "worked": self.starts.worked,
        }

    async def finished(self) -> dict[str, Any]:
        """Tell how many jobs the system's own records call finished."""
        return {"finished": await self.adapter.finished()}

    async def stop(self) -> dict[str, Any]:
        """End the worker, if there is one, and disconnect."""
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.wait([self._worker], timeout=10)
        await self.adapter.close()
        if self._listener is not None:
            self._listener.close()
        return {}

    async def _settled(self) -> None:
        """Wait for the records of what has started, but not for ever: what is missing will show."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SETTLE_LIMIT):
                while not await self.adapter.settled():  # noqa: ASYNC110 -- there is no event
                    await asyncio.sleep(_LOOK)

    async def _watched(self, waiting: Awaitable[bool]) -> bool:
        """Wait, but not for a worker that died."""
        wait = asyncio.ensure_future(waiting)
        worker = self._worker
        await asyncio.wait([wait] if worker is None else [wait, worker], return_when=asyncio.FIRST_COMPLETED)
        if worker is not None and worker.done():
            wait.cancel()
            worker.result()
            raise RuntimeError("the worker ended by itself")
        return wait.result()

    def handlers(self) -> dict[str, Handler]:
        """Return the commands by name."""
        return {
            handler.__name__: handler
            for handler in (
                self.open,
                self.enqueue,
                self.delay,
                self.pace,
                self.stream,
                self.results,
                self.work,
                self.expect,
                self.drained,
                self.begun,
                self.sampled,
                self.tally,
                self.settle,
                self.finished,
                self.stop,
            )
        }


def _jobs(work: str, first: int, count: int, size: int) -> Iterator[Job]:
    kind, load = Work(work), "x" * size
    for number in range(first, first + count):
        yield Job(work=kind, number=number, load=load)


async def _serve(handlers: dict[str, Handler], answers: TextIO) -> None:
    while line := await asyncio.to_thread(sys.stdin.readline):
        command = json.loads(line)
        name = command.pop("do")
        try:
            answer = await handlers[name](**command)
        except Exception as error:  # noqa: BLE001 -- the runner says what happened to whom
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)
        if name == "stop":
            return


def serve(handlers: dict[str, Handler]) -> None:
    """Answer commands until told to stop, on uvloop where the environment has it (all of ours do)."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a system prints must not be taken for an answer
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    with contextlib.suppress(ImportError):
        factory = import_module("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(_serve(handlers, answers))


def main(adapter: Adapter) -> None:
    """Be the process of one system."""
    serve(Served(adapter).handlers())
