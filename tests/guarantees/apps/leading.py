"""An app whose leader can be blocked: a job that looks for the leader, and then holds its event loop."""

import time

from capelin import Capelin, Snooze, current_job
from tests.support.ledger import Ledger

BLOCKED = 4.0
"""Seconds for which the event loop is held: longer than it may make no progress, shorter than the lease."""

app = Capelin()


@app.every(0.25, catch_up="all", skip_if_older_than=None)
async def quick() -> None: ...


@app.task
async def block_the_leader() -> None:
    job = current_job()
    if not job.is_leader:
        Ledger.here().note("looked", job.worker_id)
        raise Snooze(delay=0.05)
    Ledger.here().note("blocked", job.worker_id, time.time())
    time.sleep(BLOCKED)  # noqa: ASYNC251 -- this is the fault
    Ledger.here().note("unblocked", job.worker_id, job.is_leader, time.time())
