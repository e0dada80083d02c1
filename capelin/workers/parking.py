"""Parked jobs find a worker that can run them, whoever parked them and whoever came first.

Two steps that cannot miss each other: a worker that joins the fleet looks at every shard of its queues
*after* its name is in the membership, and whoever parks a job reads the membership *after* the job is
parked. So the one sees the job, or the other sees the worker. What is told may still be lost (the one that
was told ends, say): therefore owners look after what is parked in their shards each time they trim them, and
tell again.

The look is a plain `EXISTS` of the sets in which jobs of its tasks may be parked. To ask for jobs is a script
that looks into each of these sets, and five hundred workers that start together would have it run in each of
thousands of shards, nearly all of which have nothing parked.
"""

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence

import structlog

from capelin import inbox
from capelin.connection import Connection
from capelin.errors import CapelinError
from capelin.keys import Keys, ShardKeys
from capelin.lua import ParkedRow
from capelin.workers.fleet import KEY_LACKS, Member, read_members
from capelin.workers.running import Start

log = structlog.get_logger("capelin.worker")

_KEYS_A_LOOK = 10_000


class Parking:
    """Tells capable workers of parked jobs.

    Args:
        worker: This worker's id.
        tasks: The names of the tasks that this worker can run.
        unpark: Has this worker ask a shard for parked jobs that it can run.
    """

    def __init__(
        self,
        connection: Connection,
        keys: Keys,
        *,
        worker: str,
        tasks: Sequence[str],
        unpark: Callable[[ShardKeys], None],
    ) -> None:
        self._connection = connection
        self._keys = keys
        self._worker = worker
        self._tasks = tasks
        self._unpark = unpark
        self._to_tell: dict[tuple[ShardKeys, ParkedRow], None] = {}
        self._telling: asyncio.Task[None] | None = None
        self._lamented: set[tuple[str, ParkedRow]] = set()
        self._to_look: dict[ShardKeys, None] = {}
        self._looking: asyncio.Task[None] | None = None

    @property
    def idle(self) -> bool:
        """Whether all that was found has been told, and looked at what was to be."""
        return self._telling is None and self._looking is None

    def look(self, shards: Iterable[ShardKeys]) -> None:
        """Look at these shards, and have this worker ask those where jobs of its tasks are parked."""
        self._to_look.update(dict.fromkeys(shards))
        if self._looking is None and self._to_look and self._tasks:
            self._looking = asyncio.get_running_loop().create_task(self._look_at_all())

    async def _look_at_all(self) -> None:
        at_once = max(1, _KEYS_A_LOOK // len(self._tasks))
        try:
            while shards := list(self._to_look)[:at_once]:
                for shard in shards:
                    del self._to_look[shard]
                for shard, some in zip(shards, await self._look_at(shards), strict=True):
                    if some:
                        self._unpark(shard)
        finally:
            self._looking = None

    async def _look_at(self, shards: Sequence[ShardKeys]) -> list[bool]:
        """Whether anything is parked in each shard, or may be, since it cannot be looked at."""
        questions = [("EXISTS", *map(shard.parked, self._tasks)) for shard in shards]
        try:
            return [reply != 0 for reply in await self._connection.commands(questions)]
        except CapelinError:
            return [True] * len(shards)

    def parked(self, start: Start, refused_by: str) -> None:
        """A job was parked here.

        Args:
            start: The start that could not run.
            refused_by: The digest of the signature that refused its arguments; empty when its task is
                unknown here; ``key:`` and the name of the key that lacks.
        """
        delivery = start.delivery
        log.warning(
            "a job is parked: this worker cannot run it",
            job=start.job_id,
            task=delivery.task,
            why=why_parked(refused_by),
        )
        self._tell(start.shard, [ParkedRow(delivery.task, delivery.digest, refused_by)])

    def found(self, shard: ShardKeys, rows: Iterable[ParkedRow]) -> None:
        """Jobs like these are parked in a shard of this worker's, perhaps for long."""
        self._tell(shard, rows)

    def _tell(self, shard: ShardKeys, rows: Iterable[ParkedRow]) -> None:
        self._to_tell.update(dict.fromkeys((shard, row) for row in rows))
        if self._telling is None and self._to_tell:
            self._telling = asyncio.get_running_loop().create_task(self._tell_all())

    async def _tell_all(self) -> None:
        try:
            while self._to_tell:
                rows, self._to_tell = self._to_tell, {}
                await self._tell_of(rows)
        except CapelinError as error:
            log.debug("capable workers could not be told of parked jobs", error=str(error))
        finally:
            self._telling = None

    async def _tell_of(self, rows: Iterable[tuple[ShardKeys, ParkedRow]]) -> None:
        members = read_members(await self._connection.command("HGETALL", self._keys.fleet_members))
        told: dict[str, dict[ShardKeys, None]] = {}
        for shard, row in rows:
            able = [member.id for member in members.values() if _can_run(member, shard, row)]
            if able:
                told.setdefault(random.choice(able), {})[shard] = None  # noqa: S311 -- any will do
                self._lamented.discard((shard.queue, row))
            else:
                self._lament(shard, row, len(members))
        for worker, shards in told.items():
            for shard in shards:
                if worker == self._worker:
                    self._unpark(shard)
                else:
                    # Any id in the shard will do: what is asked for is whatever is parked there.
                    data = {"job": shard.job_id("parked")}
                    await inbox.post(self._connection, self._keys, worker, inbox.Kind.PARKED, data)

    def _lament(self, shard: ShardKeys, row: ParkedRow, members: int) -> None:
        """Say once, not at each look, that nobody can run these: they may be parked for a day."""
        if (shard.queue, row) not in self._lamented:
            self._lamented.add((shard.queue, row))
            log.warning(
                "no worker can run what is parked; deploy one that can",
                queue=shard.queue,
                task=row.task,
                why="its arguments are of another signature" if row.refused_by else "unknown task",
                members=members,
            )


def why_parked(refused_by: str) -> str:
    """In words, for the log."""
    if refused_by.startswith(KEY_LACKS):
        name = refused_by.removeprefix(KEY_LACKS)
        return f"it is encrypted with key {name}, which is not in CAPELIN_ENCRYPTION_KEYS here"
    return "its arguments are of another signature" if refused_by else "unknown task"


def _can_run(member: Member, shard: ShardKeys, row: ParkedRow) -> bool:
    return shard.queue in member.queues and member.can_run(row.task, row.digest, refused_by=row.refused_by)
