"""A clean end: nothing new is taken, leases go at once, jobs finish within the grace time, the rest is
handed back.

Whatever does not succeed here the fleet finds out by itself, since stakes and leases end.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

from capelin.errors import CapelinError
from capelin.scheduler.hosting import Hosting
from capelin.workers import outcomes
from capelin.workers.consumer import Consumer
from capelin.workers.heartbeat import Heartbeat
from capelin.workers.host import Host
from capelin.workers.running import Running, Stage, Stop

log = structlog.get_logger("capelin.worker")

_PATIENCE = 5.0
"""Seconds for what should take none: a script, a coroutine that was cancelled."""
_LITTLE_PATIENCE = 1.0
"""The same for coroutines when somebody is in a hurry."""


async def shut_down(
    consumer: Consumer,
    running: Running,
    *,
    host: Host,
    heartbeat: Heartbeat,
    grace: float,
    hurry: asyncio.Event,
    singletons: Hosting | None = None,
) -> None:
    """End a worker's work.

    Args:
        consumer: Goes on recording outcomes meanwhile.
        running: What still runs.
        host: Runs the heartbeat, which goes on keeping stakes meanwhile.
        heartbeat: The heartbeat.
        grace: Seconds that running jobs may still take.
        hurry: Ends the grace time when it is set.
        singletons: They end beside the jobs, and give their leases up one by one.
    """
    consumer.taking = False
    log.info("worker stops", running=len(running), grace=grace)
    closing = asyncio.create_task(_close(singletons, hurry))
    await asyncio.gather(
        _try("leaving the fleet", host.call(heartbeat.leave)),
        _try("waiting for the last deliveries", consumer.asked.settled()),
    )
    await _wait_for(running, grace, hurry)
    await _hand_back(consumer, running, patience=_LITTLE_PATIENCE if hurry.is_set() else _PATIENCE)
    await _try("recording the last outcomes", consumer.recorder.flushed())
    await closing
    await _try("signing off", host.call(heartbeat.sign_off))


async def _close(singletons: Hosting | None, hurry: asyncio.Event) -> None:
    if singletons is not None:
        await singletons.close(hurry)


async def _wait_for(running: Running, grace: float, hurry: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + grace
    hurrying = asyncio.create_task(hurry.wait())
    try:
        while (handles := running.handles()) and (left := deadline - loop.time()) > 0:
            await asyncio.wait([hurrying, *handles], timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if hurrying.done():
                return
    finally:
        hurrying.cancel()


async def _hand_back(consumer: Consumer, running: Running, *, patience: float) -> None:
    for start in running:
        if start.stage is Stage.RUNNING:
            if start.pool == "thread":
                consumer.abandon(start, outcomes.handed_back(start.delivery))
            start.request_stop(Stop.SHUTDOWN)
    if handles := [start.handle for start in running if start.handle is not None and start.pool != "thread"]:
        await asyncio.wait(handles, timeout=patience)
    for start in running:
        if start.stage is Stage.RUNNING:
            log.warning("a job does not stop; it is handed back while it runs", job=start.job_id)
            consumer.abandon(start, outcomes.handed_back(start.delivery))


async def _try(what: str, step: Coroutine[Any, Any, None]) -> None:
    try:
        async with asyncio.timeout(_PATIENCE):
            await step
    except (TimeoutError, CapelinError) as error:
        log.warning(
            "a step of the shutdown did not succeed", step=what, error=str(error) or "no answer in time"
        )
