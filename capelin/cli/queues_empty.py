"""``capelin queues drain`` and ``queues purge``: two ways in which a queue becomes empty."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from capelin.cli.completing import queue_names
from capelin.cli.options import DryRun, Json, JsonLines, OlderThan, Prefix, RedisUrl, Yes

if TYPE_CHECKING:
    from capelin.admin import Access, Drained, Repaired, Sighting

Queue = Annotated[str, typer.Argument(metavar="QUEUE", help="The queue.", autocompletion=queue_names)]


def drain(
    queue: Queue,
    *,
    timeout: Annotated[
        str | None,
        typer.Option("--timeout", metavar="SPAN", help="Give up after 90s, 5m or 2h: exit status 1."),
    ] = None,
    redis: RedisUrl = None,
    prefix: Prefix = None,
    as_json: Json = False,
    as_lines: JsonLines = False,
) -> None:
    """Wait until all that waits or runs in a queue now has run. It changes nothing.

    New jobs are accepted and not waited for; nor are jobs that wait for
    their time or for another attempt: what is left of those is told.
    """
    from capelin.admin import drain_queue
    from capelin.cli.asking import ask
    from capelin.cli.printing import ago, printed
    from capelin.cli.progress import spinner
    from capelin.cli.times import read_span

    seconds = None if timeout is None else read_span("--timeout", timeout)
    with spinner(f"draining {queue}", quiet=as_json or as_lines) as change:

        def tell(so_far: "Drained") -> None:
            standing = so_far.queue
            change(f"draining {queue}: {standing.waiting:,} wait, {standing.running:,} run")

        drained = ask(redis, prefix, lambda access: drain_queue(access, queue, timeout=seconds, tell=tell))
    if not printed(
        {"drained": drained.over, "seconds": round(drained.seconds, 1), "queue": drained.queue},
        as_json=as_json,
        as_lines=as_lines,
    ):
        state = "drained" if drained.over else "not drained"
        typer.echo(f"queue {queue} is {state} after {ago(drained.seconds)}{_left(drained)}")
    if not drained.over:
        raise typer.Exit(1)


def _left(drained: "Drained") -> str:
    queue = drained.queue
    left = (
        (queue.waiting, "wait"),
        (queue.running, "run"),
        (queue.scheduled + queue.followers, "scheduled"),
        (sum(queue.parked.values()), "parked"),
    )
    told = [f"{count:,} {what}" for count, what in left if count]
    return f"\nin it now: {', '.join(told)}" if told else ""


def purge(
    queue: Queue,
    *,
    older_than: OlderThan = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    redis: RedisUrl = None,
    prefix: Prefix = None,
    as_json: Json = False,
    as_lines: JsonLines = False,
) -> None:
    """Cancel all that waits in a queue: queued, scheduled and parked jobs.

    What runs goes on; the DLQ stays as it is (capelin dlq purge). The jobs end
    cancelled: their keys are free, who waits for them is told, and their
    records are kept for a while.
    """
    from dataclasses import replace

    from capelin.admin import WAITING, cancel_jobs
    from capelin.cli.choosing import selection
    from capelin.cli.repairs import Manner, carry_out, work_on
    from capelin.ids import JobId

    wanted = replace(selection(queue=queue, older_than=older_than), statuses=WAITING)

    async def repair(access: "Access", part: "Sequence[Sighting]") -> "Repaired":
        return await cancel_jobs(access, [JobId.parse(seen.id) for seen in part], only_waiting=True)

    carry_out(
        work_on(f"cancel {{}} of queue {queue}", "cancelling", "cancelled", wanted, repair),
        Manner(
            redis=redis, prefix=prefix, dry=dry_run, ask=True, yes=yes, as_json=as_json, as_lines=as_lines
        ),
    )
