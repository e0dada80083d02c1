"""``capelin schedules``: what runs when, and what can be done about it at run time."""

from typing import TYPE_CHECKING, Annotated

import typer

from capelin.cli.completing import schedule_names
from capelin.cli.nouns import noun
from capelin.cli.options import Json, JsonLines, Prefix, RedisUrl, Yes
from capelin.cli.schedules_add import add

if TYPE_CHECKING:
    from datetime import datetime

    from capelin.schedule_book import ScheduleInfo

schedules = noun("Schedules: what runs when; add, pause, resume, trigger, remove.")
schedules.command("add")(add)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The schedule.", autocompletion=schedule_names)]


@schedules.command("ls")
def ls(
    *, redis: RedisUrl = None, prefix: Prefix = None, as_json: Json = False, as_lines: JsonLines = False
) -> None:
    """List the schedules."""
    from capelin.admin import Access, schedule_book
    from capelin.cli.asking import ask
    from capelin.cli.printing import Column, print_note, print_table, printed, since
    from capelin.cli.standings import last_of, next_of, status_of
    from capelin.schedule_book import ScheduleInfo

    async def question(access: Access) -> tuple[list[ScheduleInfo], int]:
        book = schedule_book(access)
        return await book.ls(), await book.now()

    found, now = ask(redis, prefix, question)
    if printed(found, as_json=as_json, as_lines=as_lines):
        return
    if not found:
        print_note(
            "No schedule: declare one in code with @app.every or @app.cron and start a worker, "
            "or see capelin schedules add --help."
        )
        return
    columns = [
        Column("SCHEDULE", whole=True),
        Column("WHEN"),
        Column("NEXT", right=True),
        Column("LAST"),
        Column("RAN", right=True),
        Column("STATUS", whole=True),
        Column("APP"),
    ]
    print_table(
        columns,
        [
            (
                one.name,
                one.when,
                next_of(one, now),
                last_of(one, now),
                since(one.last_run, now),
                status_of(one),
                one.app,
            )
            for one in found
        ],
    )


@schedules.command("show")
def show(
    name: Name,
    *,
    redis: RedisUrl = None,
    prefix: Prefix = None,
    as_json: Json = False,
    as_lines: JsonLines = False,
) -> None:
    """Show one schedule: what it does when, and what became of its ticks."""
    from capelin.admin import Access, schedule_book
    from capelin.cli.asking import ask
    from capelin.cli.printing import print_details, printed
    from capelin.cli.standings import facts_of
    from capelin.schedule_book import ScheduleInfo

    async def question(access: Access) -> tuple[ScheduleInfo, int]:
        book = schedule_book(access)
        return await book.info(name), await book.now()

    found, now = ask(redis, prefix, question)
    if not printed(found, as_json=as_json, as_lines=as_lines):
        print_details(f"schedule {found.name}", facts_of(found, now))


@schedules.command("next")
def next_ticks(
    name: Name,
    *,
    count: Annotated[int, typer.Option("--count", "-n", metavar="N", min=1, max=100, help="So many.")] = 5,
    redis: RedisUrl = None,
    prefix: Prefix = None,
    as_json: Json = False,
    as_lines: JsonLines = False,
) -> None:
    """Show the next ticks of a schedule, in UTC and by the clocks that it follows."""
    from datetime import datetime

    from capelin.admin import Access, schedule_book
    from capelin.cli.asking import ask
    from capelin.cli.printing import Column, print_note, print_table, printed, since
    from capelin.cli.standings import by_clock, why_not_fired
    from capelin.schedule_book import ScheduleInfo

    async def question(access: Access) -> tuple[ScheduleInfo, list[datetime], int]:
        book = schedule_book(access)
        return await book.info(name), await book.next(name, count), await book.now()

    found, ticks, now = ask(redis, prefix, question)
    zone = found.timezone if found.timezone != "UTC" else None
    if printed(
        [{"tick": tick, "local": by_clock(tick, zone or "UTC").isoformat()} for tick in ticks],
        as_json=as_json,
        as_lines=as_lines,
    ):
        return
    columns = [
        Column("UTC", whole=True),
        *([Column(zone, whole=True)] if zone else []),
        Column("", right=True),
    ]
    rows: list[list[object]] = []
    for tick in ticks:
        local = [_written(by_clock(tick, zone), zoned=True)] if zone else []
        rows.append([_written(tick), *local, since(tick, now)])
    if rows:
        print_table(columns, rows)
    why = why_not_fired(found, ticks)
    if why:
        print_note(why)


@schedules.command("pause")
def pause(
    name: Name,
    *,
    redis: RedisUrl = None,
    prefix: Prefix = None,
    as_json: Json = False,
    as_lines: JsonLines = False,
) -> None:
    """Fire none of a schedule's ticks, also after a deploy, until it is resumed."""
    from capelin.admin import schedule_book
    from capelin.cli.asking import ask
    from capelin.cli.printing import printed

    changed = ask(redis, prefix, lambda access: schedule_book(access).pause(name))
    if not printed(
        {"schedule": name, "state": "paused", "changed": changed}, as_json=as_json, as_lines=as_lines
    ):
        typer.echo(f"schedule {name} is paused" + ("" if changed else ", as it was before"))


@schedules.command("resume")
def resume(
    name: Name,
    *,
    redis: RedisUrl = None,
    prefix: Prefix = None,
    as_json: Json = False,
    as_lines: JsonLines = False,
) -> None:
    """Let a paused schedule go on. The ticks of the pause are not caught up."""
    from capelin.admin import Access, schedule_book
    from capelin.cli.asking import ask
    from capelin.cli.printing import print_note, printed, since
    from capelin.cli.standings import why_not_fired
    from capelin.schedule_book import ScheduleInfo

    async def question(access: Access) -> tuple[bool, ScheduleInfo, int]:
        book = schedule_book(access)
        await book.info(name)  # what cannot be read stops this before anything is done
        return await book.resume(name), await book.info(name), await book.now()

    changed, found, now = ask(redis, prefix, question)
    if printed(
        {"schedule": name, "state": found.status, "changed": changed}, as_json=as_json, as_lines=as_lines
    ):
        return
    typer.echo(
        (f"schedule {name} goes on" if changed else f"schedule {name} was not paused")
        + (f"; its next tick is {since(found.next, now)}" if found.next is not None else "")
    )
    if found.next is None:
        print_note(why_not_fired(found, ()))


@schedules.command("trigger")
def trigger(
    name: Name,
    *,
    redis: RedisUrl = None,
    prefix: Prefix = None,
    as_json: Json = False,
    as_lines: JsonLines = False,
) -> None:
    """Run a schedule once, now, whatever its ticks are, and print the job's id."""
    from capelin.admin import schedule_book
    from capelin.cli.asking import ask
    from capelin.cli.printing import print_note, printed

    job_id, duplicate = ask(redis, prefix, lambda access: schedule_book(access).trigger(name))
    if printed({"id": job_id, "duplicate": duplicate}, as_json=as_json, as_lines=as_lines):
        return
    typer.echo(job_id)
    if duplicate:
        print_note("That run was there already: runs of this schedule do not overlap.")


@schedules.command("rm")
def rm(
    name: Name,
    *,
    yes: Yes = False,
    redis: RedisUrl = None,
    prefix: Prefix = None,
    as_json: Json = False,
    as_lines: JsonLines = False,
) -> None:
    """Remove a schedule that was added at run time, or one that has left its app's code."""
    from capelin.admin import removable, schedule_book
    from capelin.cli.asking import ask, confirm
    from capelin.cli.printing import printed

    found = ask(redis, prefix, lambda access: removable(access, name))
    confirm(f"Remove schedule {name} for good ({_described(found)})", yes=yes)
    ask(redis, prefix, lambda access: schedule_book(access).remove(name))
    if not printed({"schedule": name, "state": "removed"}, as_json=as_json, as_lines=as_lines):
        typer.echo(f"schedule {name} is removed; jobs of it that wait still run")


def _described(found: "ScheduleInfo") -> str:
    return ", ".join(part for part in (found.when, found.task, f"app {found.app}") if part)


def _written(moment: "datetime", *, zoned: bool = False) -> str:
    below = f".{moment.microsecond // 1000:03d}" if moment.microsecond else ""
    return moment.strftime(f"%a %Y-%m-%d %H:%M:%S{below}" + (" %z" if zoned else ""))
