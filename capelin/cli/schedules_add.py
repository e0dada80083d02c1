"""``capelin schedules add``: a schedule by its task's name, without any app's code."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from capelin.cli.options import Json, Prefix, RedisUrl

if TYPE_CHECKING:
    from capelin.admin import ScheduleAdded


def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name, one for the whole namespace.")],
    when: Annotated[
        str,
        typer.Argument(metavar="WHEN", help="A cron expression, in quotes, or every:60, every:5m, every:1d."),
    ],
    task: Annotated[str, typer.Argument(metavar="TASK", help="The task's name.")],
    arguments: Annotated[
        str, typer.Argument(metavar="[JSON]", help="""Its arguments: '{"to": "a@b.c"}', or a list of them.""")
    ] = "{}",
    *,
    queue: Annotated[
        str | None,
        typer.Option(
            "--queue", "-q", metavar="QUEUE", help="Where its jobs go (default); not read from the task."
        ),
    ] = None,
    priority: Annotated[
        str | None, typer.Option("--priority", metavar="PRIORITY", help="critical, high, normal or low.")
    ] = None,
    timeout: Annotated[
        str | None,
        typer.Option("--timeout", metavar="TIME", help="How long a start may take, instead of the task's."),
    ] = None,
    timezone: Annotated[
        str | None,
        typer.Option("--timezone", metavar="ZONE", help="Whose clocks cron means (UTC): Europe/Berlin."),
    ] = None,
    catch_up: Annotated[
        str | None,
        typer.Option("--catch-up", metavar="WHICH", help="Of missed ticks: latest (default), all or none."),
    ] = None,
    overlap: Annotated[
        str | None,
        typer.Option(
            "--overlap", metavar="WHAT", help="While a run goes on: allow (default), skip or queue another."
        ),
    ] = None,
    skip_if_older_than: Annotated[
        str | None,
        typer.Option("--skip-if-older-than", metavar="TIME", help="Older ticks are skipped (5m), or none."),
    ] = None,
    jitter: Annotated[
        str | None, typer.Option("--jitter", metavar="TIME", help="Each run starts up to so much later.")
    ] = None,
    start: Annotated[
        str | None, typer.Option("--start", metavar="MOMENT", help="No tick before: 2027-01-01T09:00+01:00.")
    ] = None,
    end: Annotated[str | None, typer.Option("--end", metavar="MOMENT", help="No tick after.")] = None,
    app: Annotated[
        str | None, typer.Option("--app", metavar="APP", help="The app that owns it (cli).")
    ] = None,
    redis: RedisUrl = None,
    prefix: Prefix = None,
    as_json: Json = False,
) -> None:
    """Add a schedule, or change the one of that name.

    It needs no code: the task is known by its name, and its arguments are
    plain JSON, which the worker checks. What code declares is changed there.
    """
    from capelin.admin import OPERATOR, add_schedule, named_request
    from capelin.cli.arguments import read_plain
    from capelin.cli.asking import ask
    from capelin.cli.times import read_limit, read_moment, read_span, read_when

    def given(**values: Any) -> Any:
        return {option: value for option, value in values.items() if value is not None}

    args, kwargs = read_plain(task, arguments)
    request = named_request(
        task,
        args,
        kwargs,
        given(
            queue=queue,
            priority=priority,
            timeout=None if timeout is None else read_span("--timeout", timeout),
        ),
    )
    policy = given(
        catch_up=catch_up,
        overlap=overlap,
        jitter=None if jitter is None else read_span("--jitter", jitter),
        start=None if start is None else read_moment("--start", start),
        end=None if end is None else read_moment("--end", end),
    )
    if skip_if_older_than is not None:
        policy["skip_if_older_than"] = read_limit("--skip-if-older-than", skip_if_older_than)
    period = read_when(when)
    added = ask(
        redis,
        prefix,
        lambda access: add_schedule(
            access, name, period, request, app=app or OPERATOR, timezone=timezone, **policy
        ),
    )
    _tell(added, as_json=as_json)


def _tell(added: "ScheduleAdded", *, as_json: bool) -> None:
    from capelin.cli.printing import at, print_json, print_note
    from capelin.cli.standings import why_not_fired

    found = added.schedule
    if as_json:
        print_json({"schedule": found.name, "change": added.change, "next": found.next})
        return
    change = {"added": "is added", "changed": "is changed"}.get(added.change, "is there already, as it is")
    following = f"; its next tick is {at(found.next)}" if found.next is not None else ""
    typer.echo(f"schedule {found.name} {change}: {found.meaning}{following}")
    if found.next is None:
        print_note(why_not_fired(found, ()))
    if not added.workers:
        print_note(
            f"No live worker serves queue {found.queue!r} and knows task {found.task!r}: "
            "its jobs wait for one."
        )
