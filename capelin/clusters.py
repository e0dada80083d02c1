"""``cluster()``: the fleet, as the worker whose code runs here sees it.

A worker provides the view once, in the context that everything of its own inherits: its lifespan, its
middleware, its tasks on the loop and in threads. Nothing is made or asked until somebody looks.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar, overload

from capelin.context import JobContext, current_job
from capelin.errors import NoCluster, NotInThisProcess

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterWorker:
    """A live worker.

    Attributes:
        id: Its id, new at each start of its process.
        app: The name of the app that it works for.
        host, pid, version: Where it runs, and its release of capelin.
        queues: The queues that it serves.
        slots: How many jobs it runs at a time.
        started: When it started (aware), by its own clock.
    """

    id: str
    app: str
    host: str
    pid: int
    version: str
    queues: tuple[str, ...]
    slots: int
    started: datetime


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class OwnedShard:
    """A shard on whose work a worker waits.

    Example:
        >>> str(OwnedShard(queue="emails", shard=3))
        'emails:3'
    """

    queue: str
    shard: int

    def __str__(self) -> str:
        return f"{self.queue}:{self.shard}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """The fleet at one moment, as one worker knows it without asking anybody.

    Attributes:
        worker_id: The worker whose code this is.
        is_leader: Whether it leads the scheduler.
        workers: The live workers of all apps in the namespace, this one among them, the oldest first. Who
            joins or leaves is seen within a renew interval (2 s), who dies within a lease TTL more (6 s).
            Empty before the worker has joined (in its lifespan, say); one that drains a burst never does.
        shards: The shards that this worker owns, in order. Ownership says who waits for work, not who runs
            it: any worker with room may run any job.
        queue, shard: Where the current job lives; None outside a job.
    """

    worker_id: str
    is_leader: bool
    workers: tuple[ClusterWorker, ...]
    shards: tuple[OwnedShard, ...]
    queue: str | None = None
    shard: int | None = None


Look = Callable[[], Cluster]
"""Says how things stand now. Called from any thread."""

_look: ContextVar[Look | None] = ContextVar("capelin_cluster", default=None)


@overload
def cluster() -> Cluster: ...
@overload
def cluster(default: T, /) -> Cluster | T: ...
def cluster(*default: T) -> Cluster | T:
    """Return the fleet as this worker sees it now, or ``default`` outside a worker if one is given.

    It asks nobody and costs a few microseconds. It works in tasks on the loop and in threads, in middleware
    and in the lifespan, and in ``app.testing()`` while it drains. A job with ``run_in="process"`` is outside
    its worker; what it needs goes there as an argument.

    Raises:
        NoCluster: No worker runs this code, and no default is given.
        NotInThisProcess: The job runs in a process of its own, and no default is given.

    Example:
        >>> cluster(None) is None
        True
    """
    look = _look.get()
    job: JobContext | None = current_job(None)
    if look is None:
        if default:
            return default[0]
        raise NoCluster if job is None else NotInThisProcess(what="cluster()")
    seen = look()
    return seen if job is None else replace(seen, queue=job.queue, shard=job.shard)


@contextmanager
def seen_by(look: Look) -> Generator[None]:
    """Have ``cluster()`` ask ``look`` in what runs inside: the worker's business."""
    token = _look.set(look)
    try:
        yield
    finally:
        _look.reset(token)
