"""``capelin dlq``: jobs that failed for good: list them, look at one, run them again, remove them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from capelin.cli.nouns import noun
from capelin.cli.options import Json, Limit, OfQueue, OfTask, Prefix, RedisUrl, Yes

if TYPE_CHECKING:
    from capelin.admin import DeadJob, Repaired

dlq = noun("The DLQ: jobs that failed for good.")

JobIds = Annotated[list[str] | None, typer.Argument(metavar="[ID…]", help="Ids of jobs.")]
All = Annotated[bool, typer.Option("--all", help="All of them.")]


@dlq.command("ls")
def ls(
    *,
    task: OfTask = None,
    queue: OfQueue = None,
    limit: Limit = 50,
    redis: RedisUrl = None,
    prefix: Prefix = None,
    as_json: Json = False,
) -> None:
    """List dead jobs, the newest first."""
    from capelin.admin import Access, DeadJob, list_dead
    from capelin.cli.asking import ask
    from capelin.cli.printing import Column, print_json, print_note, print_table, since

    async def question(access: Access) -> tuple[list[DeadJob], int, int]:
        found, total = await list_dead(access, queue=queue, task=task, limit=limit)
        return found, total, await access.clock()

    found, total, now = ask(redis, prefix, question)
    if as_json:
        print_json(found)
        return
    if not found:
        print_note("No such dead job." if task or queue else "No dead job.")
        return
    columns = [
        Column("ID", whole=True),
        Column("TASK"),
        Column("DIED", right=True),
        Column("WHY"),
    ]
    print_table(columns, [(job.id, job.task, since(job.died, now), _why(job)) for job in found])
    if task is None and total > len(found):
        print_note(f"The newest {len(found)} of {total}; --limit shows more.")


@dlq.command("show")
def show(
    job_id: Annotated[str, typer.Argument(metavar="ID", help="The job's id.")],
    *,
    redis: RedisUrl = None,
    prefix: Prefix = None,
    as_json: Json = False,
) -> None:
    """Show a dead job's whole record, with every failed start."""
    from capelin.cli import jobs

    jobs.show(job_id, redis=redis, prefix=prefix, as_json=as_json)


@dlq.command("replay")
def replay(
    job_ids: JobIds = None,
    *,
    every: All = False,
    task: OfTask = None,
    queue: OfQueue = None,
    redis: RedisUrl = None,
    prefix: Prefix = None,
    as_json: Json = False,
) -> None:
    """Run dead jobs again, as new: those named by id, all of a task or queue, or all."""
    from capelin.admin import Access, Repaired, pick_dead
    from capelin.admin import replay as replay_dead
    from capelin.cli.asking import ask

    _check_choice("replay", job_ids, every=every, task=task, queue=queue)

    async def question(access: Access) -> Repaired:
        return await replay_dead(access, await pick_dead(access, ids=job_ids or (), queue=queue, task=task))

    _report(ask(redis, prefix, question), "run again", as_json=as_json)


@dlq.command("purge")
def purge(
    job_ids: JobIds = None,
    *,
    every: All = False,
    task: OfTask = None,
    queue: OfQueue = None,
    yes: Yes = False,
    redis: RedisUrl = None,
    prefix: Prefix = None,
    as_json: Json = False,
) -> None:
    """Remove dead jobs and their records for good."""
    from capelin.admin import Access, DeadJob, pick_dead
    from capelin.admin import purge as purge_dead
    from capelin.cli.asking import ask, confirm

    _check_choice("purge", job_ids, every=every, task=task, queue=queue)

    async def pick(access: Access) -> list[DeadJob]:
        return await pick_dead(access, ids=job_ids or (), queue=queue, task=task)

    picked = ask(redis, prefix, pick)
    if picked:
        confirm(f"Remove {_counted(len(picked))} for good", yes=yes)
    _report(ask(redis, prefix, lambda access: purge_dead(access, picked)), "removed", as_json=as_json)


def _check_choice(
    verb: str, job_ids: Sequence[str] | None, *, every: bool, task: str | None, queue: str | None
) -> None:
    from capelin.errors import ConfigurationError

    if not (job_ids or every or task or queue):
        raise ConfigurationError(f"which jobs? capelin dlq {verb} ID… | --task TASK | --queue QUEUE | --all")
    if job_ids and (every or task or queue):
        raise ConfigurationError(f"capelin dlq {verb}: ids and --all, --task or --queue do not go together")


def _report(repaired: "Repaired", done: str, *, as_json: bool) -> None:
    from capelin.cli.printing import print_json

    if as_json:
        print_json(repaired)
    else:
        typer.echo(f"{_counted(repaired.done)} {done}")
        for why in repaired.refused.values():
            typer.echo(f"not: {why}", err=True)
    if repaired.refused:
        raise typer.Exit(1)


def _counted(count: int) -> str:
    return f"{count} {'job' if count == 1 else 'jobs'}"


def _why(job: "DeadJob") -> str:
    if job.error is None:
        return job.reason
    return f"{job.error.type}: {' '.join(job.error.message.split())}"
