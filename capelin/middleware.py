"""Middleware around attempts: tracing, metrics, transactions, around each start of each job.

Composed once when a worker starts; an app without middleware pays nothing.
"""

import inspect
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from capelin.context import JobContext
from capelin.errors import InvalidOption

CallNext = Callable[[], Awaitable[Any]]
Middleware = Callable[[JobContext, CallNext], Awaitable[Any]]
"""``async def middleware(job, call_next): return await call_next()``. What it returns is the job's result."""

S = TypeVar("S")


def checked_middleware(middleware: Iterable[Middleware]) -> tuple[Middleware, ...]:
    """Return middleware as a tuple, the outermost first.

    Raises:
        InvalidOption: One is not an asynchronous callable that takes the job and what comes next.
    """
    result = tuple(middleware)
    for one in result:
        call: object = one if inspect.isroutine(one) else getattr(one, "__call__", None)  # noqa: B004 -- its own
        if not inspect.iscoroutinefunction(call):
            raise InvalidOption(
                option="middleware", value=one, why="expected async def middleware(job, call_next): ..."
            )
        try:
            inspect.signature(one).bind(None, None)
        except TypeError as cause:
            raise InvalidOption(
                option="middleware", value=one, why=f"it is called with the job and call_next: {cause}"
            ) from cause
    return result


def compose(
    middleware: Iterable[Middleware],
    attempt: Callable[[S], Awaitable[Any]],
    *,
    job_of: Callable[[S], JobContext],
) -> Callable[[S], Awaitable[Any]]:
    """Return ``attempt`` with middleware around it; ``attempt`` itself if there is none.

    Args:
        middleware: The outermost first.
        attempt: Runs one start.
        job_of: The job's context, of a start.

    Example:
        run = compose(app.middleware, executor.attempt, job_of=lambda start: start.job)
        result = await run(start)
    """
    composed = attempt
    for one in reversed(tuple(middleware)):
        composed = _around(one, composed, job_of)
    return composed


def _around(
    middleware: Middleware, inner: Callable[[S], Awaitable[Any]], job_of: Callable[[S], JobContext]
) -> Callable[[S], Awaitable[Any]]:
    async def run(start: S) -> Any:
        return await middleware(job_of(start), lambda: inner(start))

    return run
