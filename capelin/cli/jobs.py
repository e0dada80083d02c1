"""``capelin jobs``: list them, look at one, cancel, run again."""

from datetime import datetime
from typing import TYPE_CHECKING

from capelin.cli import jobs_repair
from capelin.cli.nouns import noun
from capelin.cli.options import (
    After,
    JobId,
    Json,
    JsonLines,
    LimitOrAll,
    NewerThan,
    OfError,
    OfParent,
    OfQueue,
    OfStatus,
    OfTask,
    OlderThan,
    Prefix,
    RedisUrl,
)

if TYPE_CHECKING:
    from capelin.records import JobInfo

jobs = noun("Jobs: list them, one's whole story, cancel, retry.")


@jobs.command("ls")
def ls(
    *,
    status: OfStatus = None,
    task: OfTask = None,
    queue: OfQueue = None,
    error: OfError = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    parent: OfParent = None,
    limit: LimitOrAll = None,
    after: After = None,
    redis: RedisUrl = None,
    prefix: Prefix = None,
    as_json: Json = False,
    as_lines: JsonLines = False,
) -> None:
    """List jobs: what happened last and what is due next comes first.

    An age is that of the status: since it started for a job that runs, since
    it ended for one that has, since it was enqueued for the others.
    """
    from capelin.admin import Access, JobList, list_jobs
    from capelin.cli.asking import ask
    from capelin.cli.choosing import selection
    from capelin.cli.listing import DEFAULT, stream
    from capelin.cli.printing import (
        Column,
        print_json,
        print_note,
        print_rest,
        print_table,
        print_torn,
        since,
    )

    wanted = selection(
        queue=queue,
        status=status,
        task=task,
        older_than=older_than,
        newer_than=newer_than,
        error=error,
        parent=parent,
    )

    async def page(access: Access, limit: int, after: str | None) -> JobList:
        return await list_jobs(access, wanted, limit=limit, after=after)

    if as_lines:
        ask(redis, prefix, lambda access: stream(access, page, limit=limit, after=after))
        return

    async def question(access: Access) -> tuple[JobList, int]:
        return await page(access, limit or DEFAULT, after), await access.clock()

    found, now = ask(redis, prefix, question)
    if as_json:
        document = {"jobs": found.jobs, "scanned": found.scanned, "next": found.cursor}
        print_json(document | ({"torn": found.torn} if found.torn else {}))
        print_torn(found.torn)
        return
    if found.jobs:
        columns = [
            Column("ID", whole=True),
            Column("TASK"),
            Column("STATUS", whole=True),
            Column("WHEN", right=True),
            Column("STARTS", right=True),
        ]
        rows = [(job.id, job.task, job.status.value, since(_when(job), now), job.token) for job in found.jobs]
        print_table(columns, rows)
    else:
        print_note("No job." if wanted.everything else "No such job.")
    print_rest(found.scanned, found.cursor, narrow=wanted.narrow)
    print_torn(found.torn)


@jobs.command("show")
def show(
    job_id: JobId,
    *,
    redis: RedisUrl = None,
    prefix: Prefix = None,
    as_json: Json = False,
    as_lines: JsonLines = False,
) -> None:
    """Show a job's whole story: what became of it when, every failed start, its parents and children."""
    from capelin.cli.story import tell

    tell(job_id, redis=redis, prefix=prefix, as_json=as_json, as_lines=as_lines)


jobs.command("cancel")(jobs_repair.cancel)
jobs.command("retry")(jobs_repair.retry)


def _when(job: "JobInfo") -> datetime | None:
    """When it is due, for one that is; else since when it has had its status."""
    from capelin.records import JobStatus

    if job.status is JobStatus.SCHEDULED:
        return job.due
    if job.status is JobStatus.RUNNING:
        return job.started
    return job.finished if job.status.ended else job.enqueued
