"""How the demo goes, read from Redis as any operator would read it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from capelin.admin import Access
from capelin.demo.tasks import QUEUE
from capelin.errors import Unreachable


@dataclass(frozen=True, slots=True, kw_only=True)
class Glance:
    """One look.

    Attributes:
        waiting: Jobs that wait for a worker, or for their next attempt.
        running: Jobs that run, by worker's name.
        ids: The workers' ids, by name, of those that run something.
        done: Jobs that completed.
        dead: Jobs in the DLQ.
    """

    waiting: int = 0
    running: Mapping[str, int] = field(default_factory=dict[str, int])
    ids: Mapping[str, str] = field(default_factory=dict[str, str])
    done: int = 0
    dead: int = 0


async def glance(access: Access) -> Glance | None:
    """Look once; None when Redis was too busy to answer."""
    try:
        surveys = (await access.surveys(QUEUE)).values()
    except Unreachable:
        return None
    running: dict[str, int] = {}
    ids: dict[str, str] = {}
    for found in surveys:
        for worker, jobs in found.running.items():
            name = name_of(worker)
            running[name] = running.get(name, 0) + jobs
            ids[name] = worker
    return Glance(
        waiting=sum(
            found.scheduled + sum(standing.waiting for standing in found.streams.values())
            for found in surveys
        ),
        running=running,
        ids=ids,
        done=sum(found.finished for found in surveys),
        dead=sum(found.dead for found in surveys),
    )


def name_of(worker: str) -> str:
    """Return the name that a worker's id begins with: ``worker-1-4711-ab12cd34`` is ``worker-1``."""
    return worker.rsplit("-", 2)[0]
