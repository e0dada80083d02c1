"""Enqueueing: requests become batches, one script call each, sent again until Redis has confirmed them.

Keeps guarantees 1, 6 and 7. A batch whose reply was lost goes again with the same uids to the same shard,
whose script recognises them; none is sent later than ``enqueue_timeout`` after the first time, which lies
within ``resend_window``, for which the script remembers.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from capelin import lua
from capelin._patience import Patience
from capelin._queues import Queues
from capelin._rows import Rows, origin
from capelin.codec import check_payload_size
from capelin.connection import Confirmed, Connection, Copies, Wish
from capelin.durations import milliseconds
from capelin.errors import RedisRefused, Unreachable
from capelin.ids import new_uid
from capelin.keys import Keys, shard_of
from capelin.lua import Call, Submitted
from capelin.requests import JobRequest
from capelin.settings import Settings

MOST_A_CALL = 500
_FEWEST_A_CALL = (
    10  # a call costs Redis as much as a few jobs do: a short list is not cut for the spread's sake
)
_MOST_CHARACTERS_A_CALL = 4 * 1024 * 1024
_CALLS_A_ROUND = 32  # so that a million requests neither fill the memory nor keep others off the line

Requests = Sequence[JobRequest[Any]]


class Lack(NamedTuple):
    """How a job has fewer copies than were asked for; ``why`` is Redis's error, if it could not tell."""

    wanted: int
    got: int
    fsync: bool
    why: str | None


class Placed(NamedTuple):
    """Where a request's job is. ``uid`` is another job's when that one stands for it."""

    shard: int
    uid: str
    verdict: Submitted
    lack: Lack | None = None


Results = list[Placed | Exception]


class Full(RedisRefused):
    """Every shard that may take the batch holds its share of ``max_queue_length``."""


class _Batch:
    """Requests that go to one shard in one call.

    Attributes:
        places: Which of the requests.
        choices: In how many shards, from this one on, they may be placed.
        uids: The jobs' uids; they stay the same however often and wherever the batch is sent.
    """

    __slots__ = ("choices", "places", "queue", "shard", "uids")

    def __init__(self, queue: str, shard: int, places: Sequence[int], *, choices: int) -> None:
        self.queue, self.shard, self.places, self.choices = queue, shard, places, choices
        self.uids = [new_uid() for _ in places]


class Sender:
    """Enqueues for one client.

    Args:
        connection: Where.
        confirming: The same place, for enqueues that wait for replicas: nothing else waits behind them there.
        keys: The namespace.
        settings: Limits and times.
        queues: Layouts.
        rows: Makes the rows.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        confirming: Connection,
        keys: Keys,
        settings: Settings,
        queues: Queues,
        rows: Rows,
    ) -> None:
        self._connection, self._confirming, self._keys = connection, confirming, keys
        self._min_replicas, self._fsync = settings.min_replicas, settings.fsync
        self._replication_timeout = milliseconds(settings.replication_timeout)
        self._queues, self._layouts, self._rows = queues, queues.known, rows
        self._most_waiting = settings.max_queue_length
        self._max_payload_bytes = settings.max_payload_bytes
        self._timeout = settings.enqueue_timeout
        self._resend_window = milliseconds(settings.resend_window)
        self._turn = random.randrange(1024)  # noqa: S311 -- so that many processes do not begin at one shard

    async def send(self, requests: Requests) -> Results:
        """Enqueue requests.

        Returns:
            For each request, in order, where its job is, or why there is none (or none that was confirmed).

        Raises:
            PayloadTooLarge: A request's arguments are too large; nothing was sent.
            UnsupportedSchema: A queue was written by a newer major version; nothing was sent.
        """
        for request in requests:
            self._check_size(request)
        patience = Patience(self._timeout)
        try:
            if unknown := [request.queue for request in requests if request.queue not in self._layouts]:
                await self._open(set(unknown), patience)
        except (Unreachable, RedisRefused) as error:
            return [error] * len(requests)
        results: Results = [_NOT_YET] * len(requests)
        wish = self._wish(requests)
        common = origin()
        batches = self._batches(requests) if len(requests) > 1 else iter((self._batch(requests[0]),))
        while batch_round := list(islice(batches, _CALLS_A_ROUND)):
            gave_up = await self._send_round(
                batch_round, requests, common, results, patience=patience, wish=wish
            )
            if gave_up is not None:
                return [gave_up if result is _NOT_YET else result for result in results]
            patience.renew()
        return results

    def _wish(self, requests: Requests) -> Wish | None:
        """Return how many copies are to be waited for: as many as the most demanding request wants."""
        replicas = max(self._wanted(request) for request in requests)
        fsync = any(self._fsynced(request) for request in requests)
        if not replicas and not fsync:
            return None
        return Wish(replicas=replicas, fsync=fsync, patience=self._replication_timeout)

    def _wanted(self, request: JobRequest[Any]) -> int:
        return self._min_replicas if request.min_replicas is None else request.min_replicas

    def _fsynced(self, request: JobRequest[Any]) -> bool:
        return self._fsync if request.fsync is None else request.fsync

    def _lack(self, request: JobRequest[Any], copies: Copies) -> Lack | None:
        wanted, fsync = self._wanted(request), self._fsynced(request)
        if copies.replicas >= wanted and (copies.on_disk or not fsync):
            return None
        return Lack(wanted, copies.replicas, fsync, copies.why)

    def _check_size(self, request: JobRequest[Any]) -> None:
        check_payload_size(request.task, request.args, self._max_payload_bytes)
        if request.then is not None:
            self._check_size(request.then)

    async def _open(self, queues: set[str], patience: Patience) -> None:
        while not self._layouts.keys() >= queues:
            try:
                await self._queues.open(queues)
            except Unreachable:
                if not await patience.pause():
                    raise

    async def _send_round(
        self,
        batches: list[_Batch],
        requests: Requests,
        common: Mapping[str, str],
        results: Results,
        *,
        patience: Patience,
        wish: Wish | None,
    ) -> Unreachable | None:
        """Send batches until each is confirmed or refused; return why if the time is over before."""
        while batches:
            calls = [self._call(batch, requests, common, touch=wish is not None) for batch in batches]
            if wish is None:
                replies = await self._connection.run_many(calls)
            else:
                replies = await self._confirming.run_confirmed(calls, wish)
            again: list[_Batch] = []
            lost: Unreachable | None = None
            for batch, answer in zip(batches, replies, strict=True):
                reply, copies = answer if isinstance(answer, Confirmed) else (answer, None)
                if reply is None:
                    if not self._move_on(batch):
                        self._fail(batch, self._full(batch), results)
                    else:
                        again.append(batch)
                elif isinstance(reply, Unreachable):
                    again.append(batch)
                    lost = reply
                elif isinstance(reply, Exception):
                    self._fail(batch, reply, results)
                else:
                    for place, (verdict, uid) in zip(batch.places, reply, strict=True):
                        lack = None if copies is None else self._lack(requests[place], copies)
                        results[place] = Placed(batch.shard, uid, verdict, lack)
            batches = again
            if lost is not None and not await patience.pause():
                return lost
        return None

    def _call(
        self, batch: _Batch, requests: Requests, common: Mapping[str, str], *, touch: bool
    ) -> Call[Any]:
        most = self._most_waiting
        shard = self._keys.shard(batch.queue, batch.shard)
        row = self._rows.row
        return lua.enqueue(
            shard,
            most=None if most is None else share_of(most, batch.shard, self._layouts[batch.queue].shards),
            resend_window=self._resend_window,
            touch=touch,
            jobs=[
                row(requests[place], uid, common) for place, uid in zip(batch.places, batch.uids, strict=True)
            ],
        )

    def _move_on(self, batch: _Batch) -> bool:
        """Let a batch that its shard has no room for try the next one; False when there is none."""
        batch.choices -= 1
        batch.shard = (batch.shard + 1) % self._layouts[batch.queue].shards
        return batch.choices > 0

    def _full(self, batch: _Batch) -> Full:
        return Full(
            message=f"queue {batch.queue!r} is full: max_queue_length={self._most_waiting}", script="enqueue"
        )

    def _fail(self, batch: _Batch, error: Exception, results: Results) -> None:
        for place in batch.places:
            results[place] = error

    def _batch(self, request: JobRequest[Any]) -> _Batch:
        shards = self._layouts[request.queue].shards
        key = placing_key(request)
        if key is not None:
            return _Batch(request.queue, shard_of(key, shards), (0,), choices=1)
        self._turn += 1
        return _Batch(request.queue, self._turn % shards, (0,), choices=shards)

    def _batches(self, requests: Requests) -> Iterator[_Batch]:
        anywhere: dict[str, list[int]] = {}
        fixed: dict[tuple[str, int], list[int]] = {}
        for place, request in enumerate(requests):
            key = placing_key(request)
            if key is None:
                anywhere.setdefault(request.queue, []).append(place)
            else:
                shard = shard_of(key, self._layouts[request.queue].shards)
                fixed.setdefault((request.queue, shard), []).append(place)
        for (queue, shard), places in fixed.items():
            for part in _parts(places, requests, MOST_A_CALL):
                yield _Batch(queue, shard, part, choices=1)
        for queue, places in anywhere.items():
            yield from self._spread(queue, places, requests)

    def _spread(self, queue: str, places: list[int], requests: Requests) -> Iterator[_Batch]:
        """Deal jobs that may live in any shard to the shards in turn."""
        shards = self._layouts[queue].shards
        most = min(MOST_A_CALL, max(_FEWEST_A_CALL, -(-len(places) // shards)))
        if self._most_waiting is not None:
            most = min(most, share_of(self._most_waiting, shards - 1, shards))
        for part in _parts(places, requests, most):
            self._turn += 1
            yield _Batch(queue, self._turn % shards, part, choices=shards)


_NOT_YET = Exception()


def placing_key(request: JobRequest[Any]) -> str | None:
    """Return the text that decides a job's shard; None when it may live in any."""
    if request.dedupe_key is not None:
        return f"{request.task}:{request.dedupe_key}"
    return request.shard_key


def share_of(limit: int, shard: int, shards: int) -> int:
    """Return how many jobs may wait in a shard: an even share of the queue's limit, at least one."""
    return max(1, limit // shards + (shard < limit % shards))


def _parts(places: Sequence[int], requests: Requests, most: int) -> Iterator[Sequence[int]]:
    """Cut places into parts of at most ``most``, and fewer where arguments are long."""
    begin, characters = 0, 0
    for end, place in enumerate(places):
        length = len(requests[place].args)
        if end - begin >= most or (end > begin and characters + length > _MOST_CHARACTERS_A_CALL):
            yield places[begin:end]
            begin, characters = end, 0
        characters += length
    yield places[begin:]
