"""Tasks that run in processes of their own, and end in every way."""

import os
import time
from pathlib import Path

from tenacity import stop_after_attempt, wait_none

from capelin import Reject, Retry, RetryPolicy, Snooze, Tasks, cluster, current_job
from capelin.errors import NotInThisProcess

tasks = Tasks()


class Overflowing(Exception):
    """An exception with a signature of its own, as users have them."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.level = level

    def __str__(self) -> str:
        return f"full: {self.level}"


@tasks.task(run_in="process", retry=RetryPolicy(stop=stop_after_attempt(2), wait=wait_none()))
def end(how: str) -> int:
    """Ends as it is told; the second start of a retried or snoozed job returns its attempt."""
    job = current_job()
    if job.token == 1 and how == "retry":
        raise Retry(delay=0.05)
    if job.token == 1 and how == "snooze":
        raise Snooze(delay=0.05)
    if how == "reject":
        raise Reject("no")
    if how == "error":
        raise Overflowing(7)
    return job.attempt


@tasks.task(run_in="process")
def look() -> dict[str, str]:
    """What a job in a process sees of itself."""
    job = current_job()
    return {
        "id": job.id,
        "task": job.task,
        "queue": job.queue,
        "attempt": str(job.attempt),
        "worker": job.worker_id,
        "headers": str(dict(job.headers)),
        "here": str(os.getpid()),
    }


@tasks.task(run_in="process")
def reach() -> str:
    """What it does not reach, since that is in the worker's process."""
    try:
        current_job().progress_sync(0.5)
    except NotInThisProcess as error:
        return str(error)
    return "reached"


@tasks.task(run_in="process")
def look_around() -> str:
    """What it does not see: the fleet, which its worker knows."""
    assert cluster(None) is None
    try:
        return repr(cluster())
    except NotInThisProcess as error:
        return str(error)


@tasks.task(run_in="process")
def hang(path: str) -> None:
    """Writes its pid, and hangs without an event loop."""
    Path(path).write_text(str(os.getpid()))
    time.sleep(600)


def plain(number: int) -> str:
    """A function that is made a task by a call."""
    return f"{number} for {current_job().task}"


called = tasks.task(name="called", run_in="process")(plain)
