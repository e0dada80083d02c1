"""The app that worker processes of these tests run: tasks that note what they do in the test's ledger.

Tasks that hold wait for a gate: a file that the test makes when they may go on. The ledger and the gates
are files, since Redis is what breaks in some of the tests.
"""

import asyncio
import os
import time
from pathlib import Path
from typing import Any, Literal

from tenacity import stop_after_attempt, wait_none

from capelin import Capelin, Reject, RetryPolicy, Tasks, current_job
from capelin.context import JobContext
from capelin.middleware import CallNext
from tests.support.ledger import ENV, Ledger
from tests.support.waiting import wait_until, wait_until_sync

PATIENCE = 120
"""Seconds after which a held job gives up: longer than any test."""

tasks = Tasks()


def gate(ledger: Path, name: str) -> Path:
    """The file whose existence opens a gate."""
    return ledger.with_name(f"gate-{name}")


def _is_open(name: str) -> bool:
    return gate(Path(os.environ[ENV]), name).exists()


async def note_starts_and_ends(job: JobContext, call_next: CallNext) -> Any:
    """Middleware: every start, every end that was no error, and when a start was over, with the moment."""
    ledger = Ledger.here()
    ledger.note("start", job.id, job.token, job.worker_id, time.time())
    try:
        result = await call_next()
        ledger.note("end", job.id, job.token, job.worker_id, time.time())
        return result
    finally:
        ledger.note("over", job.id, job.token, job.worker_id, time.time())


@tasks.task
async def quick(number: int) -> int:
    return number


@tasks.task
async def lasting(seconds: float) -> str:
    """Lasts so long; returns who ran it."""
    await asyncio.sleep(seconds)
    return current_job().worker_id


@tasks.task
async def held(name: str) -> str:
    """Waits for a gate; returns who ran it."""
    await wait_until(lambda: _is_open(name), description=f"gate {name}", timeout=PATIENCE)
    return current_job().worker_id


@tasks.task
async def stubborn(name: str) -> str:
    """Waits for a gate, and does not heed that it is told to stop."""
    while not _is_open(name):
        try:
            await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            Ledger.here().note("unmoved", current_job().id)
    return current_job().worker_id


@tasks.task(queue="threads")
def held_thread(name: str) -> str:
    """Waits for a gate, in a thread that does not look whether it is told to stop."""
    wait_until_sync(lambda: _is_open(name), description=f"gate {name}", timeout=PATIENCE)
    return current_job().worker_id


@tasks.task(queue="threads")
def attentive_thread() -> str:
    """Waits, in a thread, to be told to stop."""
    wait_until_sync(lambda: current_job().cancelled, description="to be cancelled", timeout=PATIENCE)
    Ledger.here().note("told", current_job().id)
    raise InterruptedError("told to stop")


@tasks.task
async def sleeping(seconds: float) -> str:
    """Blocks the event loop for so long, as a driver that is not asynchronous does."""
    Ledger.here().note("blocked", current_job().id, time.time())
    time.sleep(seconds)  # noqa: ASYNC251 -- this is what it is for
    return current_job().worker_id


@tasks.task
async def sleeping_once(seconds: float) -> str:
    """Blocks the event loop on its first start."""
    if current_job().token == 1:
        Ledger.here().note("blocked", current_job().id, time.time())
        time.sleep(seconds)  # noqa: ASYNC251 -- this is what it is for
    return current_job().worker_id


@tasks.task
async def fenced(second: Literal["completes", "holds", "is rejected"]) -> str:
    """Its first start waits for the gate `first`, its second does as told, its third waits for `third`."""
    job = current_job()
    if job.token == 1:
        await wait_until(lambda: _is_open("first"), description="gate first", timeout=PATIENCE)
    elif job.token == 2 and second == "holds":
        await asyncio.Event().wait()
    elif job.token == 2 and second == "is rejected":
        raise Reject("on its second start")
    elif job.token == 3:
        await wait_until(lambda: _is_open("third"), description="gate third", timeout=PATIENCE)
    return job.worker_id


@tasks.task(queue="processes", run_in="process")
def add_in_process(number: int) -> int:
    return number + 1


@tasks.task(queue="processes", run_in="process")
def held_process(name: str) -> int:
    """Notes its pid, waits for a gate; returns its pid."""
    Ledger.here().note("pid", current_job().id, current_job().attempt, os.getpid())
    wait_until_sync(lambda: _is_open(name), description=f"gate {name}", timeout=PATIENCE)
    return os.getpid()


@tasks.task(
    queue="processes", run_in="process", retry=RetryPolicy(stop=stop_after_attempt(2), wait=wait_none())
)
def crashing_process(name: str) -> int:
    """Its first attempt dies as from a fault in C, once the gate is open; the second returns its attempt."""
    wait_until_sync(lambda: _is_open(name), description=f"gate {name}", timeout=PATIENCE)
    if current_job().attempt == 1:
        os._exit(1)
    return current_job().attempt


app = Capelin(middleware=[note_starts_and_ends])
app.include(tasks)
