"""The clients of an app: one for each event loop of each process, opened when first used.

A socket belongs to the loop that watches it, and to the process that opened it: a child that wrote to its
parent's socket would mix its commands into the parent's. So a forked process begins with none, and does not
even close what it inherited; what belongs to a loop that was closed is dropped.
"""

import asyncio
import os
import threading
from collections.abc import Callable

from capelin.client import Client

inherited: list[object] = []
"""What forked processes do not touch: letting it go would run finalizers on sockets that the parent uses."""


class Clients:
    """Hands out the client of the running loop.

    Args:
        make: Makes a client; nothing is connected yet.
    """

    def __init__(self, make: Callable[[], Client]) -> None:
        self._make = make
        self._pid = os.getpid()
        self._by_loop: dict[asyncio.AbstractEventLoop, Client] = {}
        self._lock = threading.Lock()

    def here(self) -> Client:
        """Return the running loop's client.

        Raises:
            RuntimeError: No event loop runs in this thread.
        """
        loop = asyncio.get_running_loop()
        if self._pid != os.getpid():
            self._leave_to_parent()
        client = self._by_loop.get(loop)
        return client if client is not None else self._open(loop)

    async def close(self) -> None:
        """Close the running loop's client; the next use opens a new one."""
        if self._pid != os.getpid():
            self._leave_to_parent()
        client = self._by_loop.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.close()

    def _open(self, loop: asyncio.AbstractEventLoop) -> Client:
        with self._lock:
            for known in list(self._by_loop):
                if known.is_closed():
                    del self._by_loop[known]
            return self._by_loop.setdefault(loop, self._make())

    def _leave_to_parent(self) -> None:
        # Right after a fork one thread runs, and the lock may be held by one that does not exist here.
        inherited.append(self._by_loop)
        self._by_loop = {}
        self._lock = threading.Lock()
        self._pid = os.getpid()
