"""``capelin workers quiet``, ``resume`` and ``stop``."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from capelin.cli.completing import worker_ids
from capelin.cli.options import Json, JsonLines, Prefix, RedisUrl, Yes

if TYPE_CHECKING:
    from capelin.admin import Order

Workers = Annotated[
    list[str],
    typer.Argument(metavar="WORKER…", help="Ids, or how they begin.", autocompletion=worker_ids),
]


def quiet(
    workers: Workers,
    *,
    redis: RedisUrl = None,
    prefix: Prefix = None,
    as_json: Json = False,
    as_lines: JsonLines = False,
) -> None:
    """Have workers take nothing more and finish what runs. The others take over their shards at once.

    They stay in the fleet, and give up the lead and singletons, too. A process
    that starts anew is not quiet.
    """
    from capelin.admin import Order

    _give(Order.QUIET, workers, "is quiet", redis, prefix, as_json=as_json, as_lines=as_lines)


def resume(
    workers: Workers,
    *,
    redis: RedisUrl = None,
    prefix: Prefix = None,
    as_json: Json = False,
    as_lines: JsonLines = False,
) -> None:
    """Have quiet workers take jobs again."""
    from capelin.admin import Order

    _give(Order.RESUME, workers, "takes jobs again", redis, prefix, as_json=as_json, as_lines=as_lines)


def stop(
    workers: Workers,
    *,
    yes: Yes = False,
    redis: RedisUrl = None,
    prefix: Prefix = None,
    as_json: Json = False,
    as_lines: JsonLines = False,
) -> None:
    """End workers, as a SIGTERM does: what runs may finish within the grace time, the rest is handed back.

    A second time it is handed back at once. What started the process, say a
    Deployment or --processes, may start another.
    """
    from capelin.admin import Order
    from capelin.cli.asking import confirm
    from capelin.cli.choosing import counted

    confirm(f"Stop {counted(len(workers), 'worker', 'workers')}", yes=yes)
    _give(Order.STOP, workers, "stops", redis, prefix, as_json=as_json, as_lines=as_lines)


def _give(
    order: "Order",
    names: Sequence[str],
    became: str,
    redis: str | None,
    prefix: str | None,
    *,
    as_json: bool,
    as_lines: bool,
) -> None:
    from capelin.admin import (
        Access,
        WorkerStanding,
        WorkerState,
        find_worker,
        list_workers,
        tell_worker,
    )
    from capelin.cli.asking import ask
    from capelin.cli.choosing import counted
    from capelin.cli.printing import printed
    from capelin.cli.progress import spinner

    async def question(access: Access) -> list[WorkerStanding]:
        ids = list(dict.fromkeys([(await find_worker(access, name)).id for name in names]))
        for worker in ids:
            await tell_worker(access, worker, order)
        left = {worker: WorkerStanding(id=worker, alive=False, state=WorkerState.GONE) for worker in ids}
        standings = left | {one.id: one for one in await list_workers(access)}
        return [standings[worker] for worker in ids]

    with spinner("waiting for their answer", quiet=as_json or as_lines):
        found = ask(redis, prefix, question)
    if printed(found, as_json=as_json, as_lines=as_lines):
        return
    for one in found:
        runs = sum(one.running.values())
        typer.echo(f"worker {one.id} {became}; it runs {counted(runs)}")
