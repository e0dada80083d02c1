"""``capelin scheduler``: candidates for the lead, and hosts of singletons, that run no jobs."""

import typer

from capelin.cli.options import AppDir, AppPath, Prefix, RedisUrl
from capelin.cli.workers import Grace, Http, Name, Supervised


def scheduler(
    app: AppPath,
    *,
    grace: Grace = None,
    name: Name = None,
    http: Http = None,
    redis: RedisUrl = None,
    prefix: Prefix = None,
    app_dir: AppDir = ".",
    supervised: Supervised = None,
) -> None:
    """Stand for the lead of the scheduler, host singletons, and run no jobs.

    Every worker does that, too, so nobody needs this, unless workers run
    with --no-scheduler. Start as many as you like: one leads, and the others
    take over.
    """
    from capelin.cli.opening import changed, check_shared, configure_logs, open_app
    from capelin.cli.running import run_worker

    configure_logs()
    loaded = open_app(app, app_dir=app_dir, redis=redis, prefix=prefix)
    check_shared(loaded.url)
    raise typer.Exit(
        run_worker(
            loaded,
            queues={},
            burst=False,
            settings=changed(loaded.settings, grace=grace),
            name=name,
            supervised=supervised,
            http=http,
        )
    )
