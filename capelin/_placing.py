"""Where jobs go: requests are dealt to shards, in batches of one script call each."""

import math
import random
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from capelin.ids import new_uid
from capelin.keys import shard_of
from capelin.lua import Layout
from capelin.requests import JobRequest

MOST_A_CALL = 500
_FEWEST_A_CALL = (
    10  # a call costs Redis as much as a few jobs do: a short list is not cut for the spread's sake
)
_FEWEST_IN_A_ROW = 50  # where list follows list, each next one goes elsewhere: the lists are the spread
_IN_A_ROW = 0.02
_MOST_CHARACTERS_A_CALL = 4 * 1024 * 1024
_NO_UIDS: Mapping[int, str] = {}

Requests = Sequence[JobRequest[Any]]


class Batch:
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

    def part(self, indexes: Iterable[int], route: tuple[int, ...], *, past: tuple[str, ...] = ()) -> "Batch":
        """Return some of its requests, on another route."""
        chosen = list(indexes)
        places, uids = [self.places[index] for index in chosen], [self.uids[index] for index in chosen]
        return Batch(self.queue, self.layout, route, places, uids, past=(*self.past, *past))


class Dealer:
    """Deals requests to shards.

    Args:
        layouts: Those that are known; every queue of a request must be among them.
        most_waiting: Jobs that may wait in a queue, or None for no limit.
    """

    def __init__(self, layouts: Mapping[str, Layout], *, most_waiting: int | None) -> None:
        self._layouts, self._most_waiting = layouts, most_waiting
        self._dealt: dict[str, float] = {}
        self._turn = random.randrange(1024)  # noqa: S311 -- so that many processes do not begin at one shard

    def next_shard(self, layout: Layout) -> int:
        """Return the shard whose turn it is to get jobs that may live in any."""
        self._turn += 1
        return self._turn % layout.shards

    def batch(self, request: JobRequest[Any]) -> Batch:
        """Return a batch of one request."""
        layout = self._layouts[request.queue]
        key = placing_key(request)
        if key is not None:
            return Batch(request.queue, layout, _route(request, key, layout), (0,), (new_uid(),))
        route = (self.next_shard(layout),)
        return Batch(request.queue, layout, route, (0,), (new_uid(),), choices=layout.shards)

    def batches(
        self, requests: Requests, places: Iterable[int] | None = None, uids: Mapping[int, str] = _NO_UIDS
    ) -> Iterator[Batch]:
        """Deal requests (all, or those at some places) to shards; ``uids`` of those that were sent before."""
        chosen = range(len(requests)) if places is None else places
        # They are dealt a round at a time, and by then a newer layout may be known.
        layouts = {queue: self._layouts[queue] for queue in {requests[place].queue for place in chosen}}
        return self._deal(requests, chosen, uids, layouts)

    def batches_of(self, queue: str, texts: Sequence[str], layout: Layout) -> Iterator[Batch]:
        """Deal requests with these arguments that may live in any shard of a queue."""
        for part in self._spread(layout, range(len(texts)), texts, in_a_row=self._in_a_row(queue)):
            yield Batch(queue, layout, (self.next_shard(layout),), part, _uids(part, _NO_UIDS))

    def _deal(
        self,
        requests: Requests,
        chosen: Iterable[int],
        uids: Mapping[int, str],
        layouts: Mapping[str, Layout],
    ) -> Iterator[Batch]:
        anywhere: dict[str, list[int]] = {}
        fixed: dict[tuple[str, tuple[int, ...]], list[int]] = {}
        for place in chosen:
            request = requests[place]
            key = placing_key(request)
            if key is None:
                anywhere.setdefault(request.queue, []).append(place)
            else:
                route = _route(request, key, layouts[request.queue])
                fixed.setdefault((request.queue, route), []).append(place)
        for (queue, route), of_route in fixed.items():
            for part in _parts(of_route, [requests[place].args for place in of_route], MOST_A_CALL):
                yield Batch(queue, layouts[queue], route, part, _uids(part, uids))
        for queue, of_queue in anywhere.items():
            layout = layouts[queue]
            texts = [requests[place].args for place in of_queue]
            in_a_row = not uids and self._in_a_row(queue)  # what is dealt anew is no new list
            for part in self._spread(layout, of_queue, texts, in_a_row=in_a_row):
                route = (self.next_shard(layout),)
                yield Batch(queue, layout, route, part, _uids(part, uids), choices=layout.shards)

    def _in_a_row(self, queue: str) -> bool:
        """Whether a list for a queue, to be dealt now, follows another."""
        now = time.monotonic()
        last, self._dealt[queue] = self._dealt.get(queue, -math.inf), now
        return now - last < _IN_A_ROW

    def _spread(
        self, layout: Layout, places: Sequence[int], texts: Sequence[str], *, in_a_row: bool
    ) -> Iterator[Sequence[int]]:
        """Part jobs that may live in any shard (their places and arguments), so that each gets some."""
        shards = layout.shards
        too_few = len(places) <= shards * _FEWEST_A_CALL  # to reach every shard
        fewest = _FEWEST_IN_A_ROW if in_a_row and too_few else _FEWEST_A_CALL
        most = min(MOST_A_CALL, max(fewest, -(-len(places) // shards)))
        if self._most_waiting is not None:
            most = min(most, share_of(self._most_waiting, shards - 1, shards))
        return _parts(places, texts, most)


def _uids(places: Sequence[int], known: Mapping[int, str]) -> list[str]:
    if not known:
        return [new_uid() for _ in places]
    return [known[place] for place in places]


def _route(request: JobRequest[Any], key: str, layout: Layout) -> tuple[int, ...]:
    """Return the shards that a request visits; older homes have no say where there is no dedupe key."""
    return (shard_of(key, layout.shards),) if request.dedupe_key is None else layout.route(key)


def placing_key(request: JobRequest[Any]) -> str | None:
    """Return the text that decides a job's shard; None when it may live in any."""
    if request.dedupe_key is not None:
        return f"{request.task}:{request.dedupe_key}"
    return request.shard_key


def share_of(limit: int, shard: int, shards: int) -> int:
    """Return how many jobs may wait in a shard: an even share of the queue's limit, at least one."""
    return max(1, limit // shards + (shard < limit % shards))


def _parts(places: Sequence[int], texts: Sequence[str], most: int) -> Iterator[Sequence[int]]:
    """Cut places into parts of at most ``most``, and fewer where arguments are long."""
    if max(map(len, texts), default=0) * most <= _MOST_CHARACTERS_A_CALL:
        for begin in range(0, len(places), most):
            yield places[begin : begin + most]
        return
    begin, characters = 0, 0
    for end, text in enumerate(texts):
        length = len(text)
        if end - begin >= most or (end > begin and characters + length > _MOST_CHARACTERS_A_CALL):
            yield places[begin:end]
            begin, characters = end, 0
        characters += length
    yield places[begin:]
