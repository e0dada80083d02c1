"""Walks over jobs, near ones first, in bounded pages: what every listing and every bulk repair is made of."""

import heapq
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field

from capelin.admin.access import Access, without_torn
from capelin.admin.lanes import Cursor, Lane, lanes_of
from capelin.admin.selecting import Selection, Sighting
from capelin.durations import milliseconds
from capelin.errors import TornKey
from capelin.ids import JobId
from capelin.lua.looking import Browsed, LaneRow, browse
from capelin.lua.replies import text
from capelin.priority import STREAMS, Priority
from capelin.records import JobError, JobStatus

_STATUSES = frozenset(status.value for status in JobStatus)
_MOST_A_CALL = 500
_MOST_A_LANE = 250
_LEAST_A_LANE = 4


@dataclass(slots=True)
class _Reading:
    """How far a lane has been read."""

    lane: Lane
    rows: deque[Browsed] = field(default_factory=deque[Browsed])
    chunk: int = _LEAST_A_LANE
    over: bool = False
    begin: LaneRow | None = None

    @property
    def dry(self) -> bool:
        return not self.rows and not self.over

    @property
    def low(self) -> bool:
        return not self.over and len(self.rows) < self.chunk // 4


class Walk:
    """One walk over lanes, from near to far.

    Args:
        access: Where.
        lanes: Which places.
        after: Where an earlier walk over such lanes stopped.
        errors: Whether to read what went wrong last in each job.
        about: For how many jobs it is likely to go.
        most: It ends when it has looked at so many entries; None for all.

    Attributes:
        seen: How many entries it has looked at.
        now: The moment from which distances count, ms.
        torn: What is wrong with places that cannot be read, by their keys.
    """

    def __init__(
        self,
        access: Access,
        lanes: Sequence[Lane],
        *,
        now: int,
        after: Cursor | None = None,
        errors: bool = False,
        about: int = 50,
        most: int | None = None,
    ) -> None:
        self._access, self._errors, self._most, self.now = access, errors, most, now
        begins = [lane.row() for lane in lanes] if after is None else after.begins(lanes)
        chunk = max(_LEAST_A_LANE, min(_MOST_A_LANE, 2 * about // max(1, len(lanes))))
        self._readings = [
            _Reading(lane, chunk=chunk, begin=begin) for lane, begin in zip(lanes, begins, strict=True)
        ]
        self._heap: list[tuple[float, tuple[str, int, str, bool], _Reading]] = []
        self._last: tuple[Lane, Browsed] | None = None
        self.seen = 0
        self.torn: dict[str, str] = {}

    async def run(self) -> AsyncGenerator[Sighting]:
        """Give the jobs one by one; what cannot be a job of the place in which it lies is left out.

        Raises:
            Unreachable, RedisRefused: Redis could not be asked.
        """
        await self._read([one for one in self._readings if one.dry])
        while self._heap and (self._most is None or self.seen < self._most):
            _, _, reading = heapq.heappop(self._heap)
            row = reading.rows.popleft()
            self._last = reading.lane, row
            self.seen += 1
            if reading.dry:
                await self._read([one for one in self._readings if one.low], but=reading)
            self._push(reading)
            if row.status is not None and row.status not in _STATUSES:
                torn = TornKey(key=reading.lane.shard.job(row.uid), why="holds no record of a job")
                self.torn[torn.key] = str(torn)
            if (found := sighted(reading.lane, row)) is not None:
                yield found

    @property
    def cursor(self) -> Cursor | None:
        """Where to go on; None when there is nothing more, or nothing was looked at."""
        if not self._heap or self._last is None:
            return None
        lane, row = self._last
        uid = "-" if lane.streams else row.uid  # an entry says by itself where it is
        job = JobId(queue=lane.shard.queue, shard=lane.shard.shard, uid=uid)
        return Cursor(self.now, lane.place, lane.up, row.at, job)

    def _push(self, reading: _Reading) -> None:
        if reading.rows:
            distance = reading.lane.distance(reading.rows[0].at)
            heapq.heappush(self._heap, (distance, reading.lane.key, reading))

    async def _read(self, readings: Sequence[_Reading], *, but: _Reading | None = None) -> None:
        """Read on in lanes; those that had run dry stand in the heap again, but for one."""
        batches = list(_batches(readings))
        calls = [
            browse(
                batch[0].lane.shard,
                count=max(one.chunk for one in batch),
                errors=self._errors,
                lanes=[one.begin or one.lane.row() for one in batch],
            )
            for batch in batches
        ]
        for batch, call, replies in zip(batches, calls, await self._access.ask(calls), strict=True):
            asked = int(call.args[0])
            for reading, reply in zip(batch, replies, strict=True):
                rows = without_torn(reply, self.torn) or []
                dry = not reading.rows
                reading.rows.extend(rows)
                reading.over = len(rows) < asked
                reading.chunk = min(_MOST_A_LANE, 2 * reading.chunk)
                if rows:
                    reading.begin = reading.lane.row_after(rows[-1].at, rows[-1].uid)
                if dry and reading is not but:
                    self._push(reading)


def _batches(readings: Sequence[_Reading]) -> list[list[_Reading]]:
    """Cut readings into calls: of one shard each, and of no more entries than a script may look at."""
    batches: list[list[_Reading]] = []
    for reading in readings:
        last = batches[-1] if batches else None
        if (
            last
            and last[0].lane.shard == reading.lane.shard
            and max(reading.chunk, *(one.chunk for one in last)) * (len(last) + 1) <= _MOST_A_CALL
        ):
            last.append(reading)
        else:
            batches.append([reading])
    return batches


async def start_walk(
    access: Access,
    wanted: Selection,
    *,
    after: Cursor | None = None,
    about: int = 50,
    most: int | None = None,
) -> Walk:
    """Begin a walk over the places in which such jobs are; what it gives has yet to be held against them.

    Raises:
        NotThere: There is no queue of that name.
        InvalidOption: The cursor is of another listing.
        Unreachable, RedisRefused: Redis could not be asked.
    """
    broken: dict[str, Exception] = {}
    torn: dict[str, str] = {}
    shards = await access.shards(wanted.queue, broken=broken)
    now = await access.clock() if after is None else after.now
    parked: Sequence[Sequence[str]] = [()] * len(shards)
    if not wanted.statuses or JobStatus.PARKED in wanted.statuses:
        fields = await access.each_command([("HKEYS", shard.meta) for shard in shards], torn)
        parked = [_parked_tasks(names or ()) for names in fields]
    lanes = lanes_of(
        shards,
        wanted.statuses,
        now=now,
        retention=milliseconds(access.settings.retention),
        parked=parked,
    )
    errors = wanted.error is not None
    walk = Walk(access, lanes, now=now, after=after, errors=errors, about=about, most=most)
    walk.torn |= torn | {name: str(error) for name, error in broken.items()}
    return walk


def _parked_tasks(fields: Sequence[bytes]) -> list[str]:
    names = sorted(text(name) for name in fields)
    return [name.removeprefix("parked:") for name in names if name.startswith("parked:")]


def sighted(lane: Lane, row: Browsed) -> Sighting | None:
    """Return the job of an entry; None if it is not in that place (any more)."""
    try:
        status = JobStatus(row.status or "")
    except ValueError:
        status = None
    if lane.place == "dlq":
        if status is not None and (status is not JobStatus.FAILED or row.place != f"dlq:{row.at}"):
            return None  # it was replayed, and has died again since
    elif status is None or not _is_there(lane, row, status):
        return None
    return Sighting(
        shard=lane.shard,
        uid=row.uid,
        place=lane.place,
        at=row.at,
        status=status,
        task=row.task or "?",
        since=_since(lane, row, status),
        parent=row.parent,
        reason=row.reason,
        error=None if row.error is None else JobError(type=row.error[0], message=row.error[1]),
    )


def _is_there(lane: Lane, row: Browsed, status: JobStatus) -> bool:
    sort, _, detail = lane.place.partition(":")
    match sort:
        case "stream" | "pending":
            if status is JobStatus.RUNNING:
                return row.place == f"{detail}:{row.at}"
            return (
                sort == "stream"
                and status is JobStatus.QUEUED
                and _stream_of(row) == STREAMS[int(detail) - 1]
            )
        case "scheduled":
            return status is JobStatus.SCHEDULED
        case "parked":
            return status is JobStatus.PARKED
        case _:
            return status in (JobStatus.COMPLETED, JobStatus.CANCELLED)


def _stream_of(row: Browsed) -> str:
    if row.place == "returned":
        return "returned"
    return row.priority if row.priority in STREAMS else Priority.NORMAL


def _since(lane: Lane, row: Browsed, status: JobStatus | None) -> int:
    enqueued, started, finished = row.moments
    if status is JobStatus.RUNNING:
        since = started
    else:
        since = enqueued if status is None or not status.ended else finished
    if since is None:
        return int(row.at.partition("-")[0]) if lane.streams else 0
    return since


async def matching(
    access: Access,
    wanted: Selection,
    *,
    until: int | None = None,
    batch: int = 200,
    torn: dict[str, str] | None = None,
) -> AsyncGenerator[list[Sighting]]:
    """Give all jobs that are meant, some at a time, so that something can be done to them.

    Args:
        access: Where.
        wanted: Which.
        until: Those are left out that got their status after this moment, ms; now if it is not given. So that
            a job to which something was done is not met again.
        batch: At most so many at a time.
        torn: Takes what is wrong with places that cannot be read, by their keys.

    Raises:
        NotThere: There is no queue of that name.
        Unreachable, RedisRefused: Redis could not be asked.
    """
    walk = await start_walk(access, wanted, about=batch * 10)
    last = walk.now if until is None else until
    found: list[Sighting] = []
    async for seen in walk.run():
        if seen.since <= last and wanted.has(seen, walk.now):
            found.append(seen)
        if len(found) == batch:
            yield found
            found = []
    if torn is not None:
        torn |= walk.torn
    if found:
        yield found


async def count_matching(
    access: Access, wanted: Selection, *, until: int | None = None, torn: dict[str, str] | None = None
) -> int:
    """Count the jobs that ``matching`` gives."""
    return sum([len(found) async for found in matching(access, wanted, until=until, torn=torn)])


async def until_none(
    access: Access,
    wanted: Selection,
    *,
    until: int | None = None,
    batch: int = 200,
    torn: dict[str, str] | None = None,
) -> AsyncGenerator[list[Sighting]]:
    """Give all jobs that are meant as ``matching`` does, and again until a walk meets none that is new.

    What is done to a job may bring another one to a place that the walk has passed: the end of a job lets its
    follower go.
    """
    met: set[str] = set()
    last = await access.clock() if until is None else until
    while True:
        new = 0
        async for found in matching(access, wanted, until=last, batch=batch, torn=torn):
            fresh = [seen for seen in found if seen.id not in met]
            met.update(seen.id for seen in fresh)
            new += len(fresh)
            if fresh:
                yield fresh
        if new == 0:
            return
