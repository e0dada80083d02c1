"""What a measured system has to be able to do, and the process that does it when it is told to.

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
from collections.abc import Awaitable, Callable, Sequence
from importlib import import_module
from typing import Any, Protocol, TextIO

Started = Callable[[int], None]
Handler = Callable[..., Awaitable[dict[str, Any]]]

_LOOK = 0.001


class Adapter(Protocol):
    """A task system with one task: ``noop(number)``, which says that it runs and returns nothing."""

    async def open(self, url: str) -> None:
        """Connect to Redis, in whatever way is best for enqueueing."""
        ...

    def prepare(self, numbers: Sequence[int], *, together: bool) -> None:
        """Do what may be done before the clock starts: nothing, but for the bare loop."""
        del numbers, together

    async def enqueue_one(self, number: int) -> None:
        """Enqueue one job and return once Redis has confirmed it."""
        ...

    async def enqueue_many(self, numbers: Sequence[int]) -> None:
        """Enqueue jobs in the fastest documented way and return once Redis has confirmed all."""
        ...

    async def work(self, url: str, started: Started) -> None:
        """Be one worker process until cancelled; the task calls ``started(number)`` first thing."""
        ...

    def settled(self) -> bool:
        """Whether the worker has recorded the end of every job that it began."""
        ...

    async def finished(self) -> int:
        """Return how many jobs Redis holds as successfully finished: the history."""
        ...

    async def close(self) -> None:
        """Disconnect."""
        ...


class Starts:
    """Every start of a job in this process: which, and when."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.moments: list[int] = []
        self._different: set[int] = set()
        self._expected = range(0)
        self._all = asyncio.Event()
        self._began = 0.0
        self.worked = 0.0

    def expect(self, first: int, count: int) -> None:
        """Forget what was, and wait for the starts of ``count`` jobs from ``first`` on."""
        self.numbers.clear()
        self.moments.clear()
        self._different.clear()
        self._expected = range(first, first + count)
        self._all.clear()

    def add(self, number: int) -> None:
        """Note a start, by the clock that all processes of this machine share."""
        self.moments.append(time.monotonic_ns())
        self.numbers.append(number)
        if number in self._expected:  # else it is a late repeat of an earlier one
            self._different.add(number)
        if len(self.numbers) == 1:
            self._began = time.process_time()
        if len(self._different) == len(self._expected):
            self._all.set()

    async def wait(self, seconds: float) -> bool:
        """Return whether all jobs that were expected started in time."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._all.wait(), seconds)
        return self._all.is_set()

    def stop_clock(self) -> None:
        """Note how much CPU time this process spent since the first start."""
        self.worked = time.process_time() - self._began

    def account(self) -> dict[str, int]:
        """Return how many different jobs started, and how many starts were repeats."""
        different = len(self._different)
        return {"started": different, "repeated": len(self.numbers) - different}


class Served:
    """An adapter's side of each command."""

    def __init__(self, adapter: Adapter) -> None:
        self.adapter = adapter
        self.starts = Starts()
        self._url = ""
        self._worker: asyncio.Task[None] | None = None

    async def open(self, url: str) -> dict[str, Any]:
        """Connect."""
        self._url = url
        await self.adapter.open(url)
        return {}

    async def enqueue(self, first: int, count: int, *, together: bool) -> dict[str, Any]:
        """Enqueue ``count`` jobs, one at a time or all together; tells the seconds it took."""
        numbers = range(first, first + count)
        self.adapter.prepare(numbers, together=together)
        begin = time.perf_counter()
        if together:
            await self.adapter.enqueue_many(numbers)
        else:
            for number in numbers:
                await self.adapter.enqueue_one(number)
        return {"seconds": time.perf_counter() - begin}

    async def pace(self, first: int, count: int, gap: tuple[float, float]) -> dict[str, Any]:
        """Enqueue jobs with random pauses between them; tells when each was begun to be enqueued."""
        self.adapter.prepare(range(first, first + count), together=False)
        sent: list[int] = []
        for number in range(first, first + count):
            await asyncio.sleep(random.uniform(*gap))  # noqa: S311 -- so that no beat meets another
            sent.append(time.monotonic_ns())
            await self.adapter.enqueue_one(number)
        return {"sent": sent}

    async def work(self, expect: int) -> dict[str, Any]:
        """Start the worker; expect all jobs that wait, from number 0 on."""
        self.starts.expect(0, expect)
        self._worker = asyncio.create_task(self.adapter.work(self._url, self.starts.add))
        return {}

    async def expect(self, first: int, count: int) -> dict[str, Any]:
        """Forget the starts so far and expect others."""
        self.starts.expect(first, count)
        return {}

    async def drained(self, timeout: float) -> dict[str, Any]:
        """Wait until every expected job has started and its end is recorded.

        Tells the seconds from the first start to the last record, and the CPU seconds of this process in
        them.
        """
        if await self._watched(self.starts.wait(timeout)):
            await self._settled()
        end = time.monotonic_ns()
        self.starts.stop_clock()
        first = self.starts.moments[0] if self.starts.moments else end
        return {"seconds": (end - first) / 1e9, "worked": self.starts.worked, **self.starts.account()}

    async def begun(self, timeout: float) -> dict[str, Any]:
        """Wait for the expected starts; tells which jobs started when."""
        if await self._watched(self.starts.wait(timeout)):
            await self._settled()
        return {"numbers": self.starts.numbers, "moments": self.starts.moments, **self.starts.account()}

    async def finished(self) -> dict[str, Any]:
        """Tell how many jobs the system's own records call finished."""
        return {"finished": await self.adapter.finished()}

    async def stop(self) -> dict[str, Any]:
        """End the worker, if there is one, and disconnect."""
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.wait([self._worker], timeout=10)
        await self.adapter.close()
        return {}

    async def _settled(self) -> None:
        while not self.adapter.settled():  # noqa: ASYNC110 -- no system offers an event for it
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
            "open": self.open,
            "enqueue": self.enqueue,
            "pace": self.pace,
            "work": self.work,
            "expect": self.expect,
            "drained": self.drained,
            "begun": self.begun,
            "finished": self.finished,
            "stop": self.stop,
        }


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
