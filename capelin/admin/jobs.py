"""Jobs: list the newest, look at one, cancel it, run it again."""

import contextlib
from collections.abc import Iterable
from typing import NamedTuple

from capelin import inbox, lua
from capelin.admin.access import Access
from capelin.durations import milliseconds
from capelin.errors import InvalidOption, JobConflict, JobNotFound, RedisRefused, Unreachable
from capelin.ids import JobId
from capelin.keys import ShardKeys
from capelin.lua import CancelVerdict, Replayed
from capelin.lua.looking import browse
from capelin.records import JobInfo, JobStatus, read_info

MOST = 500
DEPTH_OF_FILTERED = 500
"""How many entries of each place are looked at for jobs of one task."""


class JobList(NamedTuple):
    """Jobs, the newest first; ``more``: there are others, or may be, that were not looked at."""

    jobs: list[JobInfo]
    more: bool


async def list_jobs(
    access: Access,
    *,
    queue: str | None = None,
    status: JobStatus | None = None,
    task: str | None = None,
    limit: int = 50,
) -> JobList:
    """List the newest jobs.

    Args:
        access: Where.
        queue: Only its jobs.
        status: Only those in this status.
        task: Only this task's.
        limit: At most so many, from 1 to 500.

    Raises:
        InvalidOption: The limit is out of its range.
        NotThere: There is no queue of that name.
        Unreachable, RedisRefused: Redis could not be asked.
    """
    if not 1 <= limit <= MOST:
        raise InvalidOption(option="limit", value=limit, why=f"a listing has from 1 to {MOST} jobs")
    shards = await access.shards(queue)
    # Completed and cancelled jobs share one place.
    mixed = task is not None or status in (JobStatus.COMPLETED, JobStatus.CANCELLED)
    depth = DEPTH_OF_FILTERED if mixed else limit
    pages = await access.ask(
        [browse(shard, status=status or "", task=task or "", limit=limit, depth=depth) for shard in shards]
    )
    found = sorted(
        (
            (enqueued, uid, shard)
            for shard, page in zip(shards, pages, strict=True)
            for uid, enqueued in page.jobs
        ),
        key=lambda job: job[:2],
        reverse=True,
    )
    infos = await read_jobs(access, ((shard, uid) for _, uid, shard in found[:limit]))
    return JobList(infos, more=len(found) > limit or any(page.more for page in pages))


async def read_jobs(access: Access, places: Iterable[tuple[ShardKeys, str]]) -> list[JobInfo]:
    """Read records without their failures; those that are gone meanwhile are left out."""
    wanted = list(places)
    records = await access.commands([("HGETALL", shard.job(uid)) for shard, uid in wanted])
    infos = (read_info(shard, uid, record) for (shard, uid), record in zip(wanted, records, strict=True))
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
    info = read_info(shard, place.uid, record, failures)
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
    verdict, detail = await access.connection.run(call)
    if verdict is CancelVerdict.MISSING:
        raise JobNotFound(job_id=job_id)
    if verdict is CancelVerdict.FLAGGED:
        # The message only hurries what the worker's next renewal tells it.
        with contextlib.suppress(Unreachable, RedisRefused):
            await inbox.post(access.connection, access.keys, detail, inbox.Kind.CANCEL, {"job": job_id})
    if verdict is CancelVerdict.ENDED:
        raise JobConflict(
            job_id=job_id, status=detail, wanted="only a job that has not ended can be cancelled"
        )
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


def check_replayed(job_id: str, verdict: Replayed, detail: str) -> None:
    """Raise what a replay's verdict means for whoever asked for it.

    Raises:
        JobNotFound, JobConflict: See ``retry_job``.
    """
    if verdict is Replayed.MISSING:
        raise JobNotFound(job_id=job_id)
    if verdict is Replayed.REFUSED:
        raise JobConflict(
            job_id=job_id,
            status=detail,
            wanted="only a dead job, or one that waits for its time, can be retried",
        )
    if verdict is Replayed.DUPLICATE:
        raise JobConflict(
            job_id=job_id, status="failed", wanted=f"its dedupe key is held by {detail}, which is live"
        )
