"""``capelin workers``: who is in the fleet and what each does; quiet, resume, stop."""

from typing import TYPE_CHECKING, Annotated

import typer

from capelin.cli import orders
from capelin.cli.completing import worker_ids
from capelin.cli.nouns import noun
from capelin.cli.options import Json, JsonLines, Prefix, RedisUrl

if TYPE_CHECKING:
    from capelin.admin import WorkerStanding

workers = noun("Workers: who is in the fleet, what each does; quiet, resume, stop.")

Worker = Annotated[
    str,
    typer.Argument(metavar="WORKER", help="Its id, or how that begins.", autocompletion=worker_ids),
]


@workers.command("ls")
def ls(
    *, redis: RedisUrl = None, prefix: Prefix = None, as_json: Json = False, as_lines: JsonLines = False
) -> None:
    """List the workers, and those that are gone while jobs of theirs are not back yet."""
    from capelin.admin import list_workers
    from capelin.cli.asking import ask
    from capelin.cli.printing import Column, ago, print_note, print_table, print_torn, printed

    torn: dict[str, str] = {}
    found = ask(redis, prefix, lambda access: list_workers(access, torn=torn))
    if printed(found, as_json=as_json, as_lines=as_lines):
        print_torn(torn)
        return
    if not found and not torn:
        print_note("No worker: start one with `capelin worker APP`.")
        return
    columns = [
        Column("WORKER", whole=True),
        Column("APP"),
        Column("QUEUES"),
        Column("RUN", right=True),
        Column("SHARDS", right=True),
        Column("UP", right=True),
        Column("LEAD", whole=True),
        Column("STATE"),
    ]
    print_table(
        columns,
        [
            (
                worker.id,
                worker.app,
                ",".join(worker.queues),
                sum(worker.running.values()),
                len(worker.shards),
                ago(worker.up_seconds),
                _lead(worker),
                _state(worker),
            )
            for worker in found
        ],
    )
    print_torn(torn)


@workers.command("show")
def show(
    worker: Annotated[
        str, typer.Argument(metavar="WORKER", help="Its id, or how that begins.", autocompletion=worker_ids)
    ],
    *,
    redis: RedisUrl = None,
    prefix: Prefix = None,
    as_json: Json = False,
    as_lines: JsonLines = False,
) -> None:
    """Show one worker: what it runs, owns and can run."""
    from capelin.admin import NotThere, list_workers
    from capelin.cli.asking import ask
    from capelin.cli.printing import ago, at, print_details, print_torn, printed

    torn: dict[str, str] = {}
    found = ask(redis, prefix, lambda access: list_workers(access, torn=torn))
    matching = [one for one in found if one.id == worker] or [
        one for one in found if one.id.startswith(worker)
    ]
    if len(matching) != 1:
        raise NotThere(what="worker", name=worker, known=[one.id for one in matching or found])
    [one] = matching
    if printed(one, as_json=as_json, as_lines=as_lines):
        print_torn(torn)
        return
    print_details(
        f"worker {one.id}",
        [
            ("state", _state(one)),
            ("app", one.app),
            ("host", f"{one.host}, pid {one.pid}" if one.host else None),
            ("capelin", one.version),
            ("started", f"{at(one.started)}, {ago(one.up_seconds)} ago" if one.started else None),
            ("lead", _LEADS[_lead(one)] if one.host else None),
            ("queues", ", ".join(one.queues) or ("none" if one.host else None)),
            (
                "running",
                ", ".join(f"{count} of {queue}" for queue, count in one.running.items()) or "nothing",
            ),
            ("event loop", _lag(one.loop_lag)),
            ("memory", None if one.memory is None else f"{one.memory / 1024**2:.0f} MB"),
            ("owns", ", ".join(one.shards) or "no shard"),
            ("tasks", ", ".join(sorted(one.tasks))),
        ],
    )
    print_torn(torn)


_LEADS = {
    "leads": "leads the scheduler",
    "stands": "stands for it",
    "": "does not stand for it",
}


def _lag(seconds: float | None) -> str | None:
    return None if seconds is None else f"late by {seconds * 1000:.0f} ms at most, in the last 15 s"


def _lead(worker: "WorkerStanding") -> str:
    return "leads" if worker.leads else "stands" if worker.candidate and worker.alive else ""


workers.command("quiet")(orders.quiet)
workers.command("resume")(orders.resume)
workers.command("stop")(orders.stop)


def _state(worker: "WorkerStanding") -> str:
    return worker.state.value
