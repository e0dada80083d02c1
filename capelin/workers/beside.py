"""A thread with an event loop of its own beside the worker's: for what must go on when that one is blocked.

Its end is told to the loop that started it, which so can wait for it without starting another thread to join
it: where no memory is left, Python waits for ever for a thread to begin.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import Any


class Beside:
    """Runs a coroutine on a loop and in a thread of its own. Make it on the loop that is to wait for it.

    Args:
        main: Makes the coroutine, in the thread.
        name: The thread's.
    """

    def __init__(self, main: Callable[[], Coroutine[Any, Any, None]], *, name: str) -> None:
        self._main = main
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._thread.is_alive()

    async def ended(self, *, patience: float) -> None:
        """Return when the coroutine is over, or after so many seconds."""
        await asyncio.wait([self._ended], timeout=patience)

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        finally:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)
