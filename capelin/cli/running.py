"""One worker in this process: its event loop, its signals, its exit status."""

import asyncio
import signal
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import structlog

from capelin.errors import CapelinError
from capelin.workers.worker import Worker

if TYPE_CHECKING:
    from capelin.app import Capelin
    from capelin.settings import Settings

log = structlog.get_logger("capelin.worker")

STOPPING = (signal.SIGTERM, signal.SIGINT)


def run_worker(
    app: "Capelin[Any]", *, queues: Mapping[str, int] | None, burst: bool, settings: "Settings"
) -> int:
    """Run a worker until it ends; returns the exit status: 0 after a clean stop.

    Raises:
        ConfigurationError: It cannot be started as it is.
    """
    worker = Worker(app, queues=queues, burst=burst, settings=settings)

    async def work() -> None:
        _on_signals(worker.stop)
        await worker.run()

    with asyncio.Runner(loop_factory=fastest_loop()) as runner:
        try:
            runner.run(work())
        except CapelinError as error:
            log.critical("the worker ends", error=str(error))
            return 1
        except Exception:
            log.critical("the worker ends: this is a bug, of a lifespan or of capelin", exc_info=True)
            return 1
    return 0


def fastest_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes uvloop's event loops where it is installed, else None: Python's own."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _on_signals(stop: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    for number in STOPPING:
        try:
            loop.add_signal_handler(number, stop)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda _number, _frame: loop.call_soon_threadsafe(stop))
