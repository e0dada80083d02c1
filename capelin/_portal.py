"""From code without an event loop to the client: one thread with a loop for each app and process.

Context variables travel along, so that a job enqueued by a ``def`` task knows its parent. The thread ends
with the interpreter, which it does not hold up.
"""

import asyncio
import atexit
import os
import threading
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from capelin._clients import inherited
from capelin.errors import ConfigurationError, SyncInAsync

T = TypeVar("T")

_portals: "weakref.WeakSet[Portal]" = weakref.WeakSet()


class Portal:
    """Runs coroutines in a thread of its own, started when first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._running: _Running | None = None
        self._calls = 0
        _portals.add(self)

    def run(self, function: str, begin: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine to its end.

        Args:
            function: The name of the public function, for the message.
            begin: Makes the coroutine.

        Raises:
            SyncInAsync: An event loop runs in this thread.
            ConfigurationError: The app was closed meanwhile.
            Whatever the coroutine raises.
        """
        if in_a_running_loop():
            raise SyncInAsync(function=function)
        if self._pid != os.getpid():
            self._leave_to_parent()
        # Under the lock, so that it is on its way before `close` says stop: what is under way is cancelled.
        with self._lock:
            if self._running is None:
                self._running = _Running()
            future = asyncio.run_coroutine_threadsafe(begin(), self._running.loop)
            self._calls += 1
        try:
            return future.result()
        except BaseException:
            if not future.done():  # a signal's exception: nobody waits any more
                future.cancel()
            elif future.cancelled():
                raise ConfigurationError(f"the app was closed while {function}() was under way") from None
            raise
        finally:
            with self._lock:
                self._calls -= 1

    def close(self) -> None:
        """End the thread; what is under way is cancelled. The next use starts another."""
        if self._pid != os.getpid():
            self._leave_to_parent()
        with self._lock:
            running, self._running = self._running, None
        if running is not None:
            running.stop()

    async def close_if_idle(self) -> None:
        """End the thread, unless a call is under way: that is somebody else's, and is left to end."""
        if self._pid != os.getpid():
            self._leave_to_parent()
        with self._lock:
            if self._running is None or self._calls:
                return
            running, self._running = self._running, None
        await asyncio.to_thread(running.stop)

    def _leave_to_parent(self) -> None:
        inherited.append(self._running)
        self._running = None
        self._calls = 0
        self._lock = threading.Lock()
        self._pid = os.getpid()


class _Running:
    """The thread and its loop."""

    def __init__(self) -> None:
        ready = threading.Event()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._serve, args=(ready,), name="capelin-sync", daemon=True)
        self._thread.start()
        ready.wait()

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _serve(self, ready: threading.Event) -> None:
        with asyncio.Runner() as runner:
            self.loop = runner.get_loop()
            self.loop.call_soon(ready.set)
            runner.run(self._until_stopped())

    async def _until_stopped(self) -> None:
        await self._stop.wait()


def in_a_running_loop() -> bool:
    """Return whether an event loop runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


@atexit.register
def _close_all() -> None:
    for portal in list(_portals):
        portal.close()
