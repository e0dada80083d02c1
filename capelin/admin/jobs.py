"""Jobs: list them, look at one, cancel it, run it again."""

import contextlib
from collections.abc import AsyncGenerator, Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from capelin import inbox, lua
from capelin.admin.access import Access
from capelin.admin.lanes import Cursor
from capelin.admin.repairing import check_cancelled, check_replayed
from capelin.admin.selecting import Selection, Sighting
from capelin.admin.walking import start_walk
from capelin.durations import milliseconds
from capelin.errors import InvalidOption, JobNotFound, RedisRefused, TornKey, Unreachable
from capelin.ids import JobId
from capelin.keys import ShardKeys
from capelin.lua import CancelVerdict, Replayed
from capelin.records import JobInfo, read_info

MOST = 500
SCANNED_AT_MOST = 10_000
"""Entries that a listing looks at before it says where to go on."""


NOTHING_TORN: Mapping[str, str] = MappingProxyType({})


class JobList(NamedTuple):
    """A page of jobs.

    Attributes:
        jobs: What is nearest to now first: what happened last, what is due next.
        scanned: How many entries were looked at.
        cursor: Where to go on; None when there is nothing more.
        torn: What is wrong with places that cannot be read and are left out, by their keys.
    """

    jobs: list[JobInfo]
    scanned: int = 0
    cursor: str | None = None
    torn: Mapping[str, str] = NOTHING_TORN

    @property
    def more(self) -> bool:
        """Whether there are others, or may be."""
        return self.cursor is not None


async def list_jobs(
    access: Access,
    wanted: Selection | None = None,
    *,
    limit: int = 50,
    after: str | None = None,
    scan: int = SCANNED_AT_MOST,
) -> JobList:
    """List a page of jobs.

    Args:
        access: Where.
        wanted: Which; all if it is not given.
        limit: At most so many, from 1 to 500.
        after: Go on where a page of the same selection stopped: its ``cursor``.
        scan: Look at no more than so many entries.

    Raises:
        InvalidOption: The limit is out of its range, or the cursor is none of such a listing.
        NotThere: There is no queue of that name.
        Unreachable, RedisRefused: Redis could not be asked.

    Example:
        page = await list_jobs(access, Selection(queue="emails", error="Timeout*"))
        while page.cursor:
            page = await list_jobs(access, Selection(queue="emails", error="Timeout*"), after=page.cursor)
    """
    found = await find(access, wanted or Selection(), limit=limit, after=after, scan=scan)
    jobs = await read_jobs(access, ((one.shard, one.uid) for one in found.jobs), found.torn)
    return JobList(jobs, found.scanned, found.cursor, found.torn)


class Found(NamedTuple):
    """A page of sightings; see ``JobList``."""

    jobs: list[Sighting]
    scanned: int
    cursor: str | None
    torn: dict[str, str]


async def find(access: Access, wanted: Selection, *, limit: int, after: str | None, scan: int) -> Found:
    """Return a page of sightings; see ``list_jobs``."""
    if not 1 <= limit <= MOST:
        raise InvalidOption(option="limit", value=limit, why=f"a listing has from 1 to {MOST} jobs")
    walk = await start_walk(
        access,
        wanted,
        after=None if after is None else Cursor.read(after),
        about=scan if wanted.narrow else limit,
        most=scan,
    )
    found: dict[str, Sighting] = {}
    async for seen in walk.run():
        # A job may stand twice in a place: at an entry that it left, and at the one to which it came back.
        if wanted.has(seen, walk.now) and (seen.uid == "" or seen.id not in found):
            found[f"{seen.id} {seen.at}" if seen.status is None else seen.id] = seen
        if len(found) >= limit:
            break
    cursor = None if walk.cursor is None else str(walk.cursor)
    return Found(list(found.values()), walk.seen, cursor, walk.torn)


async def each_page(
    access: Access, wanted: Selection, *, limit: int | None = None
) -> AsyncGenerator[list[JobInfo]]:
    """Give all of these jobs page by page, or the first so many; raises as ``list_jobs``."""
    left, after = limit, None
    while left is None or left > 0:
        page = await list_jobs(access, wanted, limit=MOST if left is None else min(MOST, left), after=after)
        yield page.jobs
        if page.cursor is None:
            return
        left, after = None if left is None else left - len(page.jobs), page.cursor


async def read_jobs(
    access: Access, places: Iterable[tuple[ShardKeys, str]], torn: dict[str, str]
) -> list[JobInfo]:
    """Read records without their failures. Those that are gone are left out, those that are torn noted."""
    wanted = list(places)
    records = await access.each_command([("HGETALL", shard.job(uid)) for shard, uid in wanted], torn)
    seal = access.settings.seal
    infos = (
        read_info(shard, uid, record, seal=seal)
        for (shard, uid), record in zip(wanted, records, strict=True)
        if record is not None
    )
    return [info for info in infos if info is not None]


async def read_job(access: Access, job_id: str) -> JobInfo:
    """Read a job's whole record.

    Raises:
        InvalidJobId: That is no job id.
        JobNotFound: There is no record of it.
        Unreachable, RedisRefused: Redis could not be asked.
    """
    place = JobId.parse(job_id)
    shard = access.keys.shard(place.queue, place.shard)
    record, failures = await access.commands(
        [("HGETALL", shard.job(place.uid)), ("LRANGE", shard.failures(place.uid), 0, -1)]
    )
    info = read_info(shard, place.uid, record, failures, seal=access.settings.seal)
    if info is None and record:
        raise TornKey(key=shard.job(place.uid), why="holds no record of a job")
    if info is None:
        raise JobNotFound(job_id=job_id)
    return info


async def cancel_job(access: Access, job_id: str) -> CancelVerdict:
    """Cancel a job, or tell its worker to stop it.

    Returns:
        ``cancelled``, or ``flagged`` when it runs: it ends cancelled unless it succeeds first.

    Raises:
        InvalidJobId: That is no job id.
        JobNotFound: There is no record of it.
        JobConflict: It had ended.
        Unreachable, RedisRefused: It may or may not be cancelled.
    """
    place = JobId.parse(job_id)
    call = lua.cancel(
        access.keys.shard(place.queue, place.shard),
        uid=place.uid,
        resend_window=milliseconds(access.settings.resend_window),
        default_retention=milliseconds(access.settings.retention),
    )
    [(verdict, detail)] = await access.ask([call])
    check_cancelled(job_id, verdict, detail)
    if verdict is CancelVerdict.FLAGGED:
        # The message only hurries what the worker's next renewal tells it.
        with contextlib.suppress(Unreachable, RedisRefused):
            await inbox.post(access.connection, access.keys, detail, inbox.Kind.CANCEL, {"job": job_id})
    return verdict


async def retry_job(access: Access, job_id: str) -> Replayed:
    """Run a dead job again, or one that waits for its time at once.

    Returns:
        ``replayed`` or ``hurried``.

    Raises:
        InvalidJobId: That is no job id.
        JobNotFound: There is no record of it.
        JobConflict: It neither is dead nor waits for its time, or another job has its dedupe key.
        Unreachable, RedisRefused: It may or may not run again.
    """
    verdict, detail = await access.replaying.replay(JobId.parse(job_id))
    check_replayed(job_id, verdict, detail)
    return verdict
