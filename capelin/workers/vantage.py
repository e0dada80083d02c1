"""Where ``cluster()`` looks from: one worker's place in the fleet, put together when somebody asks."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from capelin.clusters import Cluster, ClusterWorker, OwnedShard
from capelin.records import moment
from capelin.workers.fleet import Member
from capelin.workers.ownership import Ownership

_NOBODY: Mapping[str, Member] = {}


class Vantage:
    """One worker's view. It may be asked from any thread.

    Args:
        worker: The worker's id.
        ownership: What it owns.
        leads: Whether it leads the scheduler now.

    Attributes:
        members: Returns the membership as last read: another mapping each time it changed.
    """

    def __init__(self, worker: str, *, ownership: Ownership, leads: Callable[[], bool]) -> None:
        self._worker = worker
        self._ownership = ownership
        self._leads = leads
        self.members: Callable[[], Mapping[str, Member]] = lambda: _NOBODY
        self._known: tuple[Mapping[str, Member], tuple[ClusterWorker, ...]] = (_NOBODY, ())

    def look(self) -> Cluster:
        """Return how things stand now."""
        return Cluster(
            worker_id=self._worker,
            is_leader=self._leads(),
            workers=self._workers(),
            shards=tuple(
                sorted(OwnedShard(queue=shard.queue, shard=shard.shard) for shard in self._ownership.shards)
            ),
        )

    def _workers(self) -> tuple[ClusterWorker, ...]:
        members = self.members()
        known, workers = self._known
        if known is not members:
            workers = tuple(sorted(map(_worker, members.values()), key=lambda each: (each.started, each.id)))
            self._known = members, workers
        return workers


def _worker(member: Member) -> ClusterWorker:
    return ClusterWorker(
        id=member.id,
        app=member.app,
        host=member.host,
        pid=member.pid,
        version=member.version,
        queues=member.queues,
        slots=member.slots,
        started=moment(member.started) or datetime.fromtimestamp(0, UTC),
    )
