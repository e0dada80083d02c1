"""What the shell offers when somebody presses Tab: names that this Redis knows.

Nobody waits for it: what does not answer at once offers nothing, and says nothing.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from capelin.admin import Access

_PATIENCE = 1.0
"""Seconds."""


def status_names() -> list[str]:
    """Return the statuses of jobs."""
    from capelin.records import JobStatus

    return [status.value for status in JobStatus]


def queue_names(ctx: Any, incomplete: str) -> list[str]:
    """Return the queues that begin like this."""

    async def question(access: "Access") -> list[str]:
        return list(await access.layouts())

    return _offered(ctx, incomplete, question)


def worker_ids(ctx: Any, incomplete: str) -> list[str]:
    """Return the workers whose ids begin like this."""

    async def question(access: "Access") -> list[str]:
        from capelin.admin.fleet import read_fleet

        return list(await read_fleet(access))

    return _offered(ctx, incomplete, question)


def task_names(ctx: Any, incomplete: str) -> list[str]:
    """Return the tasks of live workers that begin like this."""

    async def question(access: "Access") -> list[str]:
        from capelin.admin.fleet import read_fleet

        members = (await read_fleet(access)).values()
        return list({task for member, _ in members for task in member.tasks})

    return _offered(ctx, incomplete, question)


def schedule_names(ctx: Any, incomplete: str) -> list[str]:
    """Return the schedules that begin like this."""

    async def question(access: "Access") -> list[str]:
        from capelin.admin import schedule_book

        return [one.name for one in await schedule_book(access).ls()]

    return _offered(ctx, incomplete, question)


def _offered(ctx: Any, incomplete: str, question: "Callable[[Access], Awaitable[list[str]]]") -> list[str]:
    import asyncio

    from capelin.cli.asking import ask
    from capelin.errors import CapelinError

    async def soon(access: "Access") -> list[str]:
        async with asyncio.timeout(_PATIENCE):
            return await question(access)

    given: dict[str, Any] = ctx.params
    try:
        names = ask(given.get("redis"), given.get("prefix"), soon)
    except (CapelinError, TimeoutError, OSError):
        return []
    return sorted(name for name in names if name.startswith(incomplete))
