"""The DLQ: list it, replay from it, purge it."""

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from capelin import lua
from capelin.admin.access import Access
from capelin.admin.jobs import NOTHING_TORN, SCANNED_AT_MOST, find, read_jobs
from capelin.admin.lanes import oldest_first
from capelin.admin.repairing import Repaired, repair_all, retry_jobs
from capelin.admin.selecting import Selection, Sighting, named
from capelin.admin.walking import Walk
from capelin.errors import InvalidJobId, InvalidName, JobConflict, JobNotFound
from capelin.ids import JobId
from capelin.keys import ShardKeys
from capelin.lua import DeadRow
from capelin.lua.replies import text
from capelin.records import STATUS_FIELDS, JobError, JobInfo, JobStatus, moment, read_status

_BATCH = 200
_DEAD = frozenset({JobStatus.FAILED})


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadJob:
    """An entry of a DLQ.

    Attributes:
        id: The job's id; its uid is ``?`` when not even that could be read.
        entry: The entry's id in the shard's DLQ.
        task: The job's task; ``?`` when it could not be read.
        reason: Why it was dead-lettered, in a word: the error's type, ``WorkerLost``, ``torn`` …
        died: When.
        error: What went wrong last; None when there is no record.
        attempt: How many attempts failed.
        crashes: How many starts ended with the death of their worker.
    """

    id: str
    entry: str
    task: str
    reason: str
    died: datetime | None
    error: JobError | None = None
    attempt: int = 0
    crashes: int = 0


class DeadList(NamedTuple):
    """A page of dead jobs.

    Attributes:
        jobs: The newest first.
        total: How many there are in these DLQs, of any task.
        scanned: How many entries were looked at.
        cursor: Where to go on; None when there is nothing more.
        torn: What is wrong with places that cannot be read and are left out, by their keys.
    """

    jobs: list[DeadJob]
    total: int
    scanned: int = 0
    cursor: str | None = None
    torn: Mapping[str, str] = NOTHING_TORN


async def list_dead(
    access: Access,
    wanted: Selection | None = None,
    *,
    limit: int = 50,
    after: str | None = None,
    scan: int = SCANNED_AT_MOST,
) -> DeadList:
    """List a page of dead jobs, the newest first; the arguments and errors are those of ``list_jobs``."""
    chosen = _dead(wanted)
    found = await find(access, chosen, limit=limit, after=after, scan=scan)
    torn = found.torn
    total = await _length(access, chosen.queue, torn)
    readable = [(seen.shard, seen.uid) for seen in found.jobs if seen.status is not None]
    infos = {info.id: info for info in await read_jobs(access, readable, torn)}
    jobs = [_known(seen, infos.get(seen.id)) for seen in found.jobs]
    return DeadList(jobs, total, found.scanned, found.cursor, torn)


async def named_dead(access: Access, ids: Sequence[str]) -> list[DeadJob]:
    """Return these dead jobs.

    Raises:
        InvalidJobId: An id is none.
        JobNotFound: There is no record of a job.
        JobConflict: A job is not dead.
        Unreachable, RedisRefused: Redis could not be asked.
    """
    places = named(ids)
    shards = [access.keys.shard(place.queue, place.shard) for place in places]
    records = await access.commands(
        [
            ("HMGET", shard.job(place.uid), *STATUS_FIELDS, "place")
            for shard, place in zip(shards, places, strict=True)
        ]
    )
    found: list[DeadJob] = []
    for place, (word, token, task, where) in zip(places, records, strict=True):
        status = read_status(word, token, task)
        if status is None:
            raise JobNotFound(job_id=str(place))
        entry = text(where).removeprefix("dlq:")
        if status is not JobStatus.FAILED or not entry:
            raise JobConflict(job_id=str(place), status=status, wanted="only a dead job is in the DLQ")
        died = moment(entry.partition("-")[0])
        found.append(DeadJob(id=str(place), entry=entry, task=text(task or b"?"), reason="", died=died))
    return found


async def dead_batches(
    access: Access,
    wanted: Selection | None = None,
    *,
    until: int | None = None,
    torn: dict[str, str] | None = None,
) -> AsyncGenerator[list[DeadJob]]:
    """Give all dead jobs that are meant, the oldest first, some at a time.

    Args:
        access: Where.
        wanted: Which; all if it is not given.
        until: Those are left out that died after this moment, ms; now if it is not given.
        torn: Takes what is wrong with DLQs that cannot be read, by their keys.

    Raises:
        NotThere: There is no queue of that name.
        Unreachable, RedisRefused: Redis could not be asked.
    """
    chosen = _dead(wanted)
    now = await access.clock()
    last = now if until is None else until
    broken: dict[str, Exception] = {}
    lanes = oldest_first(await access.shards(chosen.queue, broken=broken))
    walk = Walk(access, lanes, now=now, errors=chosen.error is not None, about=_BATCH * 10)
    batch: list[DeadJob] = []
    async for seen in walk.run():
        if _died(seen) > last:
            break
        if chosen.has(seen, now):
            batch.append(_known(seen, None))
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if torn is not None:
        torn |= walk.torn | {name: str(error) for name, error in broken.items()}
    if batch:
        yield batch


async def count_dead(
    access: Access,
    wanted: Selection | None = None,
    *,
    until: int | None = None,
    torn: dict[str, str] | None = None,
) -> int:
    """Count the jobs that ``dead_batches`` gives; without looking at each, where that is possible."""
    chosen = _dead(wanted)
    if chosen.narrow:
        return sum([len(batch) async for batch in dead_batches(access, chosen, until=until, torn=torn)])
    return await _length(access, chosen.queue, {} if torn is None else torn)


async def replay(access: Access, jobs: Iterable[DeadJob]) -> Repaired:
    """Run dead jobs again, as new: same id, attempts and crashes from zero.

    Only the very death that was seen is undone: of two operators with the same list one wins.

    Raises:
        Unreachable, RedisRefused: Some may run again, and some not.
    """
    wanted = list(jobs)
    readable = [(JobId.parse(job.id), job.entry) for job in wanted if _has_uid(job)]
    nameless = {job.id: "its entry cannot be read; purge it" for job in wanted if not _has_uid(job)}
    return Repaired(refused=nameless) + await retry_jobs(access, readable)


async def replay_all(
    access: Access,
    batches: AsyncIterable[Sequence[DeadJob]],
    *,
    rate: float | None = None,
    tell: Callable[[Repaired], None] = lambda _: None,
) -> Repaired:
    """Replay many, at most ``rate`` a second; ``tell`` is told how far it is. Raises as ``replay``."""
    return await repair_all(batches, lambda part: replay(access, part), rate=rate, tell=tell)


async def purge(access: Access, jobs: Iterable[DeadJob]) -> Repaired:
    """Remove dead jobs for good, their records too.

    Raises:
        Unreachable, RedisRefused: Some may be gone, and some not.
    """
    rows: dict[ShardKeys, list[DeadRow]] = {}
    for job in jobs:
        uid = job.id.rpartition(".")[2]
        rows.setdefault(_shard(access, job), []).append(DeadRow(uid, job.entry))
    calls = [
        lua.purge(shard, dead=dead[begin : begin + _BATCH])
        for shard, dead in rows.items()
        for begin in range(0, len(dead), _BATCH)
    ]
    return Repaired(done=sum(await access.ask(calls)))


def _dead(wanted: Selection | None) -> Selection:
    return replace(wanted or Selection(), statuses=_DEAD)


async def _length(access: Access, queue: str | None, torn: dict[str, str]) -> int:
    broken: dict[str, Exception] = {}
    shards = await access.shards(queue, broken=broken)
    torn |= {name: str(error) for name, error in broken.items()}
    lengths = await access.each_command([("XLEN", shard.dlq) for shard in shards], torn)
    return sum(length or 0 for length in lengths)


def _known(seen: Sighting, info: JobInfo | None) -> DeadJob:
    return DeadJob(
        id=seen.id,
        entry=seen.at,
        task=seen.task,
        reason=seen.reason or "?",
        died=moment(_died(seen)),
        error=seen.error if info is None else info.error,
        attempt=0 if info is None else info.attempt,
        crashes=0 if info is None else info.crashes,
    )


def _died(seen: Sighting) -> int:
    return int(seen.at.partition("-")[0])


def _shard(access: Access, job: DeadJob) -> ShardKeys:
    queue, shard, _ = job.id.rsplit(".", 2)
    return access.keys.shard(queue, int(shard))


def _has_uid(job: DeadJob) -> bool:
    try:
        JobId.parse(job.id)
    except (InvalidJobId, InvalidName):
        return False
    return not job.id.endswith(".?")
