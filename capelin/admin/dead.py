"""The DLQ: list it, replay from it, purge it."""

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from capelin import lua
from capelin.admin.access import Access
from capelin.admin.jobs import check_replayed, read_jobs
from capelin.errors import CapelinError, JobConflict, JobNotFound
from capelin.ids import JobId
from capelin.keys import ShardKeys
from capelin.lua import DeadRow
from capelin.records import JobError, JobInfo, moment

_PAGE = 200


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired:
    """What a replay or a purge did.

    Attributes:
        done: How many jobs it was done to.
        refused: Why not, by job id.
    """

    done: int = 0
    refused: Mapping[str, str] = field(default_factory=dict[str, str])


class _Entry:
    """An entry as it is stored."""

    __slots__ = ("entry", "reason", "shard", "task", "uid")

    def __init__(self, shard: ShardKeys, entry: str, fields: Sequence[bytes]) -> None:
        self.shard, self.entry = shard, entry
        words = {
            name.decode(errors="replace"): value.decode(errors="replace")
            for name, value in zip(fields[::2], fields[1::2], strict=False)
        }
        self.uid = words.get("j", "?")
        self.task = words.get("task", "?")
        self.reason = words.get("reason", "?")

    @property
    def moment(self) -> int:
        return int(self.entry.partition("-")[0])

    def dead(self, info: JobInfo | None) -> DeadJob:
        return DeadJob(
            id=self.shard.job_id(self.uid),
            entry=self.entry,
            task=self.task,
            reason=self.reason,
            died=moment(self.moment),
            error=None if info is None else info.error,
            attempt=0 if info is None else info.attempt,
            crashes=0 if info is None else info.crashes,
        )


async def list_dead(
    access: Access, *, queue: str | None = None, task: str | None = None, limit: int = 50
) -> tuple[list[DeadJob], int]:
    """List the newest dead jobs.

    Args:
        access: Where.
        queue: Only its jobs.
        task: Only this task's: then the whole DLQ may be read, a page at a time.
        limit: At most so many.

    Returns:
        The jobs, the newest first, and how many there are in these DLQs, of any task.

    Raises:
        NotThere: There is no queue of that name.
        Unreachable, RedisRefused: Redis could not be asked.
    """
    shards = await access.shards(queue)
    lengths = await access.commands([("XLEN", shard.dlq) for shard in shards])
    found: list[_Entry] = []
    if task is None:
        pages = await access.commands(
            [("XREVRANGE", shard.dlq, "+", "-", "COUNT", limit) for shard in shards]
        )
        for shard, page in zip(shards, pages, strict=True):
            found += [_Entry(shard, entry.decode(), fields or ()) for entry, fields in page]
    else:
        for shard in shards:
            of_shard: list[_Entry] = []
            async for page in _pages(access, shard, newest_first=True):
                of_shard += [entry for entry in page if entry.task == task]
                if len(of_shard) >= limit:
                    break
            found += of_shard[:limit]
    found.sort(key=lambda entry: entry.moment, reverse=True)
    return await _with_records(access, found[:limit]), sum(lengths)


async def pick_dead(
    access: Access,
    *,
    ids: Sequence[str] = (),
    queue: str | None = None,
    task: str | None = None,
) -> list[DeadJob]:
    """Pick dead jobs by id; or all of those in the DLQs now, of one queue or task if they are named.

    Raises:
        InvalidJobId: An id is none.
        JobNotFound: There is no record of a job.
        JobConflict: A job is not dead.
        NotThere: There is no queue of that name.
        Unreachable, RedisRefused: Redis could not be asked.
    """
    if ids:
        return await _by_ids(access, ids)
    found: list[DeadJob] = []
    for shard in await access.shards(queue):
        async for page in _pages(access, shard, newest_first=False):
            found += [entry.dead(None) for entry in page if task is None or entry.task == task]
    return found


async def replay(access: Access, jobs: Iterable[DeadJob]) -> Repaired:
    """Run dead jobs again, as new: same id, attempts and crashes from zero.

    Raises:
        Unreachable, RedisRefused: Some may run again, and some not.
    """
    wanted = list(jobs)
    replaying = access.replaying
    calls = [replaying.first(JobId.parse(job.id)) for job in wanted if _has_uid(job)]
    verdicts = iter(await access.ask(calls))
    done = 0
    refused: dict[str, str] = {}
    for job in wanted:
        if not _has_uid(job):
            refused[job.id] = "its entry cannot be read; purge it"
            continue
        try:
            check_replayed(job.id, *await replaying.go_on(JobId.parse(job.id), *next(verdicts)))
        except CapelinError as error:
            refused[job.id] = str(error)
        else:
            done += 1
    return Repaired(done=done, refused=refused)


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
        lua.purge(shard, dead=dead[begin : begin + _PAGE])
        for shard, dead in rows.items()
        for begin in range(0, len(dead), _PAGE)
    ]
    return Repaired(done=sum(await access.ask(calls)))


async def _pages(access: Access, shard: ShardKeys, *, newest_first: bool) -> AsyncGenerator[list[_Entry]]:
    """Read a DLQ a page at a time; what is added meanwhile is left out."""
    [newest] = await access.commands([("XREVRANGE", shard.dlq, "+", "-", "COUNT", 1)])
    if not newest:
        return
    first, last = "-", newest[0][0].decode()
    while True:
        words = ("XREVRANGE", shard.dlq, last, first) if newest_first else ("XRANGE", shard.dlq, first, last)
        [page] = await access.commands([(*words, "COUNT", _PAGE)])
        entries = [_Entry(shard, entry.decode(), fields or ()) for entry, fields in page]
        yield entries
        if len(entries) < _PAGE:
            return
        if newest_first:
            last = f"({entries[-1].entry}"
        else:
            first = f"({entries[-1].entry}"


async def _with_records(access: Access, entries: Sequence[_Entry]) -> list[DeadJob]:
    readable = [(entry.shard, entry.uid) for entry in entries if entry.uid != "?"]
    infos = {info.id: info for info in await read_jobs(access, readable)}
    return [entry.dead(infos.get(entry.shard.job_id(entry.uid))) for entry in entries]


async def _by_ids(access: Access, ids: Sequence[str]) -> list[DeadJob]:
    places = [JobId.parse(job_id) for job_id in dict.fromkeys(ids)]
    shards = [access.keys.shard(place.queue, place.shard) for place in places]
    records = await access.commands(
        [
            ("HMGET", shard.job(place.uid), "status", "place", "task", "error")
            for shard, place in zip(shards, places, strict=True)
        ]
    )
    found: list[DeadJob] = []
    for place, (status, where, task, _) in zip(places, records, strict=True):
        if status is None:
            raise JobNotFound(job_id=str(place))
        entry = (where or b"").decode().removeprefix("dlq:")
        if status != b"failed" or not entry:
            raise JobConflict(
                job_id=str(place), status=status.decode(), wanted="only a dead job is in the DLQ"
            )
        died = moment(entry.partition("-")[0])
        found.append(DeadJob(id=str(place), entry=entry, task=(task or b"?").decode(), reason="", died=died))
    return found


def _shard(access: Access, job: DeadJob) -> ShardKeys:
    queue, shard, _ = job.id.rsplit(".", 2)
    return access.keys.shard(queue, int(shard))


def _has_uid(job: DeadJob) -> bool:
    return not job.id.endswith(".?")
