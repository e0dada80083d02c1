"""From code without an event loop to the client: one thread with a loop for each app and process.

Context variables travel along, so that a job enqueued by a ``def`` task knows its parent. The thread ends
with the interpreter, which it does not hold up.
"""

import asyncio
import atexit
import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from capelin._clients import inherited
from capelin.errors import ConfigurationError, SyncInAsync

T = TypeVar("T")

_LOOK_FOR_SIGNALS = 0.5

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
            call = _Call(self._running.loop, begin())
            self._calls += 1
        try:
            return call.wait()
        except asyncio.CancelledError:
            raise ConfigurationError(f"the app was closed while {function}() was under way") from None
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


class _Call(Generic[T]):
    """A coroutine in the portal's thread, and who waits for it.

    A signal may raise at any line of the waiting thread (Ctrl-C). `concurrent.futures` waits under locks of
    Python's own making, and one that is interrupted while it takes such a lock keeps it: the portal's thread
    would then hang. A signal that comes right before the wait does not end it either, so it is a short one,
    again and again.
    """

    # There before anybody looks: callbacks run in the order in which they were asked for.
    _task: asyncio.Task[T]

    def __init__(self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T]) -> None:
        self._loop, self._coroutine = loop, coroutine
        self._over = threading.Lock()
        self._over.acquire()
        loop.call_soon_threadsafe(self._start)

    def wait(self) -> T:
        """What the coroutine returns or raises; CancelledError if its loop ends before it does."""
        try:
            while not self._over.acquire(timeout=_LOOK_FOR_SIGNALS):
                pass
        except BaseException:  # a signal's exception: nobody waits any more
            with contextlib.suppress(RuntimeError):  # its loop has ended, and it with that
                self._loop.call_soon_threadsafe(self._give_up)
            raise
        return self._task.result()

    def _start(self) -> None:
        self._task = self._loop.create_task(self._coroutine)
        self._task.add_done_callback(self._ended)

    def _give_up(self) -> None:
        self._task.cancel()

    def _ended(self, task: asyncio.Task[T]) -> None:
        if not task.cancelled():
            task.exception()  # whoever waited has it; nobody may be left
        self._over.release()


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
