"""An app for the tests of the command line: tasks that end in every way there is."""

import asyncio
import logging
import os
import threading
from datetime import date

import structlog
from tenacity import stop_after_attempt

from capelin import Capelin, Reject, RetryPolicy, TaskOptions, current_job

ONCE = RetryPolicy(stop=stop_after_attempt(1))

app = Capelin(defaults=TaskOptions(retry=ONCE))
log = structlog.get_logger("shop")


@app.task
async def greet(name: str, *, punctuation: str = "!") -> str:
    return f"Hello, {name}{punctuation}"


@app.task(name="shop.birthday", queue="letters")
async def birthday(name: str, on: date) -> str:
    if not isinstance(on, date):  # pyright: ignore[reportUnnecessaryIsInstance] -- that it is one is the test
        raise TypeError(on)
    return f"{name}: {on.day}.{on.month}."


@app.task
async def fail(message: str = "it fell over") -> None:
    raise ValueError(message)


@app.task
async def refuse() -> None:
    raise Reject("no such customer")


@app.task
async def pid() -> int:
    return os.getpid()


@app.task
async def hold(seconds: float) -> str:
    """Run until it is stopped, or for so long."""
    log.info("holding")
    await asyncio.sleep(seconds)
    return "held"


@app.task
async def say_async() -> str:
    log.info("from structlog", extra_field=1)
    logging.getLogger("theirs").warning("from logging")
    await asyncio.sleep(0)
    return current_job().id


@app.task
def say_in_a_thread() -> str:
    log.info("from structlog in a thread", thread=threading.current_thread().name)
    logging.getLogger("theirs").warning("from logging in a thread")
    return current_job().id


@app.task(run_in="process")
def say_in_a_process() -> str:
    log.info("from structlog in a process", child=os.getpid())
    logging.getLogger("theirs").warning("from logging in a process")
    return current_job().id
