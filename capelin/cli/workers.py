"""``capelin worker``: run one worker in this process, or several under a supervisor."""

from typing import Annotated

import typer

from capelin.cli.options import AppDir, AppPath, Prefix, RedisUrl

Queues = Annotated[
    list[str] | None,
    typer.Option(
        "--queue",
        "-q",
        metavar="QUEUE[=WEIGHT]",
        help="A queue to serve and its weight; again for more. Default: all of the app's.",
    ),
]
Concurrency = Annotated[
    int | None, typer.Option("--concurrency", "-c", metavar="N", help="Async jobs at a time (100).")
]
Threads = Annotated[int | None, typer.Option(metavar="N", help="Jobs of def tasks at a time (16).")]
Cpu = Annotated[int | None, typer.Option(metavar="N", help="Jobs in processes at a time (the cores less 1).")]
Processes = Annotated[int, typer.Option(metavar="N", min=1, help="Worker processes, each with all of that.")]
Burst = Annotated[bool, typer.Option("--burst", help="Run what is due, then end.")]
Grace = Annotated[
    float | None, typer.Option(metavar="SECONDS", help="How long a stop waits for running jobs (25).")
]
Name = Annotated[
    str | None, typer.Option(metavar="NAME", help="What the worker's id begins with; the host's name.")
]
NoScheduler = Annotated[
    bool, typer.Option("--no-scheduler", help="Neither lead the scheduler nor host singletons.")
]
CheckRoundTrip = Annotated[bool, typer.Option("--check-round-trip", hidden=True)]
Supervised = Annotated[int | None, typer.Option(hidden=True)]
Http = Annotated[
    str | None,
    typer.Option(metavar="HOST:PORT", help="Serve /health and /metrics there; :9000 for every address."),
]
Reporting = Annotated[int | None, typer.Option(hidden=True)]


def run(
    app: AppPath,
    *,
    queue: Queues = None,
    concurrency: Concurrency = None,
    threads: Threads = None,
    cpu: Cpu = None,
    processes: Processes = 1,
    burst: Burst = False,
    grace: Grace = None,
    name: Name = None,
    no_scheduler: NoScheduler = False,
    redis: RedisUrl = None,
    prefix: Prefix = None,
    app_dir: AppDir = ".",
    http: Http = None,
    check_round_trip: CheckRoundTrip = False,
    supervised: Supervised = None,
    reporting: Reporting = None,
) -> None:
    """Run a worker until it is told to stop.

    The first SIGTERM or Ctrl-C stops taking jobs and waits for those that
    run; the second hands them back at once. Neither loses a job.
    """
    from capelin.cli.opening import changed, check_shared, configure_logs, open_app
    from capelin.cli.running import run_supervisor, run_worker
    from capelin.cli.weights import read_weights

    configure_logs()
    if processes > 1:
        raise typer.Exit(run_supervisor(processes=processes, burst=burst, http=http))
    loaded = open_app(app, app_dir=app_dir, redis=redis, prefix=prefix)
    check_shared(loaded.url)
    loaded.check_round_trip = check_round_trip
    settings = changed(loaded.settings, concurrency=concurrency, threads=threads, cpu=cpu, grace=grace)
    status = run_worker(
        loaded,
        queues=read_weights(queue),
        burst=burst,
        settings=settings,
        name=name,
        scheduler=not no_scheduler,
        supervised=supervised,
        http=http,
        reporting=reporting,
    )
    raise typer.Exit(status)
