"""What requests share that one line of code makes: all but their arguments, prepared once and packed.

A program that enqueues spends more time here than Redis does, and all but the arguments is as it was the last
time. So requests that say nothing unusual are sent by stencils, which are kept at the site that makes them.
"""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from typing import Any

from capelin.connection import Stencil
from capelin.lua import Enqueued, Layout
from capelin.requests import JobRequest

Cut = Stencil[Enqueued]
MakeCut = Callable[[JobRequest[Any], Layout, int], Cut]

_REPEATED = {
    "task",
    "queue",
    "args",
    "digest",
    "priority",
    "delay",
    "at",
    "expires",
    "timeout",
    "retry",
    "retention",
    "on_failure",
    "max_crashes",
    "batch_id",
}
"""Fields that are the same in every request of a site, and neither choose a shard nor add anything else."""
_NOTHING: tuple[tuple[str, Any], ...] = tuple(
    (field.name, field.default if field.default is not MISSING else {})
    for field in fields(JobRequest)
    if field.name not in _REPEATED
)


class Prepared:
    """What is kept at a site: a stencil for each shard, made when it is the shard's turn.

    Attributes:
        owner: Whose it is. A site outlives clients, and keeps none of them alive.
        layout: By which the requests are placed.
    """

    __slots__ = ("cuts", "layout", "owner")

    def __init__(self, owner: object, layout: Layout) -> None:
        self.owner, self.layout = owner, layout
        self.cuts = list[Cut | None]([None] * layout.shards)


class Sites:
    """What one client keeps at sites.

    Args:
        layouts: Those that are known.
        make: Makes a stencil of a request, for a shard.
    """

    def __init__(self, layouts: Mapping[str, Layout], make: MakeCut) -> None:
        self._mark = object()
        self._layouts, self._make = layouts, make

    def prepared(self, request: JobRequest[Any], *, many: bool = False) -> Prepared | None:
        """Return what there is for a request's site; None for one that has to go the long way.

        Args:
            request: The request.
            many: Others of this site come with it.
        """
        site = request.site
        layout = self._layouts.get(request.queue)
        if site is None or layout is None:
            return None
        prepared = site.prepared
        if prepared.__class__ is Prepared and prepared.owner is self._mark and prepared.layout is layout:
            return prepared
        if not (site.seen or many):  # most that are made for one call make no other request
            site.seen = True
            return None
        if not _is_plain(request):
            return None
        prepared = site.prepared = Prepared(self._mark, layout)
        return prepared

    def cut(self, prepared: Prepared, request: JobRequest[Any], shard: int) -> Cut:
        """Return the stencil of a site, of which this is a request, for a shard."""
        cut = prepared.cuts[shard]
        if cut is None:
            cut = prepared.cuts[shard] = self._make(request, prepared.layout, shard)
        return cut


def _is_plain(request: JobRequest[Any]) -> bool:
    return all(getattr(request, name) == nothing for name, nothing in _NOTHING)
