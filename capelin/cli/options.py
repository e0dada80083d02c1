"""Options that several commands share, so that they are spelled and explained once."""

from typing import Annotated

import typer

from capelin.cli.completing import queue_names, status_names, task_names

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
JobId = Annotated[str, typer.Argument(metavar="ID", help="The job's id.")]
JobIds = Annotated[list[str] | None, typer.Argument(metavar="[ID…]", help="Ids of jobs.")]
OfQueue = Annotated[
    str | None,
    typer.Option("--queue", "-q", metavar="QUEUE", help="Only this queue's.", autocompletion=queue_names),
]
OfTask = Annotated[
    str | None,
    typer.Option(
        "--task",
        "-t",
        metavar="TASK",
        help="Only this task's; 'email.*' for several.",
        autocompletion=task_names,
    ),
]
OfStatus = Annotated[
    list[str] | None,
    typer.Option(
        "--status",
        "-s",
        metavar="STATUS",
        help="scheduled, queued, running, parked, completed, failed or cancelled; again for more.",
        autocompletion=status_names,
    ),
]
OlderThan = Annotated[
    str | None,
    typer.Option("--older-than", metavar="AGE", help="Only what has been so for longer: 90s, 5m, 2h, 7d."),
]
NewerThan = Annotated[
    str | None,
    typer.Option("--newer-than", metavar="AGE", help="Only what has been so for less time than that."),
]
OfError = Annotated[
    str | None,
    typer.Option(
        "--error", "-e", metavar="PATTERN", help="Only whose last error is like 'Timeout*' or '*refused*'."
    ),
]
OfParent = Annotated[
    str | None,
    typer.Option("--parent", metavar="ID", help="Only what this job enqueued, or what its end added."),
]
Limit = Annotated[int, typer.Option("--limit", "-n", metavar="N", min=1, max=500, help="At most so many.")]
LimitOrAll = Annotated[
    int | None,
    typer.Option("--limit", "-n", metavar="N", min=1, help="At most so many: 50, with --jsonl all."),
]
After = Annotated[
    str | None, typer.Option("--after", metavar="CURSOR", help="Go on where a listing said that it stopped.")
]
All = Annotated[bool, typer.Option("--all", help="All of them.")]
Rate = Annotated[
    str | None, typer.Option("--rate", metavar="RATE", help="No faster than 50/s, 100/m or 1000/h.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say how many it would be, and change nothing.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document, for programs.")]
JsonLines = Annotated[bool, typer.Option("--jsonl", help="Print JSON, one a line, as it comes.")]
