"""Runs what is due and ends: for users' tests, on an in-process Redis, with the real transitions and the
real executor.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextvars import copy_context
from functools import cache
from typing import TYPE_CHECKING, Any

from capelin.clusters import seen_by
from capelin.connection import Connection
from capelin.keys import ShardKeys
from capelin.lua import OutcomeRow, Verdict
from capelin.middleware import Middleware
from capelin.workers.consumer import Consumer
from capelin.workers.executor import Executor
from capelin.workers.fleet import Member
from capelin.workers.limits import Limits
from capelin.workers.ownership import Ownership
from capelin.workers.progress import report_progress
from capelin.workers.recording import Recorder
from capelin.workers.running import Running, Start
from capelin.workers.slots import Slots
from capelin.workers.startup import known_tasks, member_for
from capelin.workers.vantage import Vantage
from capelin.workers.weights import Weights

if TYPE_CHECKING:
    from capelin.app import Capelin

WORKER = "testing"


class _Nobody:
    """Ownership of a worker that owns nothing: it neither waits on a shard nor leaves anything to others."""

    idle_others = 0

    def owns(self, shard: ShardKeys) -> bool:
        del shard
        return False


async def drain(
    app: "Capelin[Any]",
    connection: Connection,
    *,
    layouts: dict[str, int],
    on_recorded: Callable[[Start, OutcomeRow, Verdict], None] | None = None,
    middleware: Sequence[Middleware] = (),
    clock: Callable[[], float] = time.time,
) -> int:
    """Run every job that is due, and what comes of it at once, and return how many starts that took.

    Args:
        app: Whose tasks run; its lifespan is open already.
        connection: Where.
        layouts: Number of shards by queue.
        on_recorded: Told of each recorded outcome.
        middleware: Goes around the app's own.
        clock: Seconds since the epoch, for what a retry policy asks.
    """
    settings = app.settings
    tasks = app.tasks
    sizes = {"loop": settings.concurrency, "thread": max(1, settings.threads), "process": settings.cpu or 1}
    slots = Slots(sizes, dict.fromkeys(layouts, frozenset(sizes)))
    shards = [app.keys.shard(queue, shard) for queue, count in layouts.items() for shard in range(count)]
    limits, running = Limits.of(settings), Running()
    consumer = Consumer(
        connection,
        worker=WORKER,
        limits=limits,
        slots=slots,
        running=running,
        owned=_Nobody(),
        weights=Weights(strict=settings.strict_priorities),
        recorder=Recorder(
            worker=WORKER, limits=limits, layouts=layouts, running=running, on_recorded=on_recorded
        ),
    )

    async def report(start: Start, fraction: float, message: str) -> None:
        await report_progress(connection, start, WORKER, fraction, message)

    vantage = Vantage(WORKER, ownership=Ownership(), leads=lambda: False)
    vantage.members = cache(lambda: {WORKER: _alone(app, layouts, slots)})
    with seen_by(vantage.look):
        base_context = copy_context()
    consumer.executor = Executor(
        tasks=tasks,
        defaults=app.defaults,
        worker=WORKER,
        slots=slots,
        ended=consumer.ended,
        abandon=consumer.abandon,
        middleware=(*middleware, *app.middleware),
        clock=clock,
        report=report,
        max_result_bytes=settings.max_payload_bytes,
        base_context=base_context,
        tracer=app.tracer,
        seal=settings.seal,
    )
    await consumer.drain(shards)
    return consumer.begun


def _alone(app: "Capelin[Any]", layouts: Mapping[str, int], slots: Slots) -> Member:
    known = known_tasks(app.tasks.values())
    return member_for(WORKER, app=app.name, queues=layouts, slots=slots, known=known)
