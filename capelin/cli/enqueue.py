"""``capelin enqueue``: one job from a shell, its arguments checked against the task's signature."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from capelin.cli.options import AppDir, Json, Prefix, RedisUrl

if TYPE_CHECKING:
    from capelin.app import Capelin
    from capelin.jobs import Job


def enqueue(
    app: Annotated[
        str, typer.Argument(metavar="[APP]", help="Where the app is: module:attribute; or CAPELIN_APP.")
    ],
    task: Annotated[str | None, typer.Argument(metavar="TASK", help="The task's name.")] = None,
    arguments: Annotated[
        str | None,
        typer.Argument(metavar="[JSON]", help="""Its arguments: '{"to": "a@b.c"}', or a list of them."""),
    ] = None,
    *,
    delay: Annotated[
        float | None, typer.Option("--delay", metavar="SECONDS", min=0, help="Not before so many seconds.")
    ] = None,
    priority: Annotated[
        str | None, typer.Option("--priority", metavar="PRIORITY", help="critical, high, normal or low.")
    ] = None,
    queue: Annotated[
        str | None, typer.Option("--queue", "-q", metavar="QUEUE", help="Instead of the task's own.")
    ] = None,
    min_replicas: Annotated[
        int | None,
        typer.Option("--min-replicas", metavar="N", min=0, help="Fail unless so many replicas have it."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the result, and print it.")] = False,
    timeout: Annotated[
        float | None, typer.Option("--timeout", metavar="SECONDS", min=0, help="How long to wait at most.")
    ] = None,
    redis: RedisUrl = None,
    prefix: Prefix = None,
    app_dir: AppDir = ".",
    as_json: Json = False,
) -> None:
    """Enqueue one job, and print its id; with --wait, its result.

    A job that fails, or does not end in time, makes the exit status 1.
    """
    import asyncio

    from capelin.admin.torn import named
    from capelin.cli.opening import check_shared, open_app
    from capelin.errors import EnqueueError, RedisRefused, TornKey

    path, name, text = _sorted_out(app, task, arguments)
    loaded = open_app(path, app_dir=app_dir, redis=redis, prefix=prefix)
    check_shared(loaded.url)
    args, kwargs = _read_arguments(loaded, name, text)
    options: dict[str, Any] = {
        "delay": delay,
        "priority": priority,
        "queue": queue,
        "min_replicas": min_replicas,
    }
    given = {name: value for name, value in options.items() if value is not None}
    request = loaded.tasks[name].options(**given).job(*args, **kwargs)

    async def main() -> None:
        async with loaded:
            # `enqueue` would be patient with a Redis that is away; a person wants to know.
            await loaded.client().connection.command("PING")
            try:
                job = await loaded.enqueue(request)
            except EnqueueError as error:
                [cause] = error.causes
                if isinstance(cause, RedisRefused):
                    told = await named(loaded.client().connection, cause)
                    if isinstance(told, TornKey):
                        raise told from error
                raise
            await _tell(job, wait=wait or timeout is not None, timeout=timeout, as_json=as_json)

    asyncio.run(main())


def _sorted_out(first: str, second: str | None, third: str | None) -> tuple[str, str, str]:
    """Tell app, task and arguments apart: the app may be left out, and no task's name has a colon.

    Raises:
        ConfigurationError: There is no task.
    """
    import os

    from capelin.errors import ConfigurationError

    app = os.environ.get("CAPELIN_APP")
    if app and ":" not in first and third is None:
        return app, first, second if second is not None else "{}"
    if second is None:
        raise ConfigurationError("which task? capelin enqueue [APP] TASK [JSON]; CAPELIN_APP names the app")
    return first, second, third if third is not None else "{}"


async def _tell(job: "Job[Any]", *, wait: bool, timeout: float | None, as_json: bool) -> None:
    from capelin.cli.printing import print_json

    told: dict[str, Any] = {"id": job.id, "duplicate": job.duplicate}
    if not as_json:
        typer.echo(job.id, err=wait)
    if wait:
        told["result"] = await job.result(timeout=timeout)
    if as_json:
        print_json(told)
    elif wait:
        print_json(told["result"])


def _read_arguments(app: "Capelin[Any]", task: str, text: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Read arguments as the task's signature says: texts become the moments and models they stand for.

    Raises:
        UnknownTask: The app has no such task.
        InvalidArguments: That is no JSON, or does not fit the signature.
    """
    import json

    from capelin.cli.arguments import read_plain

    known = app.tasks[task]
    args, kwargs = read_plain(task, text)
    return known.signature.decode(json.dumps([args, kwargs]).encode())
