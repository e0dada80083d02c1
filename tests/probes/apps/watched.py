"""An app whose worker is watched: tasks that go well, tasks that do not, tasks that break their worker."""

import asyncio
import gc
import time

from tenacity import stop_after_attempt, wait_none

from capelin import Capelin, Reject, RetryPolicy
from capelin.workers.consumer import Consumer

app = Capelin(name="watched")


@app.task(name="quick")
async def quick(number: int) -> int:
    """Do nothing."""
    return number


@app.task(name="nap")
async def nap(seconds: float) -> None:
    """Take a moment."""
    await asyncio.sleep(seconds)


@app.task(name="hopeless", retry=RetryPolicy(stop=stop_after_attempt(3), wait=wait_none()))
async def hopeless() -> None:
    """Fail each time."""
    raise ValueError("always")


@app.task(name="refuse", queue="other")
async def refuse() -> None:
    """Reject itself."""
    raise Reject("no")


@app.task(name="block")
async def block(seconds: float) -> None:
    """Block the event loop."""
    time.sleep(seconds)  # noqa: ASYNC251 -- that is the fault


@app.task(name="kill_consumer")
async def kill_consumer() -> None:
    """End the consumer, and nothing else."""
    [consumer] = [task for task in asyncio.all_tasks() if task.get_name() == "capelin consumer"]
    consumer.cancel()
    await asyncio.sleep(20)


@app.task(name="deafen")
async def deafen() -> None:
    """Have the consumer go on and take nothing."""
    for found in gc.get_objects():
        if isinstance(found, Consumer):
            found.taking = False
