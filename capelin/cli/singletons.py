"""``capelin singletons``: who hosts each, and whether it gives signs of life."""

from typing import TYPE_CHECKING, Annotated

import typer

from capelin.cli.nouns import noun
from capelin.cli.options import Json, JsonLines, Prefix, RedisUrl

if TYPE_CHECKING:
    from capelin.admin.singletons import SingletonInfo

singletons = noun("Singletons: who hosts each, and how it is.")


@singletons.command("ls")
def ls(
    *, redis: RedisUrl = None, prefix: Prefix = None, as_json: Json = False, as_lines: JsonLines = False
) -> None:
    """List the singletons that the fleet's code declares."""
    from capelin.admin import Access, SingletonInfo, list_singletons
    from capelin.cli.asking import ask
    from capelin.cli.printing import Column, print_note, print_table, printed, since

    async def question(access: Access) -> tuple[list[SingletonInfo], int]:
        return await list_singletons(access), await access.clock()

    found, now = ask(redis, prefix, question)
    if printed(found, as_json=as_json, as_lines=as_lines):
        return
    if not found:
        print_note("No singleton: @app.singleton declares one, and a worker of its app hosts it.")
        return
    columns = [
        Column("SINGLETON"),
        Column("HOST"),
        Column("EVERY", right=True),
        Column("BEAT", right=True),
        Column("RUNS", right=True),
        Column("FAILED", right=True),
        Column("STATE"),
    ]
    print_table(
        columns,
        [
            (
                one.name,
                one.holder or "nobody",
                _every(one.interval),
                since(one.beat, now) or "never",
                one.runs,
                one.failures,
                _standing(one),
            )
            for one in found
        ],
    )


@singletons.command("show")
def show(
    singleton: Annotated[str, typer.Argument(metavar="SINGLETON", help="Its name.")],
    *,
    redis: RedisUrl = None,
    prefix: Prefix = None,
    as_json: Json = False,
    as_lines: JsonLines = False,
) -> None:
    """Show one singleton: its host, its runs, its state."""
    from dataclasses import asdict

    from capelin.admin import Access, SingletonInfo, SingletonState, read_singleton
    from capelin.cli.asking import ask
    from capelin.cli.printing import at, print_details, printed, since

    async def question(access: Access) -> tuple[SingletonInfo, SingletonState, int]:
        return *await read_singleton(access, singleton), await access.clock()

    one, kept, now = ask(redis, prefix, question)
    if printed(asdict(one) | asdict(kept), as_json=as_json, as_lines=as_lines):
        return

    def when(moment: object) -> str | None:
        from datetime import datetime

        return f"{at(moment)}, {since(moment, now)} ago" if isinstance(moment, datetime) else None

    host = None if one.holder is None else f"{one.holder}, lease for {one.lease_seconds:.1f} s more"
    print_details(
        f"singleton {one.name}",
        [
            ("state", _standing(one)),
            ("app", one.app),
            ("host", host or "nobody"),
            ("since", when(one.since)),
            ("token", one.epoch or None),
            ("runs", f"{one.runs}, every {_every(one.interval)}"),
            ("beat", when(one.beat) or "never"),
            ("due by", at(one.due_by)),
            ("saved", when(one.saved) or "never"),
            ("failures", f"{one.failures}, the last {when(one.failed)}" if one.failures else 0),
            ("last error", one.last_error),
            ("kept", kept.state),
            ("set aside", kept.aside),
        ],
    )


def _standing(one: "SingletonInfo") -> str:
    words = ["healthy" if one.healthy else "silent"]
    if one.set_aside:
        words.append("state set aside")
    return ", ".join(words)


def _every(seconds: float) -> str:
    from capelin._tables import ago

    return ago(seconds)
