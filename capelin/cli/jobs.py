"""``capelin jobs``: list the newest, look at one, cancel it, run it again."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from capelin.cli.nouns import noun
from capelin.cli.options import Json, Limit, OfQueue, OfTask, Prefix, RedisUrl, Yes

if TYPE_CHECKING:
    from capelin.records import JobInfo

jobs = noun("Jobs: the newest, one in full, cancel, retry.")

JobId = Annotated[str, typer.Argument(metavar="ID", help="The job's id.")]
JobIds = Annotated[list[str], typer.Argument(metavar="ID…", help="Ids of jobs.")]
OfStatus = Annotated[
    str | None,
    typer.Option(
        "--status",
        metavar="STATUS",
        help="scheduled, queued, running, parked, completed, failed or cancelled.",
    ),
]


@jobs.command("ls")
def ls(
    *,
    status: OfStatus = None,
    task: OfTask = None,
    queue: OfQueue = None,
    limit: Limit = 50,
    redis: RedisUrl = None,
    prefix: Prefix = None,
    as_json: Json = False,
) -> None:
    """List jobs, the newest first."""
    from capelin.admin import Access, JobList, list_jobs
    from capelin.cli.asking import ask
    from capelin.cli.printing import Column, print_json, print_note, print_table, since

    wanted = None if status is None else _status(status)

    async def question(access: Access) -> tuple[JobList, int]:
        found = await list_jobs(access, queue=queue, status=wanted, task=task, limit=limit)
        return found, await access.clock()

    found, now = ask(redis, prefix, question)
    if as_json:
        print_json(found.jobs)
        return
    if not found.jobs:
        print_note("No such job." if status or task or queue else "No job.")
        return
    columns = [
        Column("ID", whole=True),
        Column("TASK"),
        Column("STATUS", whole=True),
        Column("ENQUEUED", right=True),
        Column("STARTS", right=True),
    ]
    print_table(
        columns,
        [(job.id, job.task, job.status.value, since(job.enqueued, now), job.token) for job in found.jobs],
    )
    if found.more:
        print_note(f"The newest {len(found.jobs)}; --limit, --status, --task and --queue show others.")


@jobs.command("show")
def show(job_id: JobId, *, redis: RedisUrl = None, prefix: Prefix = None, as_json: Json = False) -> None:
    """Show a job's whole record, with every failed start."""
    from capelin.admin import read_job
    from capelin.cli.asking import ask
    from capelin.cli.printing import print_details, print_json

    job = ask(redis, prefix, lambda access: read_job(access, job_id))
    if as_json:
        print_json(job)
        return
    print_details(f"job {job.id}", _facts(job))
    for number, failure in enumerate(job.failures, 1):
        error = failure.error
        trace = error.traceback if error and number == len(job.failures) else None
        print_details(
            f"start {failure.token}: {error.type if error else '?'}",
            [
                ("worker", failure.worker),
                ("ended", _moment(failure.ended)),
                ("message", error.message if error else None),
                ("traceback", trace.rstrip() if trace else None),
            ],
        )


@jobs.command("cancel")
def cancel(
    job_ids: JobIds, *, yes: Yes = False, redis: RedisUrl = None, prefix: Prefix = None, as_json: Json = False
) -> None:
    """Cancel jobs. One that runs is stopped; a thread sees that it should return."""
    from capelin.admin import Access, cancel_job
    from capelin.cli.asking import ask, confirm
    from capelin.cli.printing import print_json

    confirm(f"Cancel {len(job_ids)} {'job' if len(job_ids) == 1 else 'jobs'}", yes=yes)

    async def question(access: Access) -> dict[str, str]:
        return {job_id: (await cancel_job(access, job_id)).value for job_id in job_ids}

    done = ask(redis, prefix, question)
    if as_json:
        print_json(done)
        return
    for job_id, verdict in done.items():
        typer.echo(
            f"{job_id} {'is cancelled' if verdict == 'cancelled' else 'runs; its worker is told to stop it'}"
        )


@jobs.command("retry")
def retry(job_ids: JobIds, *, redis: RedisUrl = None, prefix: Prefix = None, as_json: Json = False) -> None:
    """Run dead jobs again, or scheduled ones at once."""
    from capelin.admin import Access, retry_job
    from capelin.cli.asking import ask
    from capelin.cli.printing import print_json

    async def question(access: Access) -> dict[str, str]:
        return {job_id: (await retry_job(access, job_id)).value for job_id in job_ids}

    done = ask(redis, prefix, question)
    if as_json:
        print_json(done)
        return
    for job_id, verdict in done.items():
        typer.echo(f"{job_id} {'runs again' if verdict == 'replayed' else 'is due now'}")


def _status(text: str) -> Any:
    import difflib

    from capelin.errors import InvalidOption
    from capelin.records import JobStatus

    try:
        return JobStatus(text)
    except ValueError:
        known = [status.value for status in JobStatus]
        near = difflib.get_close_matches(text, known, n=1)
        why = f"did you mean {near[0]!r}?" if near else f"one of {', '.join(known)}"
        raise InvalidOption(option="--status", value=text, why=why) from None


def _facts(job: "JobInfo") -> list[tuple[str, object]]:
    from capelin.cli.printing import ago

    error = f"{job.error.type}: {job.error.message}" if job.error else None
    arguments = ", ".join(
        [*map(_short, job.args), *(f"{name}={_short(v)}" for name, v in job.kwargs.items())]
    )
    ran = (job.finished - job.started).total_seconds() if job.finished and job.started else None
    return [
        ("task", job.task),
        ("arguments", arguments or "none"),
        (
            "status",
            job.status.value + (", to be cancelled" if job.cancel_requested and not job.status.ended else ""),
        ),
        ("parked", _why_parked(job)),
        ("progress", f"{job.progress[0]:.0%} {job.progress[1]}" if job.progress else None),
        ("priority", job.priority.value),
        ("enqueued", _moment(job.enqueued)),
        ("due", _moment(job.due)),
        ("started", _moment(job.started)),
        ("ended", _moment(job.finished)),
        ("ran for", ago(ran) if ran is not None and ran >= 0 else None),
        ("expires", _moment(job.expires)),
        ("worker", job.worker),
        ("starts", f"{job.token} ({job.attempt} attempts failed, {job.crashes} workers lost)"),
        ("result", None if job.status != "completed" else _short(job.result)),
        ("error", error),
        ("dedupe key", job.dedupe_key),
        ("follows", job.follows),
        ("follower", job.follower),
        ("parent", job.parent_id),
        ("chain", None if job.correlation_id == job.id else job.correlation_id),
        ("batch", job.batch_id),
        ("schedule", job.schedule),
        ("tick", _moment(job.tick)),
        ("headers", _short(dict(job.headers)) if job.headers else None),
    ]


def _why_parked(job: "JobInfo") -> str | None:
    if job.status != "parked":
        return None
    return "its arguments are of another signature" if job.parked_by else "no worker so far knows its task"


def _moment(moment: Any) -> str:
    from capelin.cli.printing import at

    return at(moment)


def _short(value: object, most: int = 400) -> str:
    import json

    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= most else f"{text[:most]}… ({len(text):,} characters)"
