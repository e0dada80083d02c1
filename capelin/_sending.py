"""Enqueueing: requests become batches, one script call each, sent again until Redis has confirmed them.

Keeps guarantees 1, 6 and 7. A batch whose reply was lost goes again with the same uids to the same shard,
whose script recognises them; none is sent later than ``enqueue_timeout`` after the first time, which lies
within ``resend_window``, for which the script remembers.
"""

import random
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from capelin import lua
from capelin._patience import Patience
from capelin._queues import Queues
from capelin._rows import Rows, origin
from capelin.codec import check_payload_size
from capelin.connection import Connection
from capelin.durations import milliseconds
from capelin.errors import RedisRefused, Unreachable, UnsupportedSchema
from capelin.ids import new_uid
from capelin.keys import Keys, shard_of
from capelin.lua import Call, Layout, NewJob, Submitted
from capelin.requests import JobRequest
from capelin.settings import Settings

MOST_A_CALL = 500
_FEWEST_A_CALL = (
    10  # a call costs Redis as much as a few jobs do: a short list is not cut for the spread's sake
)
_MOST_CHARACTERS_A_CALL = 4 * 1024 * 1024
_CALLS_A_ROUND = 32  # so that a million requests neither fill the memory nor keep others off the line


class Placed(NamedTuple):
    """Where a request's job is. ``uid`` is another job's when that one stands for it."""

    shard: int
    uid: str
    verdict: Submitted


class Full(RedisRefused):
    """Every shard that may take the batch holds its share of ``max_queue_length``."""


class _Batch:
    """Requests that go to one shard in one call."""

    __slots__ = ("places", "queue", "rows", "shard", "tries")

    def __init__(self, queue: str, shard: int, places: Sequence[int], tries: int) -> None:
        self.queue, self.shard, self.places = queue, shard, places
        self.tries = tries
        self.rows: Sequence[NewJob] = ()


class Sender:
    """Enqueues for one client.

    Args:
        connection: Where.
        keys: The namespace.
        settings: Limits and times.
        queues: Layouts.
        rows: Makes the rows.
    """

    def __init__(
        self, connection: Connection, keys: Keys, settings: Settings, queues: Queues, rows: Rows
    ) -> None:
        self._connection, self._keys, self._settings = connection, keys, settings
        self._queues, self._rows = queues, rows
        self._resend_window = milliseconds(settings.resend_window)
        self._turn = random.randrange(1024)  # noqa: S311 -- so that many processes do not begin at one shard

    async def send(self, requests: Sequence[JobRequest[Any]]) -> list[Placed | Exception]:
        """Enqueue requests.

        Returns:
            For each request, in order, where its job is, or why there is none (or none that was confirmed).

        Raises:
            PayloadTooLarge: A request's arguments are too large; nothing was sent.
            UnsupportedSchema: A queue was written by a newer major version; nothing was sent.
        """
        self._check_sizes(requests)
        patience = Patience(self._settings.enqueue_timeout)
        try:
            layouts = await self._open({request.queue for request in requests}, patience)
        except (Unreachable, RedisRefused) as error:
            return [error] * len(requests)
        results: list[Placed | Exception] = [_NOT_YET] * len(requests)
        common = origin()
        batches = self._batches(requests, layouts)
        while round_ := list(islice(batches, _CALLS_A_ROUND)):
            for batch in round_:
                batch.rows = [self._rows.row(requests[place], new_uid(), common) for place in batch.places]
            gave_up = await self._send_round(round_, layouts, results, patience)
            if gave_up is not None:
                return [gave_up if result is _NOT_YET else result for result in results]
            patience = Patience(self._settings.enqueue_timeout)
        return results

    def _check_sizes(self, requests: Sequence[JobRequest[Any]]) -> None:
        limit = self._settings.max_payload_bytes
        for request in requests:
            if request.args:
                check_payload_size(request.task, request.args, limit)
            then = request.then
            while then is not None:
                check_payload_size(then.task, then.args, limit)
                then = then.then

    async def _open(self, queues: set[str], patience: Patience) -> dict[str, Layout]:
        while True:
            try:
                return await self._queues.open(queues)
            except UnsupportedSchema:
                raise
            except Unreachable:
                if not await patience.pause():
                    raise

    async def _send_round(
        self,
        batches: list[_Batch],
        layouts: dict[str, Layout],
        results: list[Placed | Exception],
        patience: Patience,
    ) -> Unreachable | None:
        """Send batches until each is confirmed or refused; returns why when the time is over before."""
        while batches:
            replies = await self._connection.run_many([self._call(batch, layouts) for batch in batches])
            again: list[_Batch] = []
            lost: Unreachable | None = None
            for batch, reply in zip(batches, replies, strict=True):
                if reply is None:
                    self._move_on(batch, layouts, results, again)
                elif isinstance(reply, Unreachable):
                    again.append(batch)
                    lost = reply
                elif isinstance(reply, Exception):
                    _fail(batch, reply, results)
                else:
                    for place, (verdict, uid) in zip(batch.places, reply, strict=True):
                        results[place] = Placed(batch.shard, uid, verdict)
            batches = again
            if lost is not None and not await patience.pause():
                return lost
        return None

    def _call(self, batch: _Batch, layouts: dict[str, Layout]) -> Call[Any]:
        return lua.enqueue(
            self._keys.shard(batch.queue, batch.shard),
            most=self._share(batch.shard, layouts[batch.queue].shards),
            resend_window=self._resend_window,
            jobs=batch.rows,
        )

    def _share(self, shard: int, shards: int) -> int | None:
        """Return how many jobs may wait in a shard: an even share of the queue's limit, at least one."""
        most = self._settings.max_queue_length
        if most is None:
            return None
        return max(1, most // shards + (shard < most % shards))

    def _move_on(
        self,
        batch: _Batch,
        layouts: dict[str, Layout],
        results: list[Placed | Exception],
        again: list[_Batch],
    ) -> None:
        """Try the next shard with a batch that its shard has no room for, if its jobs may live in any."""
        batch.tries -= 1
        if batch.tries > 0:
            batch.shard = (batch.shard + 1) % layouts[batch.queue].shards
            again.append(batch)
            return
        limit = self._settings.max_queue_length
        error = Full(message=f"queue {batch.queue} is full: max_queue_length={limit}", script="enqueue")
        _fail(batch, error, results)

    def _batches(self, requests: Sequence[JobRequest[Any]], layouts: dict[str, Layout]) -> Iterator[_Batch]:
        if len(requests) == 1 and requests[0].dedupe_key is None and requests[0].shard_key is None:
            [request] = requests
            shards = layouts[request.queue].shards
            yield _Batch(request.queue, self._next_turn() % shards, (0,), shards)
            return
        anywhere: dict[str, list[int]] = {}
        keyed: dict[tuple[str, int], list[int]] = {}
        for place, request in enumerate(requests):
            if request.dedupe_key is not None:
                text = f"{request.task}:{request.dedupe_key}"
            elif request.shard_key is not None:
                text = request.shard_key
            else:
                anywhere.setdefault(request.queue, []).append(place)
                continue
            shard = shard_of(text, layouts[request.queue].shards)
            keyed.setdefault((request.queue, shard), []).append(place)
        for (queue, shard), places in keyed.items():
            for part in self._parts(places, requests, MOST_A_CALL):
                yield _Batch(queue, shard, part, 1)
        for queue, places in anywhere.items():
            shards = layouts[queue].shards
            most = max(_FEWEST_A_CALL, -(-len(places) // shards))
            share = self._share(shards - 1, shards)
            for part in self._parts(places, requests, min(most, MOST_A_CALL, share or MOST_A_CALL)):
                yield _Batch(queue, self._next_turn() % shards, part, shards)

    def _parts(
        self, places: Sequence[int], requests: Sequence[JobRequest[Any]], most: int
    ) -> Iterator[Sequence[int]]:
        """Cut places into parts of at most ``most``, and fewer where arguments are long."""
        begin, characters = 0, 0
        for end, place in enumerate(places):
            characters += len(requests[place].args)
            if end - begin >= most or (characters > _MOST_CHARACTERS_A_CALL and end > begin):
                yield places[begin:end]
                begin, characters = end, len(requests[place].args)
        if begin < len(places):
            yield places[begin:]

    def _next_turn(self) -> int:
        self._turn += 1
        return self._turn


_NOT_YET = Exception()


def _fail(batch: _Batch, error: Exception, results: list[Placed | Exception]) -> None:
    for place in batch.places:
        results[place] = error
