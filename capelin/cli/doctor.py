"""``capelin doctor``: what breaks queues in production, and what to do about it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from capelin.cli.options import Json, Prefix, RedisUrl

if TYPE_CHECKING:
    from capelin.admin.doctor import Finding

_FOUND = 1
"""The exit status when something is broken."""


def doctor(
    *,
    redis: RedisUrl = None,
    prefix: Prefix = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="CHECK", help="Run this check only; can be repeated."),
    ] = None,
    skip: Annotated[
        list[str] | None,
        typer.Option("--skip", metavar="CHECK", help="Leave this check out; can be repeated."),
    ] = None,
    oldest: Annotated[
        str | None,
        typer.Option(
            "--oldest", metavar="TIME", help="A job that waits longer is a problem: 30s, 5m, 2h, 1d."
        ),
    ] = None,
    user: Annotated[
        str | None,
        typer.Option("--user", metavar="NAME", help="Look at this Redis user's rights, not at the URL's."),
    ] = None,
    acl: Annotated[
        bool, typer.Option("--acl", help="Print the line of ACL with the rights that capelin needs, no more.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 for a warning, too.")] = False,
    as_json: Json = False,
) -> None:
    """Look for what breaks queues, and say what to do.

    It changes nothing. Exit status: 0 all is well, 1 a problem was found, 2 Redis cannot be asked.
    """
    if acl:
        _print_line(redis, prefix, user)
        return
    from capelin.admin.doctor import Bounds, Severity, examine
    from capelin.cli.asking import ask
    from capelin.cli.printing import print_json

    bounds = Bounds(oldest=None if oldest is None else _seconds(oldest))
    found = ask(
        redis,
        prefix,
        lambda access: examine(access, only=only or (), skip=skip or (), user=user, bounds=bounds),
    )
    worst = max((finding.severity for finding in found), key=lambda one: one.rank, default=Severity.OK)
    if as_json:
        print_json({"worst": worst, "findings": found})
    else:
        _print(found)
    if worst is Severity.PROBLEM or (strict and worst is Severity.WARNING):
        raise typer.Exit(_FOUND)


def _print_line(redis: str | None, prefix: str | None, user: str | None) -> None:
    from capelin._binding import load_settings
    from capelin.admin.doctor import acl_line
    from capelin.connection.urls import parse_url
    from capelin.names import check_name

    settings = load_settings()
    target = parse_url(settings.redis_url if redis is None else redis)
    name = user or target.login.username or "capelin"
    typer.echo(
        acl_line(
            check_name("user", name),
            prefix=check_name("prefix", prefix or settings.prefix),
            kind=target.kind,
            db=target.db,
        )
    )


def _seconds(text: str) -> float:
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    number, unit = (text[:-1], text[-1:]) if text[-1:] in units else (text, "s")
    if not (number.isascii() and number.replace(".", "", 1).isdigit()):
        raise typer.BadParameter(f"{text!r} is not a time like 30s, 5m, 2h or 1d", param_hint="--oldest")
    return float(number) * units[unit]


_STYLES = {"problem": "bold red", "warning": "yellow", "note": "cyan", "ok": "green"}
_WIDTH = 9


def _print(found: "Sequence[Finding]") -> None:
    """Print the worst first, then a line for each check that found nothing; the same is said once."""
    from textwrap import fill

    from rich.console import Console
    from rich.text import Text

    from capelin.admin.doctor import Severity

    console = Console(highlight=False)
    alike: dict[tuple[Severity, str, str, str], dict[str, None]] = {}
    for one in found:
        if one.severity is not Severity.OK:
            alike.setdefault((one.severity, one.what, one.why, one.advice), {})[one.check] = None
    for (severity, what, why, advice), checks in sorted(alike.items(), key=lambda item: -item[0][0].rank):
        badge = (f"{severity:{_WIDTH}}", _STYLES[severity])
        console.print(Text.assemble(badge, (", ".join(checks), "bold")), soft_wrap=True)
        for label, words, style in (("", what, ""), ("why: ", why, "dim"), ("do:  ", advice, "")):
            if words:
                indent = " " * (2 + len(label))
                text = fill(
                    words,
                    console.width,
                    initial_indent=f"  {label}",
                    subsequent_indent=indent,
                    break_long_words=False,
                    break_on_hyphens=False,
                )
                console.print(Text(text, style=style), soft_wrap=True)
        console.print()
    fine: dict[str, list[str]] = {}
    for one in found:
        fine.setdefault(one.check, []).append(one.what if one.severity is Severity.OK else "")
    for check, seen in fine.items():
        if all(seen):  # a line a check, however many servers there are
            more = f" (and {len(seen) - 1} more)" if len(seen) > 1 else ""
            line = Text.assemble((f"{'ok':{_WIDTH}}", _STYLES["ok"]), f"{check:{_WIDTH + 3}}", seen[0])
            line.truncate(console.width - len(more), overflow="ellipsis")
            console.print(line.append(more), soft_wrap=True)
    totals = {severity: sum(one.severity is severity for one in found) for severity in Severity}
    counted = ", ".join(
        f"{totals[one]} {one}{'' if totals[one] == 1 else 's'}" for one in reversed(Severity) if one.rank
    )
    console.print(Text(f"{len({one.check for one in found})} checks: {counted}."))
