"""Options that several commands share, so that they are spelled and explained once."""

from typing import Annotated

import typer

RedisUrl = Annotated[
    str | None,
    typer.Option("--redis", metavar="URL", help="Where Redis is, whatever the app or CAPELIN_REDIS_URL say."),
]
Prefix = Annotated[
    str | None, typer.Option("--prefix", metavar="NAME", help="What every key begins with (capelin).")
]
AppDir = Annotated[
    str, typer.Option("--app-dir", metavar="DIR", help="The folder to import from; the working directory.")
]
AppPath = Annotated[
    str, typer.Argument(metavar="APP", envvar="CAPELIN_APP", help="Where the app is: module:attribute.")
]
OfQueue = Annotated[str | None, typer.Option("--queue", "-q", metavar="QUEUE", help="Only this queue's.")]
OfTask = Annotated[str | None, typer.Option("--task", "-t", metavar="TASK", help="Only this task's.")]
Limit = Annotated[int, typer.Option("--limit", "-n", metavar="N", min=1, max=500, help="At most so many.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
