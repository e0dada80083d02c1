"""``capelin queues``: depth, age, who serves them; pause and resume, drain, purge, reshard."""

from typing import TYPE_CHECKING, Annotated

import typer

from capelin.cli import queues_empty
from capelin.cli.completing import queue_names
from capelin.cli.nouns import noun
from capelin.cli.options import Json, JsonLines, Prefix, RedisUrl
from capelin.cli.queues_reshard import reshard

if TYPE_CHECKING:
    from collections.abc import Mapping

    from capelin.admin import QueueStanding

queues = noun("Queues: how many jobs wait, how long, and who serves them.")

Queue = Annotated[str, typer.Argument(metavar="QUEUE", help="The queue.", autocompletion=queue_names)]


@queues.command("ls")
def ls(
    *, redis: RedisUrl = None, prefix: Prefix = None, as_json: Json = False, as_lines: JsonLines = False
) -> None:
    """List the queues."""
    from capelin.admin import list_queues
    from capelin.cli.asking import ask
    from capelin.cli.printing import Column, ago, print_note, print_table, print_torn, printed

    found = ask(redis, prefix, list_queues)
    torn = {name: why for queue in found for name, why in queue.torn.items()}
    if printed(found, as_json=as_json, as_lines=as_lines):
        print_torn(torn)
        return
    if not found:
        print_note("No queue yet: the first job or worker makes one.")
        return
    columns = [
        Column("QUEUE"),
        Column("WAITING", right=True),
        Column("OLDEST", right=True),
        Column("RUNNING", right=True),
        Column("SCHEDULED", right=True),
        Column("PARKED", right=True),
        Column("DEAD", right=True),
        Column("STATE", whole=True),
    ]
    print_table(
        columns,
        [
            (
                queue.queue,
                queue.waiting,
                ago(queue.oldest_seconds),
                queue.running,
                queue.scheduled + queue.followers,
                sum(queue.parked.values()),
                queue.dead,
                _state(queue),
            )
            for queue in found
        ],
    )
    for queue in found:
        if queue.older_layouts or queue.shards_beyond:
            print_note(
                f"{queue.queue} was cut anew: capelin queues reshard {queue.queue} tells what is left."
            )
    print_torn(torn)


@queues.command("show")
def show(
    queue: Queue,
    *,
    redis: RedisUrl = None,
    prefix: Prefix = None,
    as_json: Json = False,
    as_lines: JsonLines = False,
) -> None:
    """Show one queue: by priority, what is parked, who serves it."""
    from capelin.admin import list_queues
    from capelin.cli.asking import ask
    from capelin.cli.choosing import counted
    from capelin.cli.printing import ago, at, print_details, print_torn, printed

    [found] = ask(redis, prefix, lambda access: list_queues(access, queue))
    if printed(found, as_json=as_json, as_lines=as_lines):
        print_torn(found.torn)
        return
    waiting = ", ".join(f"{count} {name}" for name, count in found.waiting_by_priority.items() if count)
    print_details(
        f"queue {found.queue}",
        [
            ("state", _state(found)),
            ("shards", found.shards),
            ("not read", ", ".join(found.torn)),
            ("beyond", _beyond(found)),
            ("waiting", f"{found.waiting} ({waiting})" if waiting else "0"),
            ("oldest", f"{ago(found.oldest_seconds)}, since {at(found.oldest)}" if found.oldest else None),
            ("running", found.running),
            ("scheduled", found.scheduled),
            ("followers", found.followers or None),
            ("parked", ", ".join(f"{count} {task}" for task, count in found.parked.items())),
            ("dead", found.dead),
            ("finished", counted(found.finished, "record", "records")),
            ("workers", "\n".join(found.workers) or "none"),
        ],
    )
    print_torn(found.torn)


@queues.command("pause")
def pause(
    queue: Queue,
    *,
    redis: RedisUrl = None,
    prefix: Prefix = None,
    as_json: Json = False,
    as_lines: JsonLines = False,
) -> None:
    """Stop taking jobs from a queue. Those that run go on; new ones are accepted."""
    from capelin.admin import pause_queue
    from capelin.cli.asking import ask

    torn: dict[str, str] = {}
    changed = ask(redis, prefix, lambda access: pause_queue(access, queue, torn=torn))
    _say(queue, "paused", torn, changed=changed, as_json=as_json, as_lines=as_lines)


@queues.command("resume")
def resume(
    queue: Queue,
    *,
    redis: RedisUrl = None,
    prefix: Prefix = None,
    as_json: Json = False,
    as_lines: JsonLines = False,
) -> None:
    """Take jobs from a paused queue again."""
    from capelin.admin import resume_queue
    from capelin.cli.asking import ask

    torn: dict[str, str] = {}
    changed = ask(redis, prefix, lambda access: resume_queue(access, queue, torn=torn))
    _say(queue, "open", torn, changed=changed, as_json=as_json, as_lines=as_lines)


queues.command("drain")(queues_empty.drain)
queues.command("purge")(queues_empty.purge)
queues.command("reshard")(reshard)


def _beyond(queue: "QueueStanding") -> str | None:
    parts: list[str] = []
    if queue.shards_beyond:
        parts.append(f"{queue.shards_beyond} shards of a larger layout still hold jobs or their records")
    if queue.older_layouts:
        parts.append(f"keys are asked for in {queue.older_layouts} older layouts, too")
    return "\n".join(parts) or None


def _say(
    queue: str, state: str, torn: "Mapping[str, str]", *, changed: bool, as_json: bool, as_lines: bool
) -> None:
    """Say what became of a queue; the exit status is 1 if some of its shards are not so."""
    from capelin.cli.printing import printed

    document = {"queue": queue, "state": state, "changed": changed}
    if not printed(document | ({"torn": torn} if torn else {}), as_json=as_json, as_lines=as_lines):
        but = ", but for a part of it" if torn else ""
        typer.echo(f"queue {queue} is {state}{but}" + ("" if changed else ", as it was before"))
    for why in torn.values():
        typer.echo(f"not: {why}", err=True)
    if torn:
        raise typer.Exit(1)


def _state(queue: "QueueStanding") -> str:
    if queue.torn:
        return f"torn: {', '.join(queue.torn)}" if len(queue.torn) == 1 else f"torn: {len(queue.torn)} shards"
    if queue.paused:
        return "paused"
    if queue.paused_shards:
        return f"paused {queue.paused_shards}/{queue.shards + queue.shards_beyond}"
    count = len(queue.workers)
    return f"{count} {'worker' if count == 1 else 'workers'}" if count else "no worker"
