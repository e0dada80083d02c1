"""Listings that come page by page."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from capelin.admin import Access

DEFAULT = 50
_PAGE = 500


class Page(Protocol):
    """A page of a listing, and where to go on."""

    @property
    def jobs(self) -> Sequence[object]:
        """What is on it."""
        ...

    @property
    def cursor(self) -> str | None:
        """Where the next one begins; None after the last."""
        ...

    @property
    def torn(self) -> Mapping[str, str]:
        """What is wrong with places that cannot be read, by their keys."""
        ...


async def stream(
    access: "Access",
    page: "Callable[[Access, int, str | None], Awaitable[Page]]",
    *,
    limit: int | None,
    after: str | None,
) -> None:
    """Print a listing as JSON, a line a job, as it is read: all of it, or the first so many.

    Args:
        access: Where.
        page: Reads one: at most so many, after a cursor.
        limit: At most so many jobs; None for all.
        after: Where to begin.
    """
    from capelin.cli.printing import print_line, print_torn

    left = limit
    torn: dict[str, str] = {}
    while left is None or left > 0:
        found = await page(access, _PAGE if left is None else min(_PAGE, left), after)
        torn.update(found.torn)
        for job in found.jobs:
            print_line(job)
        if found.cursor is None:
            break
        left, after = None if left is None else left - len(found.jobs), found.cursor
    print_torn(torn)
