"""Workers that the command line runs: their event loop, their signals, their exit status."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import structlog

from capelin import logs
from capelin._collecting import set_aside_what_stays
from capelin.errors import CapelinError
from capelin.metrics.meter import NO_METER
from capelin.workers.child import Parent, this_command
from capelin.workers.supervisor import Supervisor
from capelin.workers.worker import Worker

if TYPE_CHECKING:
    from capelin.app import Capelin
    from capelin.probes.watch import FamilyWatch, Watch
    from capelin.settings import Settings

log = structlog.get_logger("capelin.worker")

_STOPPING = (signal.SIGTERM, signal.SIGINT)


def run_worker(
    app: "Capelin[Any]",
    *,
    queues: Mapping[str, int] | None,
    burst: bool,
    settings: "Settings",
    name: str | None = None,
    scheduler: bool = True,
    supervised: int | None = None,
    http: str | None = None,
    reporting: int | None = None,
) -> int:
    """Run a worker until it ends; returns the exit status: 0 after a clean stop.

    Args:
        app: The app.
        queues: As in ``Worker``, like the next ones.
        burst: The same.
        settings: The same.
        name: The same.
        scheduler: The same.
        supervised: The descriptor that a supervisor gave to this process.
        http: Where health and metrics are served, ``HOST:PORT``; nothing is counted without.
        reporting: The descriptor of a supervisor's questions, when it serves them.

    Raises:
        ConfigurationError: It cannot be started as it is.
    """
    parent = None if supervised is None else Parent(supervised)
    watch = None if http is None else _watch(app, http, reporting)

    async def work() -> None:
        worker = Worker(
            app,
            queues=queues,
            burst=burst,
            settings=settings,
            name=name,
            scheduler=scheduler,
            meter=NO_METER if watch is None else watch.tally,
        )
        if parent is not None:
            parent.tell_loaded(grace=settings.grace)
            parent.on_gone(worker.stop)
        on_signals(worker.stop)
        try:
            async with contextlib.AsyncExitStack() as around:
                if has_process_tasks:
                    around.enter_context(logs.relayed())
                if watch is not None:
                    await around.enter_async_context(watch.over(worker))
                set_aside_what_stays()
                await worker.run()
        except CapelinError as error:
            failures.append(error)
            log.critical("the worker ends", error=str(error))
        except Exception as error:
            failures.append(error)
            log.critical("the worker ends: a bug of a lifespan, or of capelin", exc_info=True)
        if worker.leftovers:
            log.warning("jobs that heed nothing are left behind", jobs=worker.leftovers)
            _end_at_once(1 if failures else 0)

    has_process_tasks = any(task.run_in == "process" for task in app.tasks.values())
    failures: list[Exception] = []
    with asyncio.Runner(loop_factory=fastest_loop()) as runner:
        runner.run(work())
    return 1 if failures else 0


def _watch(app: "Capelin[Any]", http: str, reporting: int | None) -> "Watch":
    from capelin.probes.watch import Watch

    return Watch(app, http=http, reporting=reporting)


def _family_watch(http: str) -> "FamilyWatch":
    from capelin.probes.watch import FamilyWatch

    return FamilyWatch(http)


def _end_at_once(status: int) -> NoReturn:
    """End the process under the feet of threads and coroutines that would hold it as long as they like."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def run_supervisor(*, processes: int, burst: bool, http: str | None = None) -> int:
    """Run this very command in several processes; returns the exit status.

    Raises:
        ConfigurationError: Nobody can listen where health and metrics are to be served.
    """
    watch = None if http is None else _family_watch(http)

    async def supervise() -> int:
        words = [*sys.argv[1:], "--processes", "1"]
        supervisor = Supervisor(
            this_command(words), processes=processes, burst=burst, linked=watch is not None
        )
        on_signals(supervisor.stop)
        if watch is None:
            return await supervisor.run()
        async with watch.over(supervisor, processes=processes):
            return await supervisor.run()

    return asyncio.run(supervise())


def fastest_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes uvloop's event loops where it is installed, else None: Python's own."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def on_signals(stop: Callable[[], None]) -> None:
    """Have ``stop`` called in the running loop for each SIGTERM and each Ctrl-C."""
    loop = asyncio.get_running_loop()
    for number in _STOPPING:
        try:
            loop.add_signal_handler(number, stop)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda _number, _frame: loop.call_soon_threadsafe(stop))
