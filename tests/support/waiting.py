"""Waiting for an event instead of sleeping for a guess.

A test that sleeps is slow when it passes and flaky when the machine is busy. These helpers end the moment the
predicate holds, and when it never does they say in words what did not happen.
"""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable

POLL_SECONDS = 0.01


def _gave_up(description: str, timeout: float) -> AssertionError:
    return AssertionError(f"waited {timeout:g} s in vain for: {description}")


async def wait_until(
    predicate: Callable[[], object | Awaitable[object]],
    *,
    description: str,
    timeout: float = 20,
) -> None:
    """Return as soon as `predicate` (sync or async) gives something true.

    Args:
        predicate: asked again and again; an exception of its own ends the wait and is raised.
        description: what is awaited, in words: the message of the failure.
        timeout: seconds; one last look is taken when they are over.

    Raises:
        AssertionError: it did not hold in time.

    Example:
        await wait_until(lambda: len(seen) == 3, description="three jobs to run")
    """
    deadline = time.monotonic() + timeout
    while True:
        last = time.monotonic() >= deadline
        answer = predicate()
        if inspect.isawaitable(answer):
            try:
                # A predicate that hangs (a server that is down, a proxy that swallows) is not waited for
                # for ever.
                answer = await asyncio.wait_for(answer, max(deadline - time.monotonic(), 1))
            except TimeoutError:
                raise _gave_up(f"{description} (the predicate itself did not return)", timeout) from None
        if answer:
            return
        if last:
            raise _gave_up(description, timeout)
        await asyncio.sleep(POLL_SECONDS)


def wait_until_sync(predicate: Callable[[], object], *, description: str, timeout: float = 20) -> None:
    """Do what `wait_until` does, for tests and helpers without an event loop."""
    deadline = time.monotonic() + timeout
    while True:
        last = time.monotonic() >= deadline
        if predicate():
            return
        if last:
            raise _gave_up(description, timeout)
        time.sleep(POLL_SECONDS)
