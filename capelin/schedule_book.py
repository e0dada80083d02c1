"""Schedules for people and programs: how each stands, and what can be done with it at run time.

Apps (``app.schedules``) and the admin CLI use the same book. It needs no app's code: the whole schedule is in
Redis.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

from capelin._queues import Queues
from capelin._rows import Rows
from capelin._sending import Sender
from capelin.connection import Connection
from capelin.errors import RedisRefused, ScheduleExists
from capelin.ids import JobId
from capelin.keys import Keys
from capelin.lua import Submitted
from capelin.lua.replies import text, whole
from capelin.records import opened, read_arguments
from capelin.sealing import NO_SEAL, Seal
from capelin.settings import Settings
from capelin.timetable import Entry, Timetable
from capelin.timing import Cron

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ScheduleStatus(StrEnum):
    """Whether the ticks of a schedule are fired."""

    ACTIVE = "active"
    """They are."""
    PAUSED = "paused"
    """Somebody paused it."""
    RETIRED = "retired"
    """It has left its app's code."""
    OVER = "over"
    """It has no tick any more: its end is past."""
    UNREADABLE = "unreadable"
    """A newer release wrote it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleInfo:
    """How a schedule stands. Moments are by Redis's clock, in UTC.

    Attributes:
        name: Its name.
        app: The app that owns it.
        source: ``code`` for one that code declares, ``api`` for one that was added at run time.
        status: Whether its ticks are fired.
        when: Its timing, as it was written.
        meaning: The same in words.
        timezone: The zone whose clocks it follows; None for one that ticks every so often.
        task: The task that it runs.
        queue: The queue that its jobs go to.
        args, kwargs: The arguments of each run, plain JSON.
        encrypted: They are encrypted, and could not be decrypted here.
        catch_up: What happens to missed ticks: ``latest``, ``all``, ``none``.
        overlap: What happens while a run has not ended: ``allow``, ``skip``, ``queue``.
        skip_if_older_than: Seconds after which a tick is stale, or None.
        jitter: Seconds by which runs are spread.
        start, end: No ticks before and after.
        next: The next tick, which is past for a moment when it is due; None when there is none.
        last_tick: The newest tick that was fired.
        last_job: The id of its job.
        last_outcome: What became of the newest tick: ``fired``, or why it was skipped: ``stale``, ``missed``,
            ``overlap``.
        decided: When that was decided.
        fired: How many ticks were fired.
        skipped: How many were skipped, by reason.
        last_run: When a run completed last.
        run_by: The moment by which the next run must have completed; None when none must.
        healthy: Whether it has not passed: a run completed within twice the interval.
        since: Since when the schedule is as it is, or goes on after a pause.
        paused: Since when it is paused, or None.
        retired: When it left its app's code, or None.
    """

    name: str
    app: str
    source: str
    status: ScheduleStatus
    when: str = ""
    meaning: str = ""
    timezone: str | None = None
    task: str = ""
    queue: str = ""
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    encrypted: bool = False
    catch_up: str = ""
    overlap: str = ""
    skip_if_older_than: float | None = None
    jitter: float = 0.0
    start: datetime | None = None
    end: datetime | None = None
    next: datetime | None = None
    last_tick: datetime | None = None
    last_job: str | None = None
    last_outcome: str | None = None
    decided: datetime | None = None
    fired: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict[str, int])
    last_run: datetime | None = None
    run_by: datetime | None = None
    healthy: bool = True
    since: datetime | None = None
    paused: datetime | None = None
    retired: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderInfo:
    """Who leads the scheduler.

    Attributes:
        worker: The leader's worker id; None when nobody's lease holds.
        lease_seconds: For how long the lease still holds.
        epoch: Of the lease: it grows with every leader.
    """

    worker: str | None
    lease_seconds: float | None
    epoch: int


class Triggered(NamedTuple):
    """What ``trigger`` did: the job's id, and whether that job was there before."""

    job_id: str
    duplicate: bool


class ScheduleBook:
    """The schedules of one namespace.

    Args:
        connection: Where.
        keys: The namespace.
        settings: Limits and times.
    """

    def __init__(self, connection: Connection, keys: Keys, settings: Settings) -> None:
        self._connection, self._keys, self._settings = connection, keys, settings
        self.seal, self.max_payload_bytes = settings.seal, settings.max_payload_bytes
        self.timetable = Timetable(connection, keys)

    async def ls(self) -> list[ScheduleInfo]:
        """Return how every schedule stands, in the order of their names.

        Raises:
            Unreachable, RedisRefused: They could not be read.
        """
        _, entries = await self.timetable.read()
        now = await self.now()
        return [info_of(entry, now, self.seal) for entry in entries.values()]

    async def info(self, name: str) -> ScheduleInfo:
        """Return how one schedule stands.

        Raises:
            ScheduleNotFound: There is none of that name.
            Unreachable, RedisRefused: It could not be read.
        """
        return info_of(await self.timetable.get(name), await self.now(), self.seal)

    async def next(self, name: str, count: int = 5) -> list[datetime]:
        """Return the next ticks of a schedule, also of one that is paused.

        Raises:
            ScheduleNotFound: There is none of that name.
            Unreachable, RedisRefused: It could not be read.
        """
        entry = await self.timetable.get(name)
        if entry.schedule is None:
            return []
        schedule, ticks = entry.schedule, list[datetime]()
        after = max(await self.now(), (schedule.start or 1) - 1)
        while len(ticks) < count:
            tick = schedule.timing.after(after)
            if tick is None or (schedule.end is not None and tick > schedule.end):
                break
            ticks.append(_at(tick))
            after = tick
        return ticks

    async def pause(self, name: str) -> bool:
        """Pause a schedule: none of its ticks is fired, also after a deploy, until somebody resumes it.

        Returns:
            Whether it was not paused before.

        Raises:
            ScheduleNotFound: There is none of that name.
            Unreachable, RedisRefused: It may or may not have been paused.
        """
        return await self.timetable.pause(name)

    async def resume(self, name: str) -> bool:
        """Let a schedule go on; ticks of the pause are not caught up.

        Returns:
            Whether it was paused.

        Raises:
            ScheduleNotFound: There is none of that name.
            Unreachable, RedisRefused: It may or may not go on.
        """
        return await self.timetable.resume(name)

    async def remove(self, name: str) -> None:
        """Remove a schedule that was added at run time, or one that has left its app's code.

        Raises:
            ScheduleNotFound: There is none of that name.
            ScheduleExists: Code declares it: it would come back.
            Unreachable, RedisRefused: It may or may not have been removed.
        """
        await self.timetable.remove(name)

    async def trigger(self, name: str) -> "Triggered":
        """Run a schedule once, now, whatever its ticks are; also one that is paused.

        Returns:
            The job. One whose runs may not overlap gives the run that is under way.

        Raises:
            ScheduleNotFound: There is none of that name.
            ScheduleExists: It cannot be read here: a newer release wrote it.
            Unreachable, RedisRefused: The schedule could not be read, or the job was not confirmed.
        """
        entry = await self.timetable.get(name)
        if entry.schedule is None:
            raise ScheduleExists(name=name, why="a newer release wrote it; upgrade this process")
        request, described = entry.schedule.run(), entry.schedule.described
        sender = Sender(
            self._connection,
            confirming=self._connection,
            keys=self._keys,
            settings=self._settings,
            queues=Queues(self._connection, self._keys, self._settings),
            rows=Rows(lambda task: described.get(task, ("", "")), self.seal),
        )
        [placed] = await sender.send([replace(request, min_replicas=0, fsync=False)])
        if isinstance(placed, Exception):
            raise placed
        job = JobId(queue=request.queue, shard=placed.shard, uid=placed.uid)
        return Triggered(job_id=str(job), duplicate=placed.verdict is Submitted.DUPLICATE)

    async def leader(self) -> LeaderInfo:
        """Return who leads.

        Raises:
            Unreachable, RedisRefused: It could not be read.
        """
        owner, epoch, expires = await self._connection.command(
            "HMGET", self._keys.schedules_lease, "owner", "epoch", "expires"
        )
        left = (whole(expires) - await self.now()) / 1000
        leads = bool(owner) and left > 0
        return LeaderInfo(
            worker=text(owner) if leads else None,
            lease_seconds=left if leads else None,
            epoch=whole(epoch),
        )

    async def now(self) -> int:
        """Return Redis's clock, ms."""
        reply = await self._connection.command("TIME", key=self._keys.schedules_items)
        if isinstance(reply, Exception):
            raise RedisRefused(message=str(reply))
        seconds, micros = reply
        return int(seconds) * 1000 + int(micros) // 1000


def info_of(entry: Entry, now: int, seal: Seal = NO_SEAL) -> ScheduleInfo:
    """Return how a schedule stands at a moment; without its arguments where they cannot be decrypted."""
    state, schedule = entry.state, entry.schedule
    known = ScheduleInfo(
        name=entry.name,
        app=entry.app,
        source=entry.source,
        status=_status(entry, now),
        last_tick=_maybe(state.tick),
        last_job=state.job,
        last_outcome=state.outcome,
        decided=_maybe(state.at),
        fired=state.fired,
        skipped=dict(state.skipped),
        last_run=_maybe(entry.beat),
        since=_maybe(entry.since),
        paused=_maybe(entry.paused),
        retired=_maybe(entry.retired),
    )
    if schedule is None:
        return known
    (text, _), locked = opened(schedule.request.args, "", schedule.request.task, "", seal)
    args, kwargs = read_arguments(text)
    limit = run_by_of(entry)
    return replace(
        known,
        when=str(schedule.timing),
        meaning=schedule.timing.explain(),
        timezone=schedule.timing.timezone if isinstance(schedule.timing, Cron) else None,
        task=schedule.request.task,
        queue=schedule.request.queue,
        args=args,
        kwargs=kwargs,
        encrypted=locked,
        catch_up=schedule.catch_up.value,
        overlap=schedule.overlap.value,
        skip_if_older_than=None if schedule.stale_after is None else schedule.stale_after / 1000,
        jitter=schedule.jitter / 1000,
        start=_maybe(schedule.start),
        end=_maybe(schedule.end),
        next=_maybe(entry.next),
        run_by=_maybe(limit),
        healthy=limit is None or now <= limit,
    )


def run_by_of(entry: Entry) -> int | None:
    """Return the moment, ms, by which a run must have completed; None for a schedule of which none must.

    That is the second tick after the last run, or after the schedule began: for one that ticks evenly, twice
    its interval. A failover gives no grace.
    """
    schedule = entry.schedule
    if schedule is None or not entry.fires:
        return None
    first = schedule.timing.after(max(entry.beat or 0, entry.since, (schedule.start or 1) - 1))
    second = None if first is None else schedule.timing.after(first)
    if second is None or (schedule.end is not None and second > schedule.end):
        return None
    return second + schedule.jitter


def _status(entry: Entry, now: int) -> ScheduleStatus:
    if entry.retired is not None:
        return ScheduleStatus.RETIRED
    if entry.schedule is None:
        return ScheduleStatus.UNREADABLE
    if entry.paused is not None:
        return ScheduleStatus.PAUSED
    end = entry.schedule.end
    over = entry.next is None or (end is not None and now > end)
    return ScheduleStatus.OVER if over else ScheduleStatus.ACTIVE


def _at(moment: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=moment)


def _maybe(moment: int | None) -> datetime | None:
    try:
        return None if moment is None else _at(moment)
    except OverflowError:
        return None
