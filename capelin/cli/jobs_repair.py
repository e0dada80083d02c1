"""``capelin jobs cancel`` and ``jobs retry``: by id, or by what the jobs are like."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from capelin.cli.options import (
    All,
    DryRun,
    JobIds,
    Json,
    JsonLines,
    NewerThan,
    OfError,
    OfQueue,
    OfStatus,
    OfTask,
    OlderThan,
    Prefix,
    Rate,
    RedisUrl,
    Yes,
)

if TYPE_CHECKING:
    from capelin.admin import Access, Repaired, Selection, Sighting
    from capelin.cli.repairs import Manner
    from capelin.records import JobStatus


def cancel(
    job_ids: JobIds = None,
    *,
    every: All = False,
    status: OfStatus = None,
    task: OfTask = None,
    queue: OfQueue = None,
    error: OfError = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    redis: RedisUrl = None,
    prefix: Prefix = None,
    as_json: Json = False,
    as_lines: JsonLines = False,
) -> None:
    """Cancel jobs that have not ended. One that runs is stopped; a thread sees that it should return.

    With --status queued, say, what has begun to run meanwhile is left alone.
    """
    from capelin.admin import cancel_jobs
    from capelin.cli.choosing import choose
    from capelin.cli.repairs import Manner, carry_out, work_on
    from capelin.ids import JobId
    from capelin.records import JobStatus

    chosen = choose(
        "jobs cancel",
        job_ids,
        every=every,
        queue=queue,
        status=status,
        task=task,
        error=error,
        older_than=older_than,
        newer_than=newer_than,
    )
    manner = Manner(
        redis=redis, prefix=prefix, dry=dry_run, ask=True, yes=yes, as_json=as_json, as_lines=as_lines
    )
    if chosen.ids:
        _by_id("cancel", chosen.ids, manner)
        return
    live = frozenset(one for one in JobStatus if not one.ended)
    named = _within(chosen.selection, live, "only a job that has not ended can be cancelled")
    only_waiting = JobStatus.RUNNING not in named.statuses

    async def repair(access: "Access", part: "Sequence[Sighting]") -> "Repaired":
        jobs = [JobId.parse(seen.id) for seen in part]
        return await cancel_jobs(access, jobs, only_waiting=only_waiting)

    done = "cancelled" if only_waiting else "cancelled, or told to stop"
    carry_out(work_on("cancel {}", "cancelling", done, named, repair), manner)


def retry(
    job_ids: JobIds = None,
    *,
    every: All = False,
    status: OfStatus = None,
    task: OfTask = None,
    queue: OfQueue = None,
    error: OfError = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    rate: Rate = None,
    dry_run: DryRun = False,
    redis: RedisUrl = None,
    prefix: Prefix = None,
    as_json: Json = False,
    as_lines: JsonLines = False,
) -> None:
    """Run dead jobs again, or scheduled ones at once."""
    from capelin.admin import retry_jobs
    from capelin.cli.choosing import choose
    from capelin.cli.repairs import Manner, carry_out, work_on
    from capelin.ids import JobId
    from capelin.records import JobStatus

    chosen = choose(
        "jobs retry",
        job_ids,
        every=every,
        queue=queue,
        status=status,
        task=task,
        error=error,
        older_than=older_than,
        newer_than=newer_than,
    )
    manner = Manner(redis=redis, prefix=prefix, rate=rate, dry=dry_run, as_json=as_json, as_lines=as_lines)
    if chosen.ids:
        _by_id("retry", chosen.ids, manner)
        return
    able = frozenset({JobStatus.FAILED, JobStatus.SCHEDULED})
    named = _within(chosen.selection, able, "only a dead job, or one that waits for its time, can be retried")

    async def repair(access: "Access", part: "Sequence[Sighting]") -> "Repaired":
        return await retry_jobs(
            access,
            [
                (JobId.parse(seen.id), seen.at if seen.status is JobStatus.FAILED else None)
                for seen in part
                if seen.status is not None
            ],
        )

    carry_out(work_on("retry {}", "retrying", "set to run again, or due now", named, repair), manner)


def _by_id(verb: str, ids: "Sequence[str]", manner: "Manner") -> None:
    """One by one: each says what became of it, and one that is refused does not stop the others."""
    import typer

    from capelin.admin import Access, cancel_job, retry_job
    from capelin.cli.asking import ask, confirm
    from capelin.cli.choosing import counted
    from capelin.errors import JobConflict, JobNotFound
    from capelin.ids import JobId

    for job_id in ids:
        JobId.parse(job_id)
    if manner.dry:
        order = f"{verb} {counted(len(ids))}"
        manner.say({"would": order, "jobs": len(ids)}, f"would {order}; nothing was changed")
        return
    if manner.ask:
        confirm(f"{verb.capitalize()} {counted(len(ids))}", yes=manner.yes)
    refused: dict[str, str] = {}

    async def question(access: Access) -> dict[str, str]:
        done: dict[str, str] = {}
        for job_id in ids:
            try:
                verdict = await (cancel_job if verb == "cancel" else retry_job)(access, job_id)
                done[job_id] = verdict.value
            except (JobConflict, JobNotFound) as error:
                if len(ids) == 1:
                    raise
                done[job_id], refused[job_id] = "refused", str(error)
        return done

    done = ask(manner.redis, manner.prefix, question)
    manner.say(
        done, "\n".join(f"{job_id} {_BECAME[word]}" for job_id, word in done.items() if word in _BECAME)
    )
    for why in refused.values():
        typer.echo(f"not: {why}", err=True)
    if refused:
        raise typer.Exit(1)


_BECAME = {
    "cancelled": "is cancelled",
    "flagged": "runs; its worker is told to stop it",
    "replayed": "runs again",
    "hurried": "is due now",
}


def _within(wanted: "Selection", able: "frozenset[JobStatus]", why: str) -> "Selection":
    """Check that the statuses that were named are some to which it can be done; all of those, if none is."""
    from capelin.errors import InvalidOption

    wrong = wanted.statuses - able
    if wrong:
        raise InvalidOption(option="--status", value=min(wrong).value, why=why)
    return wanted if wanted.statuses else replace(wanted, statuses=able)
