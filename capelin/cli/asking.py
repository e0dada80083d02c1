"""How commands that need no app ask Redis: the URL, the prefix, one event loop, and who says yes."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

import typer

from capelin._binding import load_settings
from capelin.admin import Access, open_access
from capelin.cli.opening import check_shared
from capelin.errors import CapelinError

T = TypeVar("T")


class NotConfirmed(CapelinError):
    """Something that cannot be undone was not confirmed."""


def ask(redis: str | None, prefix: str | None, question: Callable[[Access], Awaitable[T]]) -> T:
    """Ask Redis something.

    Args:
        redis: What ``--redis`` said; else ``CAPELIN_REDIS_URL`` or its default.
        prefix: What ``--prefix`` said; else ``CAPELIN_PREFIX`` or its default.
        question: Asks.

    Raises:
        CapelinError: Something that was given is wrong, or Redis does not answer.
    """
    settings = load_settings()
    url = settings.redis_url if redis is None else redis
    check_shared(url)

    async def main() -> T:
        async with open_access(url, prefix=prefix or settings.prefix, settings=settings) as access:
            return await question(access)

    return asyncio.run(main())


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something that cannot be undone.

    Args:
        question: Without its question mark.
        yes: ``--yes`` was given.

    Raises:
        NotConfirmed: The answer was no, or there is no terminal to ask on.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise NotConfirmed(f"{question[0].lower()}{question[1:]}: there is no terminal to ask on; add --yes")
    if not typer.confirm(f"{question}?"):
        raise NotConfirmed("nothing was changed")
