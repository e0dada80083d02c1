"""Enqueueing: requests become batches, one script call each, sent again until Redis has confirmed them.

Keeps guarantees 1, 6 and 7. A batch whose reply was lost goes again with the same uids to the same shard,
whose script recognises them; none is sent later than ``enqueue_timeout`` after the first time, which lies
within ``resend_window``, for which the script remembers.

In a queue that was cut anew a request with a key visits several shards: its homes under older layouts, which
are asked whether somebody holds the key, and its home. See ``docs/resharding.md``.
"""

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from capelin import lua
from capelin._patience import Patience
from capelin._queues import Queues
from capelin._rows import Rows, origin
from capelin._visiting import borrower_of
from capelin.connection import Confirmed, Connection, Copies, Stencil, Wish
from capelin.durations import milliseconds
from capelin.errors import RedisRefused, Unreachable
from capelin.ids import new_uid
from capelin.keys import Keys
from capelin.lua import Call, Layout, Submitted
from capelin.requests import JobRequest, check_request_size
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
Cut = Stencil[list[tuple[Submitted, str]] | None]
_NO_UIDS: Mapping[int, str] = {}


class Full(RedisRefused):
    """Every shard that may take the batch holds its share of ``max_queue_length``."""


class _Batch:
    """Requests that go to one shard in one call.

    Attributes:
        layout: By which they were placed. It stays: a shard that has heard of a newer one must refuse them.
        route: The shards that they are still to visit; all but the last are asked only.
        places: Which of the requests.
        uids: The jobs' uids; they stay the same however often and wherever a request is sent.
        choices: In how many shards, from this one on, they may be placed.
        past: Loans of their key that were found over.
    """

    __slots__ = ("choices", "layout", "past", "places", "queue", "route", "uids")

    def __init__(
        self,
        queue: str,
        layout: Layout,
        route: tuple[int, ...],
        places: Sequence[int],
        uids: Sequence[str],
        *,
        choices: int = 1,
        past: tuple[str, ...] = (),
    ) -> None:
        self.queue, self.layout, self.route, self.places, self.uids = queue, layout, route, places, uids
        self.choices, self.past = choices, past

    def part(self, indexes: Iterable[int], route: tuple[int, ...], *, past: tuple[str, ...] = ()) -> "_Batch":
        """Return some of its requests, on another route."""
        chosen = list(indexes)
        places, uids = [self.places[index] for index in chosen], [self.uids[index] for index in chosen]
        return _Batch(self.queue, self.layout, route, places, uids, past=(*self.past, *past))


class _Known(NamedTuple):
    """What is known of requests: them, what has become of them, and which are to be placed anew."""

    requests: Requests
    results: Results
    moved: list[_Batch]


class Sender:
    """Enqueues for one client.

    Args:
        connection: Where.
        confirming: The same place, for enqueues that wait for replicas: nothing else waits behind them there.
        keys: The namespace.
        settings: Limits and times.
        queues: Layouts.
        rows: Makes the rows.

    Attributes:
        layouts: Those that are known.
        turn: Goes up with every shard that jobs are dealt to.
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
        self._queues, self.layouts, self._rows = queues, queues.known, rows
        self._most_waiting = settings.max_queue_length
        self._max_payload_bytes = settings.max_payload_bytes
        self._timeout = settings.enqueue_timeout
        self._resend_window = milliseconds(settings.resend_window)
        self.turn = random.randrange(1024)  # noqa: S311 -- so that many processes do not begin at one shard

    async def send(self, requests: Requests) -> Results:
        """Enqueue requests.

        Returns:
            For each request, in order, where its job is, or why there is none (or none that was confirmed).

        Raises:
            PayloadTooLarge: A request's arguments are too large; nothing was sent.
            UnsupportedSchema: A queue was written by a newer major version; nothing was sent.
        """
        for request in requests:
            check_request_size(request, self._max_payload_bytes)
        patience = Patience(self._timeout)
        self._queues.forget_unsettled()
        try:
            if unknown := [request.queue for request in requests if request.queue not in self.layouts]:
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

    @property
    def demands(self) -> bool:
        """Whether every request needs more than a shard: room in its queue, copies, or encryption."""
        return self._most_waiting is not None or self._min_replicas > 0 or self._fsync or self._rows.seals

    def stencil(self, request: JobRequest[Any], layout: Layout, shard: int) -> Cut:
        """Return the call that enqueues such a request in a shard, but for uid and arguments."""

        def call(uid: str, args: str) -> Call[Any]:
            batch = _Batch(request.queue, layout, (shard,), (0,), (uid,))
            return self._call(batch, (request.with_args(args),), {}, touch=False)

        return Stencil(call)

    async def go_on(
        self, request: JobRequest[Any], layout: Layout, shard: int, uid: str
    ) -> Placed | Exception:
        """Go on with a request that was sent to a shard as this job, and is not there for sure."""
        results: Results = [_NOT_YET]
        batch = _Batch(request.queue, layout, (shard,), (0,), (uid,))
        gave_up = await self._send_round(
            [batch], (request,), origin(), results, patience=Patience(self._timeout), wish=None
        )
        return gave_up or results[0]

    async def _open(self, queues: set[str], patience: Patience) -> None:
        while not self.layouts.keys() >= queues:
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
            calls = (self._call(batch, requests, common, touch=wish is not None) for batch in batches)
            if wish is None:
                replies = await self._connection.run_in_turn(calls)
            else:
                replies = await self._confirming.run_confirmed(list(calls), wish)
            again: list[_Batch] = []
            moved: list[_Batch] = []
            known = _Known(requests, results, moved)
            for batch, answer in zip(batches, replies, strict=True):
                again += self._read(batch, answer, known)
            if moved:
                again += await self._place_anew(known, patience)
            batches = again
            lost = next((reply for reply in replies if isinstance(reply, Unreachable)), None)
            if lost is not None and not await patience.pause():
                return lost
        return None

    def _read(self, batch: _Batch, answer: Any, known: _Known) -> Iterable[_Batch]:
        """Note what became of a batch; return what is to be sent, again or on."""
        reply, copies = answer if isinstance(answer, Confirmed) else (answer, None)
        if isinstance(reply, Unreachable):
            return (batch,)
        if reply is None:
            if self._move_on(batch):
                return (batch,)
            self._fail(batch, self._full(batch), known.results)
        elif isinstance(reply, Exception):
            self._fail(batch, reply, known.results)
        else:
            return self._heed(batch, reply, copies, known)
        return ()

    def _heed(
        self,
        batch: _Batch,
        reply: Sequence[tuple[Submitted, str]],
        copies: Copies | None,
        known: _Known,
    ) -> Iterator[_Batch]:
        """Note what became of a batch's requests; yield those that are to be sent on."""
        onward: list[int] = []
        refused: list[int] = []
        for index, (verdict, detail) in enumerate(reply):
            if verdict is Submitted.FREE:
                onward.append(index)
            elif verdict is Submitted.MOVED:
                refused.append(index)
                self._queues.moved(batch.queue, int(detail))
            elif verdict is Submitted.AWAY:
                # Who has the key lives elsewhere: ask there, then here again.
                there = borrower_of(detail).shard
                yield batch.part([index], (there, *batch.route), past=(detail,))
            else:
                place = batch.places[index]
                lack = None if copies is None else self._lack(known.requests[place], copies)
                known.results[place] = Placed(batch.route[0], detail, verdict, lack)
        if onward:
            yield batch.part(onward, batch.route[1:])
        if refused:
            known.moved.append(batch.part(refused, batch.route))

    async def _place_anew(self, known: _Known, patience: Patience) -> Iterable[_Batch]:
        """Place requests by a newer layout. Where they were sent nothing of them was written, or will be."""
        try:
            await self._open({batch.queue for batch in known.moved}, patience)
        except (Unreachable, RedisRefused) as error:
            for batch in known.moved:
                self._fail(batch, error, known.results)
            return ()
        places = [place for batch in known.moved for place in batch.places]
        uids = dict(zip(places, (uid for batch in known.moved for uid in batch.uids), strict=True))
        return list(self._batches(known.requests, places, uids))

    def _call(
        self, batch: _Batch, requests: Requests, common: Mapping[str, str], *, touch: bool
    ) -> Call[Any]:
        most = self._most_waiting
        shard = self._keys.shard(batch.queue, batch.route[0])
        row = self._rows.row
        if batch.past:
            common = {**common, "past": " ".join(batch.past)}
        return lua.enqueue(
            shard,
            most=None if most is None else share_of(most, batch.route[0], batch.layout.shards),
            resend_window=self._resend_window,
            layout=batch.layout.version,
            question=len(batch.route) > 1,
            touch=touch,
            jobs=[
                row(requests[place], uid, common) for place, uid in zip(batch.places, batch.uids, strict=True)
            ],
        )

    def _move_on(self, batch: _Batch) -> bool:
        """Let a batch that its shard has no room for try the next one; False when there is none."""
        batch.choices -= 1
        batch.route = ((batch.route[0] + 1) % batch.layout.shards,)
        return batch.choices > 0

    def _full(self, batch: _Batch) -> Full:
        return Full(
            message=f"queue {batch.queue!r} is full: max_queue_length={self._most_waiting}", script="enqueue"
        )

    def _fail(self, batch: _Batch, error: Exception, results: Results) -> None:
        for place in batch.places:
            results[place] = error

    def _batch(self, request: JobRequest[Any]) -> _Batch:
        layout = self.layouts[request.queue]
        key = placing_key(request)
        if key is not None:
            return _Batch(request.queue, layout, layout.route(key), (0,), (new_uid(),))
        self.turn += 1
        route = (self.turn % layout.shards,)
        return _Batch(request.queue, layout, route, (0,), (new_uid(),), choices=layout.shards)

    def _batches(
        self, requests: Requests, places: Iterable[int] | None = None, uids: Mapping[int, str] = _NO_UIDS
    ) -> Iterator[_Batch]:
        """Deal requests (all, or those at some places) to shards; ``uids`` of those that were sent before."""
        chosen = range(len(requests)) if places is None else places
        # They are dealt a round at a time, and by then a newer layout may be known.
        layouts = {queue: self.layouts[queue] for queue in {requests[place].queue for place in chosen}}
        return self._deal(requests, chosen, uids, layouts)

    def _deal(
        self,
        requests: Requests,
        chosen: Iterable[int],
        uids: Mapping[int, str],
        layouts: Mapping[str, Layout],
    ) -> Iterator[_Batch]:
        anywhere: dict[str, list[int]] = {}
        fixed: dict[tuple[str, tuple[int, ...]], list[int]] = {}
        for place in chosen:
            request = requests[place]
            key = placing_key(request)
            if key is None:
                anywhere.setdefault(request.queue, []).append(place)
            else:
                fixed.setdefault((request.queue, layouts[request.queue].route(key)), []).append(place)
        for (queue, route), of_route in fixed.items():
            for part in _parts(of_route, requests, MOST_A_CALL):
                yield _Batch(queue, layouts[queue], route, part, _uids(part, uids))
        for queue, of_queue in anywhere.items():
            layout = layouts[queue]
            for part in self._spread(layout, of_queue, requests):
                self.turn += 1
                route = (self.turn % layout.shards,)
                yield _Batch(queue, layout, route, part, _uids(part, uids), choices=layout.shards)

    def _spread(self, layout: Layout, places: list[int], requests: Requests) -> Iterator[Sequence[int]]:
        """Part jobs that may live in any shard, so that each shard gets some."""
        shards = layout.shards
        most = min(MOST_A_CALL, max(_FEWEST_A_CALL, -(-len(places) // shards)))
        if self._most_waiting is not None:
            most = min(most, share_of(self._most_waiting, shards - 1, shards))
        return _parts(places, requests, most)


_NOT_YET = Exception()


def _uids(places: Sequence[int], known: Mapping[int, str]) -> list[str]:
    if not known:
        return [new_uid() for _ in places]
    return [known[place] for place in places]


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
