"""Schedules that tick fast, each run of which is noted in the test's ledger."""

import asyncio
import time
from datetime import timedelta
from typing import Any

from capelin import Capelin
from capelin.context import JobContext
from capelin.middleware import CallNext
from tests.support.ledger import Ledger

PERIODS = {"each": 1_000, "quick": 250, "newest": 1_000, "brief": 500}
"""The schedules of `app`: their periods, ms."""
SLOW = 0.7
"""Seconds that a run of `slow` takes, which ticks every half second."""


async def note_runs(job: JobContext, call_next: CallNext) -> Any:
    """Middleware: every start of a tick's job, and its end, with the moments."""
    ledger = Ledger.here()
    tick = 0 if job.tick is None else round(job.tick.timestamp() * 1000)
    ledger.note("start", job.schedule, tick, job.id, job.token, job.worker_id, time.time())
    result = await call_next()
    ledger.note("end", job.schedule, tick, job.id, job.token, job.worker_id, time.time())
    return result


app = Capelin(middleware=[note_runs])


@app.every(timedelta(seconds=1), catch_up="all", skip_if_older_than=None)
async def each() -> None: ...


@app.every(0.25, catch_up="all", skip_if_older_than=None)
async def quick() -> None: ...


@app.every(1)
async def newest() -> None: ...


@app.every(0.5, catch_up="all", skip_if_older_than=None, retention=0)
async def brief() -> None: ...


slow = Capelin(middleware=[note_runs])


@slow.every(0.5, catch_up="all", skip_if_older_than=None, overlap="skip")
async def skipping() -> None:
    await asyncio.sleep(SLOW)


@slow.every(0.5, catch_up="all", skip_if_older_than=None, overlap="queue")
async def queueing() -> None:
    await asyncio.sleep(SLOW)


@slow.every(0.5, catch_up="all", skip_if_older_than=None)
async def allowing() -> None:
    await asyncio.sleep(SLOW)
