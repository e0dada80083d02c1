"""Enqueueing: requests become batches, one script call each, sent again until Redis has confirmed them.

Keeps guarantees 1, 6 and 7. A batch whose reply was lost goes again with the same uids to the same shard,
whose script recognises them; none is sent later than ``enqueue_timeout`` after the first time, which lies
within ``resend_window``, for which the script remembers.

In a queue that was cut anew a request with a key visits several shards: its homes under older layouts, which
are asked whether somebody holds the key, and its home. See ``docs/resharding.md``.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from capelin import lua
from capelin._durability import Durability, Lack
from capelin._patience import Patience
from capelin._placing import Batch, Dealer, Requests, share_of
from capelin._queues import Queues
from capelin._rows import Rows, origin
from capelin._sites import Cut, Prepared, Sites
from capelin._visiting import borrower_of
from capelin.connection import Confirmed, Connection, Copies, Stencil, Wish
from capelin.durations import milliseconds
from capelin.errors import RedisRefused, Unreachable
from capelin.keys import Keys
from capelin.lua import Call, Layout, Submitted, read_enqueued
from capelin.requests import MOST_BYTES, JobRequest, check_request_size
from capelin.settings import Settings

_CALLS_A_ROUND = 32  # so that a million requests neither fill the memory nor keep others off the line


class Placed(NamedTuple):
    """Where a request's job is. ``uid`` is another job's when that one stands for it."""

    shard: int
    uid: str
    verdict: Submitted
    lack: Lack | None = None


Results = list[Placed | Exception]


class Full(RedisRefused):
    """Every shard that may take the batch holds its share of ``max_queue_length``."""


class _Alike(NamedTuple):
    """Requests that differ in their arguments alone: what is prepared for them, and the arguments."""

    prepared: Prepared
    texts: list[str]


class _Errand(NamedTuple):
    """Requests that are enqueued together.

    Attributes:
        requests: They.
        results: What has become of them.
        common: Fields of all of them.
        wish: The copies to be waited for, if any.
        alike: What they have in common, when that is all but their arguments.
    """

    requests: Requests
    results: Results
    common: Mapping[str, str]
    wish: Wish | None = None
    alike: _Alike | None = None


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
        dealer: Deals requests to shards.
        sites: What is kept where requests are made.
        demands: Whether every request needs more than a shard: room in its queue, copies, or encryption.
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
        self._durability = Durability(settings)
        self._queues, self.layouts, self._rows = queues, queues.known, rows
        self._most_waiting = settings.max_queue_length
        self.dealer = Dealer(queues.known, most_waiting=self._most_waiting)
        self.sites = Sites(queues.known, self._stencil)
        self.demands = self._most_waiting is not None or self._durability.always or self._rows.seals
        self._max_payload_bytes = settings.max_payload_bytes
        self._timeout = settings.enqueue_timeout
        self._resend_window = milliseconds(settings.resend_window)

    async def send(self, requests: Requests) -> Results:
        """Enqueue requests.

        Returns:
            For each request, in order, where its job is, or why there is none (or none that was confirmed).

        Raises:
            PayloadTooLarge: A request's arguments are too large; nothing was sent.
            UnsupportedSchema: A queue was written by a newer major version; nothing was sent.
        """
        patience = Patience(self._timeout)
        self._queues.forget_unsettled()
        results: Results = [_NOT_YET] * len(requests)
        common = origin()
        alike = self._alike(requests) if len(requests) > 1 and not common else None
        if alike is None:
            for request in requests:
                check_request_size(request, self._max_payload_bytes)
            try:
                if unknown := [request.queue for request in requests if request.queue not in self.layouts]:
                    await self._open(unknown, patience)
            except (Unreachable, RedisRefused) as error:
                return [error] * len(requests)
            errand = _Errand(requests, results, common, self._durability.wish(requests))
        else:
            errand = _Errand(requests, results, common, alike=alike)
        batches = self._dealt(errand)
        while batch_round := list(islice(batches, _CALLS_A_ROUND)):
            gave_up = await self._send_round(batch_round, errand, patience)
            if gave_up is not None:
                return [gave_up if result is _NOT_YET else result for result in results]
            patience.renew()
        return results

    def _alike(self, requests: Requests) -> _Alike | None:
        """Return what requests have in common, if that is all but their arguments, and these are not long."""
        first = requests[0]
        prepared = None if self.demands else self.sites.prepared(first, many=True)
        if prepared is None:
            return None
        site, longest = first.site, self._max_payload_bytes // MOST_BYTES
        texts = [request.args for request in requests if request.site is site]
        return (
            _Alike(prepared, texts)
            if len(texts) == len(requests) and len(max(texts, key=len)) <= longest
            else None
        )

    def _dealt(self, errand: _Errand) -> Iterator[Batch]:
        requests, alike = errand.requests, errand.alike
        if alike is not None:
            return self.dealer.batches_of(requests[0].queue, alike.texts, alike.prepared.layout)
        if len(requests) == 1:
            return iter((self.dealer.batch(requests[0]),))
        return self.dealer.batches(requests)

    def _stencil(self, request: JobRequest[Any], layout: Layout, shard: int) -> Cut:
        """Return the call that enqueues such requests in a shard, but for uids and arguments."""

        def call(uid: str, args: str) -> Call[Any]:
            batch = Batch(request.queue, layout, (shard,), (0,), (uid,))
            return self._call(batch, _Errand((request.with_args(args),), [], {}))

        return Stencil(call, read_enqueued)

    async def go_on(
        self, request: JobRequest[Any], layout: Layout, shard: int, uid: str
    ) -> Placed | Exception:
        """Go on with a request that was sent to a shard as this job, and is not there for sure."""
        results: Results = [_NOT_YET]
        batch = Batch(request.queue, layout, (shard,), (0,), (uid,))
        errand = _Errand((request,), results, origin())
        gave_up = await self._send_round([batch], errand, Patience(self._timeout))
        return gave_up or results[0]

    async def _open(self, queues: list[str], patience: Patience) -> None:
        while not self.layouts.keys() >= set(queues):
            try:
                await self._queues.open(queues)
            except Unreachable:
                if not await patience.pause():
                    raise

    async def _send_round(
        self, batches: list[Batch], errand: _Errand, patience: Patience
    ) -> Unreachable | None:
        """Send batches until each is confirmed or refused; return why if the time is over before."""
        while batches:
            calls = (self._call(batch, errand) for batch in batches)
            if errand.wish is None:
                replies = await self._connection.run_in_turn(calls)
            else:
                replies = await self._confirming.run_confirmed(list(calls), errand.wish)
            again: list[Batch] = []
            moved: list[Batch] = []
            for batch, answer in zip(batches, replies, strict=True):
                again += self._read(batch, answer, errand, moved)
            if moved:
                again += await self._place_anew(moved, errand, patience)
            batches = again
            lost = next((reply for reply in replies if isinstance(reply, Unreachable)), None)
            if lost is not None and not await patience.pause():
                return lost
        return None

    def _read(self, batch: Batch, answer: Any, errand: _Errand, moved: list[Batch]) -> Iterable[Batch]:
        """Note what became of a batch; return what is to be sent, again or on."""
        reply, copies = answer if isinstance(answer, Confirmed) else (answer, None)
        if reply is Submitted.NEW:
            shard, results = batch.route[0], errand.results
            for place, uid in zip(batch.places, batch.uids, strict=True):
                results[place] = Placed(shard, uid, reply)
        elif isinstance(reply, Unreachable):
            return (batch,)
        elif reply is None:
            if self._move_on(batch):
                return (batch,)
            self._fail(batch, self._full(batch), errand.results)
        elif isinstance(reply, Exception):
            self._fail(batch, reply, errand.results)
        else:
            return self._heed(batch, reply, copies, errand, moved)
        return ()

    def _heed(
        self,
        batch: Batch,
        reply: Sequence[tuple[Submitted, str]],
        copies: Copies | None,
        errand: _Errand,
        moved: list[Batch],
    ) -> Iterator[Batch]:
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
                lack = None if copies is None else self._durability.lack(errand.requests[place], copies)
                errand.results[place] = Placed(batch.route[0], detail, verdict, lack)
        if onward:
            yield batch.part(onward, batch.route[1:])
        if refused:
            moved.append(batch.part(refused, batch.route))

    async def _place_anew(
        self, moved: Sequence[Batch], errand: _Errand, patience: Patience
    ) -> Iterable[Batch]:
        """Place requests by a newer layout. Where they were sent nothing of them was written, or will be."""
        try:
            await self._open([batch.queue for batch in moved], patience)
        except (Unreachable, RedisRefused) as error:
            for batch in moved:
                self._fail(batch, error, errand.results)
            return ()
        places = [place for batch in moved for place in batch.places]
        uids = dict(zip(places, (uid for batch in moved for uid in batch.uids), strict=True))
        return list(self.dealer.batches(errand.requests, places, uids))

    def _call(self, batch: Batch, errand: _Errand) -> Call[Any]:
        alike = errand.alike
        if alike is not None and batch.layout is alike.prepared.layout:
            cut = self.sites.cut(alike.prepared, errand.requests[0], batch.route[0])
            return cut.fill_rows(batch.uids, [alike.texts[place] for place in batch.places])
        requests, common, most = errand.requests, errand.common, self._most_waiting
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
            touch=errand.wish is not None,
            jobs=[
                row(requests[place], uid, common) for place, uid in zip(batch.places, batch.uids, strict=True)
            ],
        )

    def _move_on(self, batch: Batch) -> bool:
        """Let a batch that its shard has no room for try the next one; False when there is none."""
        batch.choices -= 1
        batch.route = ((batch.route[0] + 1) % batch.layout.shards,)
        return batch.choices > 0

    def _full(self, batch: Batch) -> Full:
        return Full(
            message=f"queue {batch.queue!r} is full: max_queue_length={self._most_waiting}", script="enqueue"
        )

    def _fail(self, batch: Batch, error: Exception, results: Results) -> None:
        for place in batch.places:
            results[place] = error


_NOT_YET = Exception()
