"""What a worker finds out before it works: its queues' layouts, its slots, its record in the fleet."""

import asyncio
import os
import socket
import time
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import structlog

from capelin import lua
from capelin._backoff import Backoff
from capelin.connection import Connection
from capelin.errors import RedisRefused, Unreachable, UnsupportedSchema
from capelin.keys import Keys
from capelin.lua import KnownTask, Layout
from capelin.options import TaskOptions
from capelin.settings import SCHEMA, Settings
from capelin.tasks import Task
from capelin.workers.fleet import Member
from capelin.workers.slots import Slots

log = structlog.get_logger("capelin.worker")


@cache
def capelin_version() -> str:
    """The installed release."""
    try:
        return version("capelin")
    except PackageNotFoundError:
        return "unknown"


def queues_of(tasks: Iterable[Task[..., Any]], defaults: TaskOptions) -> list[str]:
    """The queues that these tasks' jobs go to."""
    return sorted({task.effective(defaults).queue for task in tasks})


def known_tasks(tasks: Iterable[Task[..., Any]]) -> list[KnownTask]:
    """Every name that a job may ask for, aliases too, with the signature's digest."""
    return list(
        dict.fromkeys(
            KnownTask(name, task.signature.digest) for task in tasks for name in (task.name, *task.aliases)
        )
    )


def slots_for(
    settings: Settings, tasks: Iterable[Task[..., Any]], defaults: TaskOptions, queues: Iterable[str]
) -> Slots:
    """The slots of a worker that serves these queues."""
    sizes = {
        "loop": settings.concurrency,
        "thread": settings.threads,
        "process": settings.cpu or max(1, (os.cpu_count() or 2) - 1),
    }
    pools: dict[str, set[str]] = {queue: set() for queue in queues}
    for task in tasks:
        queue = task.effective(defaults).queue
        if queue in pools:
            pools[queue].add(task.run_in)
    return Slots(sizes, {queue: frozenset(used or {"loop"}) for queue, used in pools.items()})


def member_for(
    worker: str,
    *,
    app: str,
    queues: Iterable[str],
    slots: Slots,
    known: Iterable[KnownTask],
    release: str = "",
    singletons: Iterable[str] = (),
    candidate: bool = False,
    keys: Iterable[str] = (),
) -> Member:
    """The worker's record in the fleet."""
    return Member(
        id=worker,
        app=app,
        host=socket.gethostname(),
        pid=os.getpid(),
        version=capelin_version(),
        started=int(time.time() * 1000),
        queues=tuple(sorted(queues)),
        slots=slots.total,
        tasks={task.name: task.digest for task in known},
        release=release,
        singletons=tuple(sorted(singletons)),
        candidate=candidate,
        keys=tuple(keys),
    )


async def open_queues(
    connection: Connection, keys: Keys, queues: Iterable[str], settings: Settings, *, stopping: asyncio.Event
) -> Mapping[str, Layout]:
    """Read, or write, the layouts of the queues, by name. Waits for a Redis that does not answer.

    Raises:
        UnsupportedSchema: A newer major release wrote a queue.
        Unreachable: The worker was told to stop before Redis answered.
    """
    backoff = Backoff(first=0.2, most=5.0)
    while True:
        try:
            return {queue: await _open_queue(connection, keys, queue, settings) for queue in queues}
        except Unreachable as error:
            log.error("cannot start yet", error=str(error))
            waiting = asyncio.ensure_future(stopping.wait())
            await asyncio.wait([waiting], timeout=backoff.step())
            waiting.cancel()
            if stopping.is_set():
                raise


async def _open_queue(connection: Connection, keys: Keys, queue: str, settings: Settings) -> Layout:
    layout = await connection.run(lua.open_queue(keys, queue, shards=settings.shards, schema=SCHEMA))
    if layout.schema > SCHEMA:
        raise UnsupportedSchema(queue=queue, found=layout.schema, supported=SCHEMA)
    try:
        await connection.command("SADD", keys.queues, queue)
    except RedisRefused as error:
        # A list for people. A full Redis refuses it, and must be drained by workers that start.
        log.warning("the queue's name could not be noted", queue=queue, error=str(error))
    return layout
