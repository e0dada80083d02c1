"""The first ten minutes: an async task, a plain one, one that fails, one with resources.

capelin dev examples.quickstart:app          # a worker, and a Redis if there is none
python -m examples.quickstart                # in another terminal: enqueue, and wait for results
capelin enqueue examples.quickstart:app greet '{"name": "Ada"}' --wait
capelin jobs
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date

import structlog
from tenacity import stop_after_attempt, wait_fixed

from capelin import Capelin, Retry, RetryPolicy, current_job

log = structlog.get_logger()


@dataclass
class Resources:
    """What tasks share for as long as their worker runs: pools and clients, usually."""

    greeting: str


@asynccontextmanager
async def lifespan() -> AsyncGenerator[Resources]:
    """Open what tasks need when a worker starts, and close it when it ends."""
    yield Resources(greeting="Hello")


app = Capelin(lifespan=lifespan)


@app.task
async def greet(name: str, *, times: int = 1) -> str:
    """Greet somebody; async tasks share the worker's event loop, a hundred at a time."""
    log.info("greeting", name=name)  # the line says which job it was
    return " ".join([f"{app.resources.greeting}, {name}!"] * times)


@app.task
def count_letters(text: str) -> dict[str, int]:
    """Count letters; plain functions run in threads, sixteen at a time."""
    return dict(Counter(letter for letter in text.lower() if letter.isalpha()).most_common(3))


@app.task(retry=RetryPolicy(stop=stop_after_attempt(3), wait=wait_fixed(1)))
async def birthday(name: str, on: date) -> str:
    """Fail once, to show that it is tried again; dates arrive as dates."""
    if current_job().attempt == 1:
        raise Retry(delay=0.5)
    return f"{name}: {on:%d %B}"


async def main() -> None:
    """Enqueue some jobs, and wait for what they return."""
    async with app:
        greeting = await greet.enqueue("Ada", times=2)
        letters = await count_letters.options(priority="high").enqueue("a capelin is a small fish")
        day = await birthday.enqueue("Ada", date(1815, 12, 10))
        for job in (greeting, letters, day):
            print(job.id, await job.result(timeout=30))


if __name__ == "__main__":
    asyncio.run(main())
