"""One job at a time from the same line of code, on the shortest way: its stencil is filled in and sent.

What does not go straight through, the `Sender` goes on with, as the same job.
"""

from typing import Any

from capelin._sending import Placed, Sender
from capelin.connection import Connection
from capelin.context import current_job
from capelin.errors import RedisRefused, Unreachable
from capelin.ids import new_uid
from capelin.lua import Submitted
from capelin.requests import JobRequest


class Express:
    """Sends single requests for one client.

    Args:
        connection: Where.
        sender: Sends what is not plain, and goes on with what was not answered.
        most_characters: Of arguments that surely are not too large.
    """

    def __init__(self, connection: Connection, sender: Sender, *, most_characters: int) -> None:
        self._connection, self._sender, self._sites = connection, sender, sender.sites
        self._most_characters = most_characters

    async def send(self, request: JobRequest[Any], args: str) -> Placed | Exception:
        """Enqueue a request with these arguments (encoded) for its own; as ``Sender.send``."""
        sender = self._sender
        prepared = None if sender.demands else self._sites.prepared(request)
        if prepared is None or len(args) > self._most_characters or current_job(None) is not None:
            [result] = await sender.send((request.with_args(args),))
            return result
        layout = prepared.layout
        shard = sender.dealer.next_shard(layout)
        cut = prepared.cuts[shard] or self._sites.cut(prepared, request, shard)
        uid = new_uid()
        try:
            reply = await self._connection.run(cut.fill(uid, args))
        except Unreachable:
            reply = None
        except RedisRefused as error:
            return error
        if reply is Submitted.NEW:
            return Placed(shard, uid, reply)
        if reply is None or reply[0][0] is Submitted.MOVED:
            return await sender.go_on(request.with_args(args), layout, shard, uid)
        return Placed(shard, uid, reply[0][0])
