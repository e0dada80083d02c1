"""One attempt at a time, whose outcome everybody gets who came while it was under way.

When a server does not answer, a hundred callers wait for one connect that times out, not for a hundred in a
row.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from capelin.connection.refusals import afresh
from capelin.errors import RedisRefused, Unreachable

T = TypeVar("T")


class Shared(Generic[T]):
    """Runs `attempt` for all who ask at the same time. A caller that is cancelled leaves it to the others."""

    def __init__(self, attempt: Callable[[], Coroutine[Any, Any, T]], *, url: str) -> None:
        self._attempt, self._url = attempt, url
        self._task: asyncio.Task[T] | None = None

    @property
    def under_way(self) -> bool:
        """Whether an attempt is running."""
        return self._task is not None

    async def get(self) -> T:
        """The outcome of the attempt under way, or of a new one.

        Raises:
            Unreachable, RedisRefused, ConfigurationError: What the attempt raised.
        """
        task = self._task
        if task is None:
            task = self._task = asyncio.get_running_loop().create_task(self._attempt())
            task.add_done_callback(self._ended)
        await asyncio.wait([task])
        if task.cancelled():
            raise Unreachable(url=self._url, cause="the connection was closed")
        error = task.exception()
        if isinstance(error, Unreachable | RedisRefused):
            raise afresh(error) from error
        return task.result()

    async def close(self) -> None:
        """End the attempt under way; its callers get `Unreachable`."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def _ended(self, task: asyncio.Task[T]) -> None:
        self._task = None
        if not task.cancelled():
            task.exception()  # whoever waited has it; nobody may be left
