"""A job's whole story: its record, and the jobs that led to it, follow it or were added by its end.

Of its children those are found that its own record leads to, without a search: what follows a success, what
was told of its deaths, what runs after it. What it enqueued while it ran names it as its parent, but lies
wherever it was sent: a listing by parent finds it, page by page.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from capelin.admin.access import Access
from capelin.admin.jobs import read_job
from capelin.ids import JobId
from capelin.lua.replies import text
from capelin.records import STATUS_FIELDS, JobInfo, JobStatus, read_status

_NEXT = re.compile(r"(.+)-t(\d+)")
_TOLD_OF = 20
"""The newest deaths whose follow-ups are looked for."""


class Kinship(StrEnum):
    """How another job is related to one."""

    FIRST = "first of its chain"
    """What led to it began with that job."""
    PARENT = "parent"
    """That job enqueued it, or its end added it."""
    FOLLOWS = "follows"
    """It runs after that job's end."""
    FOLLOWER = "follower"
    """That job runs after its end."""
    THEN = "then"
    """Its success added that job."""
    TOLD = "told of its death"
    """Its end in the DLQ added that job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Relative:
    """Another job that has to do with one.

    Attributes:
        kinship: How.
        id: Its id.
        status: None when its record is gone.
        task: Empty when its record is gone.
    """

    kinship: Kinship
    id: str
    status: JobStatus | None
    task: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStory:
    """A job, and what has to do with it.

    Attributes:
        job: The record.
        now: Redis's clock, ms.
        relatives: The jobs that its record leads to.
        then: The task that follows a success, if that is still to come.
    """

    job: JobInfo
    now: int
    relatives: tuple[Relative, ...] = ()
    then: str | None = None


async def read_story(access: Access, job_id: str) -> JobStory:
    """Read a job's story; the errors are those of ``read_job``.

    Example:
        story = await read_story(access, "emails.3.06dpvgeqmvk5m3jvmfb6v0000s")
        print(story.job.status, [relative.id for relative in story.relatives])
    """
    job = await read_job(access, job_id)
    near = _near(job)
    places = [JobId.parse(each) for each in near]
    records = await access.commands(
        [
            ("HMGET", access.keys.shard(place.queue, place.shard).job(place.uid), *STATUS_FIELDS)
            for place in places
        ]
    )
    relatives: list[Relative] = []
    for (each, kinship), (word, token, task) in zip(near.items(), records, strict=True):
        status = read_status(word, token, task)
        if status is None and kinship in (Kinship.THEN, Kinship.TOLD):
            continue  # it was only looked for
        relatives.append(Relative(kinship=kinship, id=each, status=status, task=text(task)))
    then = None if any(one.kinship is Kinship.THEN for one in relatives) else _task_of(job.then)
    return JobStory(
        job=job, now=await access.clock(), relatives=tuple(relatives), then=None if job.status.ended else then
    )


def _near(job: JobInfo) -> Mapping[str, Kinship]:
    found: dict[str, Kinship] = {}
    if job.correlation_id not in (job.id, job.parent_id):
        found[job.correlation_id] = Kinship.FIRST
    named = (
        (job.parent_id, Kinship.PARENT),
        (job.follows, Kinship.FOLLOWS),
        (job.follower, Kinship.FOLLOWER),
    )
    found |= {other: kinship for other, kinship in named if other is not None}
    found[_next_id(job.id)] = Kinship.THEN
    deaths = dict.fromkeys([*(failure.token for failure in job.failures), job.token])
    for token in list(deaths)[-_TOLD_OF:]:
        found[f"{job.id}-f{token}"] = Kinship.TOLD
    return found


def _next_id(job_id: str) -> str:
    """As the scripts name what follows a success."""
    place, _, uid = job_id.rpartition(".")
    match = _NEXT.fullmatch(uid)
    first, number = (match[1], int(match[2])) if match else (uid, 0)
    return f"{place}.{first}-t{number + 1}"


def _task_of(request: str | None) -> str | None:
    try:
        row: object = json.loads(request or "null")
    except ValueError:
        return None
    return str(row[0]) if isinstance(row, list) and row else None  # pyright: ignore[reportUnknownArgumentType]
