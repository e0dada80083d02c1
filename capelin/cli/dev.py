"""``capelin dev``: a worker for the desk: a Redis if there is none, and a new start whenever code changes."""

import typer

from capelin.cli.options import AppDir, AppPath, Prefix, RedisUrl
from capelin.cli.workers import Concurrency, NoScheduler, Queues


def dev(
    app: AppPath,
    *,
    queue: Queues = None,
    concurrency: Concurrency = None,
    no_scheduler: NoScheduler = False,
    redis: RedisUrl = None,
    prefix: Prefix = None,
    app_dir: AppDir = ".",
) -> None:
    """Run a worker that starts anew when code changes, and a Redis if none answers.

    That Redis is redis-server from the PATH, else fakeredis. It ends with
    this command, and what is in it is gone then.
    """
    import asyncio
    import logging
    from contextlib import ExitStack
    from pathlib import Path

    from capelin.cli.opening import configure_logs, open_app
    from capelin.cli.running import on_signals
    from capelin.embedded import embedded_unless_answering
    from capelin.workers.child import this_command
    from capelin.workers.reloading import Reloader

    configure_logs()
    logging.getLogger("watchfiles").setLevel(logging.WARNING)  # it would say twice what changed
    loaded = open_app(app, app_dir=app_dir, redis=redis, prefix=prefix)
    words = ["worker", app, "--app-dir", app_dir, "--check-round-trip", "--grace", "5"]
    words += [word for name in queue or () for word in ("-q", name)]
    words += ["-c", str(concurrency)] if concurrency is not None else []
    words += ["--no-scheduler"] if no_scheduler else []

    async def watch() -> int:
        reloader = Reloader(this_command(words), folder=Path(app_dir))
        on_signals(reloader.stop)
        return await reloader.run()

    with ExitStack() as stack:
        stack.enter_context(embedded_unless_answering(loaded.url))
        raise typer.Exit(asyncio.run(watch()))
