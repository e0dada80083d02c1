"""``capelin dlq``: jobs that failed for good: list them, look at one, run them again, remove them."""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING

from capelin.cli.nouns import noun
from capelin.cli.options import (
    After,
    All,
    DryRun,
    JobId,
    JobIds,
    Json,
    JsonLines,
    LimitOrAll,
    NewerThan,
    OfError,
    OfQueue,
    OfTask,
    OlderThan,
    Prefix,
    Rate,
    RedisUrl,
    Yes,
)

if TYPE_CHECKING:
    from capelin.admin import Access, DeadJob
    from capelin.cli.choosing import Chosen

dlq = noun("The DLQ: jobs that failed for good.")


@dlq.command("ls")
def ls(
    *,
    task: OfTask = None,
    queue: OfQueue = None,
    error: OfError = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    limit: LimitOrAll = None,
    after: After = None,
    redis: RedisUrl = None,
    prefix: Prefix = None,
    as_json: Json = False,
    as_lines: JsonLines = False,
) -> None:
    """List dead jobs, the newest first. An age is that of their death."""
    from capelin.admin import Access, DeadList, list_dead
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

    wanted = selection(queue=queue, task=task, error=error, older_than=older_than, newer_than=newer_than)

    async def page(access: Access, limit: int, after: str | None) -> DeadList:
        return await list_dead(access, wanted, limit=limit, after=after)

    if as_lines:
        ask(redis, prefix, lambda access: stream(access, page, limit=limit, after=after))
        return

    async def question(access: Access) -> tuple[DeadList, int]:
        return await page(access, limit or DEFAULT, after), await access.clock()

    found, now = ask(redis, prefix, question)
    if as_json:
        document = {
            "jobs": found.jobs,
            "total": found.total,
            "scanned": found.scanned,
            "next": found.cursor,
        }
        print_json(document | ({"torn": found.torn} if found.torn else {}))
        print_torn(found.torn)
        return
    if found.jobs:
        columns = [Column("ID", whole=True), Column("TASK"), Column("DIED", right=True), Column("WHY")]
        print_table(columns, [(job.id, job.task, since(job.died, now), _why(job)) for job in found.jobs])
    else:
        print_note("No dead job." if wanted.everything else "No such dead job.")
    print_rest(found.scanned, found.cursor, narrow=wanted.narrow)
    if found.cursor is not None and not wanted.narrow:
        print_note(f"There are {found.total:,} in all.")
    print_torn(found.torn)


@dlq.command("show")
def show(
    job_id: JobId,
    *,
    redis: RedisUrl = None,
    prefix: Prefix = None,
    as_json: Json = False,
    as_lines: JsonLines = False,
) -> None:
    """Show a dead job's whole story, with every failed start."""
    from capelin.cli.story import tell

    tell(job_id, redis=redis, prefix=prefix, as_json=as_json, as_lines=as_lines)


@dlq.command("replay")
def replay(
    job_ids: JobIds = None,
    *,
    every: All = False,
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
    """Run dead jobs again, as new, the oldest first: those named by id, those that the filters mean, or all.

    Whoever else replays the same jobs at the same time: each runs again once.
    What dies meanwhile is left for the next time.
    """
    from capelin.admin import replay as replay_dead
    from capelin.cli.choosing import choose
    from capelin.cli.repairs import Manner, Work, carry_out

    chosen = choose(
        "dlq replay",
        job_ids,
        every=every,
        queue=queue,
        task=task,
        error=error,
        older_than=older_than,
        newer_than=newer_than,
    )
    work = Work(
        order="replay {}",
        doing="replaying",
        done="set to run again",
        count=lambda access, torn: _count(access, chosen, torn),
        batches=_batches(chosen),
        repair=replay_dead,
    )
    carry_out(
        work,
        Manner(redis=redis, prefix=prefix, rate=rate, dry=dry_run, as_json=as_json, as_lines=as_lines),
    )


@dlq.command("purge")
def purge(
    job_ids: JobIds = None,
    *,
    every: All = False,
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
    """Remove dead jobs and their records for good."""
    from capelin.admin import purge as purge_dead
    from capelin.cli.choosing import choose
    from capelin.cli.repairs import Manner, Work, carry_out

    chosen = choose(
        "dlq purge",
        job_ids,
        every=every,
        queue=queue,
        task=task,
        error=error,
        older_than=older_than,
        newer_than=newer_than,
    )
    work = Work(
        order="remove {} for good",
        doing="removing",
        done="removed",
        count=lambda access, torn: _count(access, chosen, torn),
        batches=_batches(chosen),
        repair=purge_dead,
    )
    carry_out(
        work,
        Manner(
            redis=redis,
            prefix=prefix,
            dry=dry_run,
            ask=True,
            yes=yes,
            as_json=as_json,
            as_lines=as_lines,
        ),
    )


async def _count(access: "Access", chosen: "Chosen", torn: dict[str, str]) -> int:
    from capelin.admin import count_dead, named_dead

    return (
        len(await named_dead(access, chosen.ids))
        if chosen.ids
        else await count_dead(access, chosen.selection, torn=torn)
    )


def _batches(
    chosen: "Chosen",
) -> "Callable[[Access, int, dict[str, str]], AsyncIterator[Sequence[DeadJob]]]":
    from capelin.admin import dead_batches, named_dead

    async def batches(
        access: "Access", until: int, torn: dict[str, str]
    ) -> "AsyncIterator[Sequence[DeadJob]]":
        if chosen.ids:
            yield await named_dead(access, chosen.ids)
        else:
            async for batch in dead_batches(access, chosen.selection, until=until, torn=torn):
                yield batch

    return batches


def _why(job: "DeadJob") -> str:
    if job.error is None:
        return job.reason
    return f"{job.error.type}: {' '.join(job.error.message.split())}"
