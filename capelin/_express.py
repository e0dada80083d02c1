"""One job at a time from the same line of code: what its requests share is prepared once.

A program that enqueues one job and waits for the answer spends its time here more than in Redis, and all but
the arguments is as it was the last time. So requests that say nothing unusual are sent by a `Stencil`, kept
at the site that makes them. What does not go straight through, the `Sender` goes on with, as the same job.
"""

from dataclasses import MISSING, fields
from typing import Any

from capelin._sending import Cut, Placed, Sender
from capelin.connection import Connection
from capelin.context import current_job
from capelin.errors import RedisRefused, Unreachable
from capelin.ids import new_uid
from capelin.lua import Layout, Submitted
from capelin.requests import JobRequest

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


class _Prepared:
    """What a sender keeps at a site: a stencil for each shard, made when it is the shard's turn."""

    __slots__ = ("cuts", "layout", "owner")

    def __init__(self, owner: object, layout: Layout) -> None:
        self.owner, self.layout = owner, layout
        self.cuts = list[Cut | None]([None] * layout.shards)


class Express:
    """Sends single requests for one client.

    Args:
        connection: Where.
        sender: Sends what is not plain, and goes on with what was not answered.
        most_characters: Of arguments that surely are not too large.
    """

    def __init__(self, connection: Connection, sender: Sender, *, most_characters: int) -> None:
        self._mark = object()  # a site outlives clients, and this keeps none of them alive
        self._connection, self._sender, self._layouts = connection, sender, sender.layouts
        self._most_characters = most_characters

    async def send(self, request: JobRequest[Any]) -> Placed | Exception:
        """Enqueue one request; as ``Sender.send``."""
        prepared = self._prepared(request)
        if prepared is None or len(request.args) > self._most_characters or current_job(None) is not None:
            [result] = await self._sender.send((request,))
            return result
        sender, layout, cuts = self._sender, prepared.layout, prepared.cuts
        shard = sender.dealer.next_shard(layout)
        cut = cuts[shard]
        if cut is None:
            cut = cuts[shard] = sender.stencil(request, layout, shard)
        uid = new_uid()
        try:
            reply = await self._connection.run(cut.fill(uid, request.args))
        except Unreachable:
            reply = None
        except RedisRefused as error:
            return error
        if reply is None or reply[0][0] is Submitted.MOVED:
            return await sender.go_on(request, layout, shard, uid)
        return Placed(shard, uid, reply[0][0])

    def _prepared(self, request: JobRequest[Any]) -> _Prepared | None:
        """Return what there is for a request's site; None for one that has to go the long way."""
        site = request.site
        layout = self._layouts.get(request.queue)
        if site is None or layout is None:
            return None
        prepared = site.prepared
        if prepared.__class__ is _Prepared and prepared.owner is self._mark and prepared.layout is layout:
            return prepared
        if not site.seen:  # most that are made for one call make no other request
            site.seen = True
            return None
        if self._sender.demands or not _is_plain(request):
            return None
        prepared = site.prepared = _Prepared(self._mark, layout)
        return prepared


def _is_plain(request: JobRequest[Any]) -> bool:
    return all(getattr(request, name) == nothing for name, nothing in _NOTHING)
