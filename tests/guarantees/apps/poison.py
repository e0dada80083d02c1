"""An app with jobs that kill whoever runs them, for worker processes that may die."""

import os
import signal
from typing import Literal

from capelin import Capelin, FailedJob, Tasks
from tests.support.ledger import Ledger, noting_starts

tasks = Tasks()


@tasks.task
async def told(job: FailedJob) -> None:
    """Notes which job it was told of, and why."""
    Ledger.here().note("told", job.job_id, job.reason, job.crashes, job.args[0][0])


@tasks.task(on_failure=told)
async def die(how: Literal["exit", "kill"]) -> None:
    """Ends the process that runs it: as a bug in a C extension does, or as the out-of-memory killer does."""
    if how == "exit":
        os._exit(1)
    os.kill(os.getpid(), signal.SIGKILL)


@tasks.task(on_failure=told, max_crashes=1)
async def die_once(how: Literal["exit", "kill"]) -> None:
    """The same, with no second chance."""
    await die(how)


@tasks.task
async def quick(number: int) -> int:
    return number


app = Capelin(middleware=[noting_starts(Ledger.here())] if "TEST_LEDGER" in os.environ else [])
app.include(tasks)
