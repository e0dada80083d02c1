"""What the workers of chaos do, and what they note of it: each line survives the death of its writer.

Redis is what breaks here, so it is never asked what happened: every start, end and recorded outcome goes to
the ledger. A thread in each worker notes when the process stood still, for whatever reason, and carries out
what files tell it: to block the event loop, to eat all memory that there is.
"""

import asyncio
import contextlib
import faulthandler
import os
import resource
import signal
import threading
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from tenacity import stop_after_attempt, wait_fixed

from capelin import Leader, RetryPolicy, Tasks, current_job
from capelin.context import JobContext
from capelin.lua import OutcomeRow, Verdict
from capelin.middleware import CallNext
from capelin.workers.recording import Recorder
from capelin.workers.running import Start
from tests.support.ledger import ENV, Ledger

PATIENT = RetryPolicy(stop=stop_after_attempt(50), wait=wait_fixed(0.2))
BEAT = 0.05
"""Seconds between two looks of the watching thread."""
STOOD_STILL = 0.1
"""Seconds beyond that are noted."""
_MOST_EATEN = 100_000
DEFAULT, THREADS, TICKS = "default", "threads", "ticks"
QUEUES = (DEFAULT, THREADS)
"""The queues in which nothing may be left in the end; ticks go on."""
EVERY_QUEUE = (*QUEUES, TICKS)

tasks = Tasks()


class Told(Exception):
    """Raised on purpose."""


class Count(BaseModel):
    """The state of the singleton."""

    n: int = 0


@tasks.task(retry=PATIENT)
async def quick(number: int) -> int:
    return number


@tasks.task(retry=PATIENT)
async def lasting(seconds: float) -> None:
    await asyncio.sleep(seconds)


@tasks.task
async def kept() -> None:
    """Runs for as long as its first worker lives."""
    if current_job().token == 1:
        await asyncio.Event().wait()


@tasks.task(queue=THREADS, retry=PATIENT)
def threaded(seconds: float) -> None:
    time.sleep(seconds)


@tasks.task(retry=PATIENT)
async def failing(number: int) -> int:
    """Fails on its first attempt."""
    if current_job().attempt == 1:
        raise Told(number)
    return number


@tasks.every(1.0, queue=TICKS, retry=PATIENT)
async def tick() -> None: ...


@tasks.singleton(state=Count, interval=0.25)
async def counter(leader: Leader[Count]) -> None:
    leader.state.n += 1
    await leader.save()
    Ledger.here().note("saved", leader.state.n, leader.fencing_token, leader.worker_id, time.time())


async def noting(job: JobContext, call_next: CallNext) -> Any:
    """Middleware: every start, and how it ended."""
    _watch_this_process()
    ledger = Ledger.here()
    tick = "-" if job.tick is None else int(job.tick.timestamp())
    ledger.note("start", job.id, job.token, job.worker_id, time.time(), job.task, tick)
    try:
        result = await call_next()
    except Exception:
        ledger.note("failed", job.id, job.token, job.worker_id, time.time())
        raise
    ledger.note("end", job.id, job.token, job.worker_id, time.time())
    return result


def note_outcomes() -> None:
    """Let workers of this process note what Redis said to each outcome; nothing else of them changes.

    Where there is no ledger, it is not one of those that chaos started, and its workers stay as they are.
    """
    if ENV not in os.environ:
        return
    read = Recorder._recorded  # pyright: ignore[reportPrivateUsage] -- there is no other place to look from

    def noted(recorder: Recorder, start: Start, row: OutcomeRow, verdict: Verdict) -> None:
        ledger, worker = Ledger.here(), recorder._worker  # pyright: ignore[reportPrivateUsage]
        with contextlib.suppress(
            MemoryError
        ):  # where all of it was taken: the note's failure is not the worker's
            ledger.note("recorded", start.job_id, start.token, worker, row.kind, verdict, time.time())
        read(recorder, start, row, verdict)

    Recorder._recorded = noted  # type: ignore[method-assign, assignment]
    faulthandler.register(signal.SIGUSR1, all_threads=True)


# The thread beside the loop.

_watching = threading.Lock()


def order(ledger: Path, what: str, pid: int) -> Path:
    """The file that tells a process what to do, by its content."""
    return ledger.with_name(f"{what}-{pid}")


def _watch_this_process() -> None:
    if _watching.acquire(blocking=False):  # never given back: one thread a process
        loop = asyncio.get_running_loop()
        threading.Thread(target=_watch, args=(loop,), name="watching", daemon=True).start()


def _watch(loop: asyncio.AbstractEventLoop) -> None:
    ledger = Ledger.here()
    path, pid = Path(os.environ[ENV]), os.getpid()
    block, eat, count = (order(path, what, pid) for what in ("block", "eat", "count"))
    last = time.time()
    while True:
        time.sleep(BEAT)
        now = time.time()
        if now - last > BEAT + STOOD_STILL:
            ledger.note("still", pid, last, now)
        last = now
        if count.exists():
            count.unlink()
            ledger.note("tasks", pid, len(asyncio.all_tasks(loop)))
        if block.exists():
            seconds = float(block.read_text())
            block.unlink()
            loop.call_soon_threadsafe(time.sleep, seconds)
        if eat.exists():
            seconds = float(eat.read_text())
            eat.unlink()
            _eat_memory(seconds)
            last = time.time()


def _eat_memory(seconds: float) -> None:
    """Leave this process no memory for so long: nothing grows, and what there is is taken."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    eaten: list[bytes] = []
    until = time.monotonic() + seconds
    resource.setrlimit(resource.RLIMIT_AS, (used, hard))
    while True:
        try:
            if time.monotonic() > until:
                break
            _eat(eaten, 32_768)
            _eat(eaten, 600)
            time.sleep(0.01)
        except MemoryError:
            continue
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def _eat(eaten: list[bytes], size: int) -> None:
    try:
        while len(eaten) < _MOST_EATEN:
            eaten.append(bytes(size))
    except MemoryError:
        return
