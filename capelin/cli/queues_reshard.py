"""``capelin queues reshard``: cut a queue into another number of shards."""

from typing import TYPE_CHECKING, Annotated

import typer

from capelin.cli.completing import queue_names
from capelin.cli.options import DryRun, Json, JsonLines, Prefix, RedisUrl, Yes

if TYPE_CHECKING:
    from capelin.admin import Resharding


def reshard(
    queue: Annotated[str, typer.Argument(metavar="QUEUE", help="The queue.", autocompletion=queue_names)],
    shards: Annotated[
        int | None, typer.Argument(metavar="[N]", help="Into how many, from 1 to 1024; none: only look.")
    ] = None,
    *,
    dry_run: DryRun = False,
    yes: Yes = False,
    redis: RedisUrl = None,
    prefix: Prefix = None,
    as_json: Json = False,
    as_lines: JsonLines = False,
) -> None:
    """Cut a queue into N shards, while clients enqueue and workers work.

    Jobs stay where they are, and nothing is lost or done twice. Without N: what is left of older layouts.
    """
    from capelin.admin import plan_reshard, reshard_queue
    from capelin.cli.asking import ask, confirm
    from capelin.cli.printing import printed

    found = ask(redis, prefix, lambda access: plan_reshard(access, queue, shards))
    only_look = shards is None or dry_run
    if not only_look and found.changed:
        confirm(f"Cut queue {queue} into {shards} shards instead of {found.before}", yes=yes)
    if not only_look:
        found = ask(redis, prefix, lambda access: reshard_queue(access, queue, found.shards))
    if not printed(found, as_json=as_json, as_lines=as_lines):
        _tell(found, planned=only_look and found.changed)


def _tell(found: "Resharding", *, planned: bool) -> None:
    from capelin.cli.printing import ago

    if found.changed:
        says = "would be cut" if planned else "is cut"
        typer.echo(f"queue {found.queue} {says} into {found.shards} shards instead of {found.before}")
    else:
        typer.echo(f"queue {found.queue} is cut into {found.shards} shards, as it was before")
    if found.settled:
        typer.echo("nothing is left of an older layout")
        return
    if found.reach > found.shards:
        typer.echo(f"shards {found.shards} to {found.reach - 1} are served until they are empty")
        have = "job that has not" if found.live == 1 else "jobs that have not"
        typer.echo(f"they hold {found.live} {have} ended, and the records of others")
    for home in found.older:
        cut = f"layout {home.version} ({home.shards} shards)"
        typer.echo(f"dedupe keys are asked for in the homes of {cut}, too")
    if found.keys:
        typer.echo(f"jobs hold {found.keys} {'key' if found.keys == 1 else 'keys'} there")
    if found.window_seconds:
        typer.echo(f"the last window of a key there ends in {ago(found.window_seconds)}")
    if found.lent:
        typer.echo(f"{found.lent} keys are lent to jobs that run again in other shards")
