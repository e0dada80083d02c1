"""Lanes: the places in which jobs are, each read in its own order, and one order over all of them.

No index holds all jobs. Each place has an order of its own, though, and by that a distance from the present:
how long ago an entry was made, in how long a job is due. Going on by that distance, lane by lane where it is
the same, is an order over all jobs that needs no index, and one job's place in it says where to read on in
every lane: that is a cursor.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from capelin.errors import InvalidOption
from capelin.ids import JobId
from capelin.keys import ShardKeys
from capelin.lua.looking import LaneRow
from capelin.priority import STREAMS
from capelin.records import JobStatus

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_LAST = 2**64 - 1
_INDEXES = range(1, len(STREAMS) + 1)
_LIVE = frozenset({JobStatus.QUEUED, JobStatus.RUNNING})
_ENDED_WELL = frozenset({JobStatus.COMPLETED, JobStatus.CANCELLED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """One place of one shard, read in one direction.

    Attributes:
        place: As ``browse`` calls it.
        up: Whether entries are read from low to high.
        zero: The moment, or score, from which distances count, ms.
        pivoted: What lies on the other side of ``zero`` belongs to another lane.
    """

    shard: ShardKeys
    place: str
    up: bool
    zero: float
    pivoted: bool = False

    @property
    def key(self) -> tuple[str, int, str, bool]:
        """What it is called, and its rank among lanes at the same distance."""
        return self.shard.queue, self.shard.shard, self.place, self.up

    @property
    def streams(self) -> bool:
        """Whether its entries have ids, as those of streams have, and not scores."""
        return not (self.place in ("scheduled", "finished") or self.place.startswith("parked:"))

    def distance(self, at: str) -> float:
        """Return how far an entry is away; never less than that of one that is read before it."""
        value = float(at.partition("-")[0] if self.streams else at)
        return max(0.0, value - self.zero if self.up else self.zero - value)

    def row(self, begin: str = "", beyond: str = "") -> LaneRow:
        """Return what ``browse`` is to read; from the beginning, if nothing is said."""
        return LaneRow(
            self.place, "up" if self.up else "down", begin or self._begin(0.0, included=True), beyond
        )

    def row_at(self, distance: float, *, included: bool) -> LaneRow:
        """Return what to read of what is so far away, or only what is farther."""
        return self.row(self._begin(distance, included=included))

    def row_after(self, at: str, uid: str) -> LaneRow:
        """Return what to read after an entry."""
        return self.row(f"({at}") if self.streams else self.row(at, uid)

    def _begin(self, distance: float, *, included: bool) -> str:
        if distance == 0 and included and not self.pivoted:
            return ""
        value = self.zero + (distance if self.up else -distance)
        if math.isinf(value):
            return "(+inf" if not included else "+inf"
        text = f"{value:.0f}"
        if self.pivoted and self.up and distance == 0:
            included = False  # the very pivot is the other lane's
        if included:
            return text
        if self.streams:
            return f"({text}-{_LAST if self.up else 0}"
        return f"({text}"


class Cursor(NamedTuple):
    """Where a listing stopped, and is to go on.

    Attributes:
        now: The moment, ms, from which it counts distances.
        place, up: The lane of the last entry.
        at: That entry.
        job: Its job.
    """

    now: int
    place: str
    up: bool
    at: str
    job: JobId

    def __str__(self) -> str:
        moment, _, number = self.at.partition("-")
        at = moment if "inf" in moment else _to36(int(float(moment)))
        stop = f"{at}-{_to36(int(number))}" if number else at
        place = _short(self.place) + ("+" if self.up else "")
        return f"{_to36(self.now)}:{place}:{stop}:{self.job}"

    @classmethod
    def read(cls, text: str) -> "Cursor":
        """Read what ``str`` wrote.

        Raises:
            InvalidOption: It is none.
        """
        try:
            now, place, stop, job = text.strip().split(":")
            moment, _, number = stop.partition("-")
            at = moment if "inf" in moment else str(int(moment, 36))
            at = f"{at}-{int(number, 36)}" if number else at
            found = cls(int(now, 36), _long(place.rstrip("+")), place.endswith("+"), at, JobId.parse(job))
        except (ValueError, KeyError):
            why = "it is what a listing said to go on with"
            raise InvalidOption(option="--after", value=text, why=why) from None
        return found

    def begins(self, lanes: Iterable[Lane]) -> list[LaneRow]:
        """Return where to read on in each lane.

        Raises:
            InvalidOption: The listing that it is of read other places.
        """
        lanes = list(lanes)
        queue, shard = self.job.queue, self.job.shard
        own = (queue, shard, self.place, self.up)
        kin = [lane for lane in lanes if _sort(lane.place) == _sort(self.place) and lane.up == self.up]
        if not kin and _sort(self.place) != "parked":  # none may be parked any more
            why = "it is of another listing: give the filters that it had, too"
            raise InvalidOption(option="--after", value=str(self), why=why)
        distance = kin[0].distance(self.at) if kin else max(0.0, self.now - float(self.at))
        return [
            lane.row_after(self.at, self.job.uid)
            if lane.key == own
            else lane.row_at(distance, included=lane.key > own)
            for lane in lanes
        ]


def lanes_of(
    shards: Sequence[ShardKeys],
    statuses: frozenset[JobStatus],
    *,
    now: int,
    retention: int,
    parked: Sequence[Sequence[str]] = (),
) -> list[Lane]:
    """Return the lanes in which jobs of these statuses are.

    Args:
        shards: In which shards.
        statuses: Any when it is empty.
        now: The moment from which distances count, ms.
        retention: For how long what has ended is kept, ms, unless a task says otherwise.
        parked: The tasks that each of the shards has jobs parked of.
    """
    wanted = statuses or frozenset(JobStatus)
    lanes: list[Lane] = []
    for shard, tasks in zip(shards, parked or [()] * len(shards), strict=True):
        lanes += [Lane(shard=shard, place=place, up=True, zero=0) for place in _pending(wanted)]
        lanes += [
            Lane(shard=shard, place=place, up=False, zero=now) for place in _newest_first(wanted, tasks)
        ]
        if JobStatus.SCHEDULED in wanted:
            lanes.append(Lane(shard=shard, place="scheduled", up=True, zero=now))
        if wanted & _ENDED_WELL:
            # What is kept for longer than usual would stand before all that ended a moment ago.
            lanes += [
                Lane(shard=shard, place="finished", up=up, zero=now + retention, pivoted=True)
                for up in (False, True)
            ]
    return lanes


def _pending(wanted: frozenset[JobStatus]) -> list[str]:
    only_running = wanted == frozenset({JobStatus.RUNNING})
    return [f"pending:{index}" for index in _INDEXES] if only_running else []


def _newest_first(wanted: frozenset[JobStatus], parked: Sequence[str]) -> list[str]:
    places: list[str] = []
    if not _pending(wanted) and wanted & _LIVE:
        places += [f"stream:{index}" for index in _INDEXES]
    if JobStatus.PARKED in wanted:
        places += [f"parked:{task}" for task in parked]
    if JobStatus.FAILED in wanted:
        places.append("dlq")
    return places


def oldest_first(shards: Sequence[ShardKeys]) -> list[Lane]:
    """Return the lanes of the DLQs, from the death that is longest ago."""
    return [Lane(shard=shard, place="dlq", up=True, zero=0) for shard in shards]


_SHORT = {"scheduled": "s", "finished": "f", "dlq": "d", "stream": "q", "pending": "r", "parked": "p"}
_LONG = {short: long for long, short in _SHORT.items()}


def _sort(place: str) -> str:
    return place.partition(":")[0]


def _short(place: str) -> str:
    sort, _, detail = place.partition(":")
    return _SHORT[sort] + detail


def _long(text: str) -> str:
    sort, detail = _LONG[text[:1]], text[1:]
    return f"{sort}:{detail}" if detail else sort


def _to36(number: int) -> str:
    text = ""
    while number:
        number, digit = divmod(number, 36)
        text = _DIGITS[digit] + text
    return text or "0"
