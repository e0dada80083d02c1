"""``capelin top``: the fleet on one screen, live."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from capelin.cli.options import Prefix, RedisUrl

if TYPE_CHECKING:
    from capelin.top.screen import TopApp

Every = Annotated[
    float, typer.Option("--every", metavar="SECONDS", min=0.2, max=60, help="From one look to the next.")
]


def top(*, every: Every = 2.0, redis: RedisUrl = None, prefix: Prefix = None) -> None:
    """Watch queues, workers, shards, schedules and dead jobs; pause, replay, cancel.

    Keys: 1-6 or the arrows change the list, Enter looks inside, q ends.
    """
    from capelin.admin import Access
    from capelin.cli.asking import ask

    screen = _screen()

    async def watch(access: Access) -> int | None:
        from capelin.top.line import Line

        app = screen(Line(access), every=every)
        await app.run_async()
        return app.return_code

    raise typer.Exit(ask(redis, prefix, watch) or 0)


def _screen() -> "type[TopApp]":
    from capelin.errors import ConfigurationError

    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ConfigurationError(
            "capelin top draws on a terminal, and here is none; capelin queues, workers, shards and dlq print"
        )
    try:
        from capelin.top.screen import TopApp
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "textual":
            raise
        raise ConfigurationError(
            "capelin top needs the extra `top` (textual is not installed): pip install 'capelin[top]'"
        ) from error
    return TopApp
