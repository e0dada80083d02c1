"""Fires what is due. One leader does it at a time; what it does is safe from two.

A tick takes three steps, each in another place of Redis, and a leader may die, stall or be cut off between
any two of them:

1. *Intend*: under the epoch of its lease, the leader writes which tick it is about to enqueue, as which job,
   and until when that job may be enqueued.
2. *Enqueue*: an ordinary enqueue, with an id made from schedule and tick. The shard refuses it after that
   moment, and remembers the newest tick of each schedule, so that it enqueues each once.
3. *Commit*: under its epoch, it writes what became of the tick.

Whoever leads next begins with the intents that it finds, and sends the same jobs again: an id that is known
changes nothing, and one that came too late is decided about anew. Keeps guarantee 8.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog

from capelin._queues import Queues
from capelin._rows import Rows
from capelin._sending import placing_key, share_of
from capelin.connection import Connection
from capelin.durations import milliseconds
from capelin.errors import CapelinError
from capelin.ids import JobId
from capelin.keys import Keys, shard_of
from capelin.lua import Call, Submitted, enqueue
from capelin.lua.scheduling import NewState, Tick, schedule_commit, schedule_intend
from capelin.scheduler.clock import RedisClock
from capelin.scheduler.planning import Plan, plan
from capelin.schedules import Schedule
from capelin.settings import Settings
from capelin.timetable import Entry, Intent, ScheduleState, Timetable

log = structlog.get_logger("capelin.scheduler")

MOST_AT_ONCE = 500
OVERLAP = "overlap"
_TRY_AGAIN = 1.0
_UNREAD = -1


class Deposed(Exception):
    """Somebody else leads: what was to be written was refused."""


@dataclass(slots=True)
class _Open:
    """A tick whose intent is written and whose end is not."""

    intent: Intent
    schedule: Schedule
    said: bool = False


class Firing:
    """Fires the schedules of one namespace.

    Args:
        connection: Where.
        keys: The namespace.
        settings: Times and limits.
        owner: The leader's worker id.
        clock: Redis's clock.
    """

    def __init__(
        self, connection: Connection, keys: Keys, settings: Settings, *, owner: str, clock: RedisClock
    ) -> None:
        self._connection, self._keys, self._owner, self._clock = connection, keys, owner, clock
        self._timetable = Timetable(connection, keys)
        self._queues = Queues(connection, keys, settings)
        self._resend_window = milliseconds(settings.resend_window)
        self._most_waiting = settings.max_queue_length
        self._version = _UNREAD
        self._entries: dict[str, Entry] = {}
        self._next: dict[str, int] = {}
        self._open: dict[str, _Open] = {}
        # Of this turn: schedules whose ticks cannot be fired now; those that had changed when it came to it.
        self._refused: set[str] = set()
        self._changed: set[str] = set()
        self._said: set[str] = set()

    async def turn(self, epoch: int) -> float | None:
        """Fire what is due.

        Args:
            epoch: Of the lease.

        Returns:
            Seconds until there is something to do, or None when nothing is known to come.

        Raises:
            Deposed: Somebody else leads.
            Unreachable, RedisRefused: Something is left to do; call it again.
        """
        version = await self._commit(epoch, {})
        if version != self._version:
            await self._load()
        self._refused.clear()
        self._changed.clear()
        await self._settle(epoch)
        while due := self._due():
            await self._intend(epoch, due)
            if self._version == _UNREAD:
                await self._load()
            await self._settle(epoch)
        return self._seconds_until_next()

    # What there is.

    async def _load(self) -> None:
        version, self._entries = await self._timetable.read()
        self._next = {}
        for name, entry in self._entries.items():
            if entry.schedule is None:
                log.error("a schedule cannot be read; is this process older than its app?", schedule=name)
                continue
            self._look_ahead(entry)
            if entry.intent is not None and name not in self._open:
                self._open[name] = _Open(entry.intent, entry.schedule)
        for name, tick in list(self._open.items()):
            if not self._owed(name, tick.intent.tick):
                del self._open[name]
        self._version = version

    def _owed(self, name: str, tick: int) -> bool:
        """Whether a tick is still to be fired: nobody has paused, removed or changed its schedule since."""
        entry = self._entries.get(name)
        return entry is not None and entry.fires and tick > entry.decided

    def _look_ahead(self, entry: Entry) -> None:
        due = entry.next
        if due is None:
            self._next.pop(entry.name, None)
        else:
            self._next[entry.name] = due

    def _due(self) -> dict[str, Plan]:
        now = self._clock.now()
        due = [name for name, at in self._next.items() if at <= now and self._free(name)]
        return {name: self._plan(self._entries[name], now) for name in due[:MOST_AT_ONCE]}

    def _free(self, name: str) -> bool:
        """Whether a schedule waits for its next tick, and not for a tick's end."""
        return name not in self._open and name not in self._refused

    def _plan(self, entry: Entry, now: int) -> Plan:
        schedule = entry.schedule
        if schedule is None:
            raise ValueError(f"{entry.name} cannot be read")
        return plan(
            schedule.timing,
            since=entry.decided,
            now=now,
            catch_up=schedule.catch_up,
            stale_after=schedule.stale_after,
            start=schedule.start,
            end=schedule.end,
            most=1,
        )

    def _seconds_until_next(self) -> float | None:
        waits = [_TRY_AGAIN] if self._open or self._refused else []
        # A millisecond more: Redis's clock is to have reached the tick, too.
        now = self._clock.now() - 1
        waits += [max(0.0, (at - now) / 1000) for name, at in self._next.items() if self._free(name)]
        return min(waits, default=None)

    # The three steps.

    async def _intend(self, epoch: int, plans: Mapping[str, Plan]) -> None:
        """Write skips, and the intents of ticks to fire; a schedule of which neither can be is refused."""
        skipped: dict[str, ScheduleState] = {}
        ticks: list[tuple[Tick, Schedule]] = []
        for name, made in plans.items():
            entry = self._entries[name]
            if made.skipped:
                skipped[name] = self._passed_over(entry, made)
            job = None
            if made.fire and entry.schedule is not None:
                job = await self._place(entry.schedule, made.fire[0])
                if job is not None:
                    ticks.append((Tick(name, entry.revision, made.fire[0], str(job)), entry.schedule))
            if job is None and not made.skipped:
                self._refused.add(name)
        if skipped:
            await self._commit(epoch, skipped)
        if ticks:
            await self._write_intents(epoch, ticks)

    async def _write_intents(self, epoch: int, ticks: Sequence[tuple[Tick, Schedule]]) -> None:
        call = schedule_intend(
            self._keys,
            owner=self._owner,
            epoch=epoch,
            window=self._resend_window,
            ticks=[tick for tick, _ in ticks],
        )
        intended = await self._run(call)
        for (tick, schedule), not_after in zip(ticks, intended.not_after, strict=True):
            if not_after:
                intent = Intent(tick=tick.moment, job=tick.job, not_after=not_after)
                self._open[tick.name] = _Open(intent, schedule)
            else:
                self._version = _UNREAD
                if tick.name in self._changed:  # it was read again, and still differs
                    self._refused.add(tick.name)
                self._changed.add(tick.name)

    def _passed_over(self, entry: Entry, made: Plan) -> ScheduleState:
        state = entry.state
        for skip in made.skipped:
            log.warning(
                "ticks are skipped",
                schedule=entry.name,
                reason=skip.reason.value,
                ticks=skip.count,
                at_least=skip.at_least,
            )
            state = state.skip(skip.last, skip.reason.value, skip.count, at=self._clock.now())
        return state

    async def _place(self, schedule: Schedule, tick: int) -> JobId | None:
        """Return the id of a tick's job; None, said once, when its queue cannot be used."""
        request = schedule.job_of(tick)
        try:
            layout = (await self._queues.open([request.queue]))[request.queue]
        except CapelinError as error:
            say = log.debug if schedule.name in self._said else log.error
            say("a tick cannot be fired", schedule=schedule.name, queue=request.queue, error=str(error))
            self._said.add(schedule.name)
            return None
        self._said.discard(schedule.name)
        key = placing_key(request)
        shard = 0 if key is None else shard_of(key, layout.shards)
        return JobId(queue=request.queue, shard=shard, uid=schedule.uid_of(tick))

    async def _settle(self, epoch: int) -> None:
        """Enqueue what is intended, and write what became of it."""
        names = list(self._open)
        for begin in range(0, len(names), MOST_AT_ONCE):
            states = await self._enqueue(names[begin : begin + MOST_AT_ONCE])
            if states:
                await self._commit(epoch, states)
                for name in states:
                    self._open.pop(name, None)

    async def _enqueue(self, names: list[str]) -> dict[str, ScheduleState]:
        """Enqueue these ticks; return what has become of those of which that is known."""
        calls: dict[str, Call[Any]] = {}
        for name in names:
            try:
                calls[name] = await self._call(self._open[name])
            except CapelinError as error:
                self._put_off(name, str(error))
        states: dict[str, ScheduleState] = {}
        replies = await self._connection.run_many(list(calls.values()))
        for name, reply in zip(calls, replies, strict=True):
            if isinstance(reply, Exception) or reply is None:
                self._put_off(name, "the queue is full" if reply is None else str(reply))
            elif reply[0][0] is Submitted.LATE:
                # Nobody can enqueue it any more under this intent: it is planned anew, and may be stale.
                del self._open[name]
            else:
                states[name] = self._ended(name, self._open[name].intent, reply[0][0])
        return states

    def _put_off(self, name: str, why: str) -> None:
        tick = self._open[name]
        say = log.debug if tick.said else log.warning
        say("a tick could not be enqueued; trying again", schedule=name, error=why)
        tick.said = True

    def _ended(self, name: str, intent: Intent, verdict: Submitted) -> ScheduleState:
        now = self._clock.now()
        entry = self._entries.get(name)
        state = ScheduleState() if entry is None else entry.state
        if verdict is Submitted.DUPLICATE:
            log.warning("ticks are skipped", schedule=name, reason=OVERLAP, ticks=1)
            return state.skip(intent.tick, OVERLAP, 1, at=now)
        log.debug("a tick was fired", schedule=name, job=intent.job, late_ms=now - intent.tick)
        return state.fire(intent.tick, intent.job, at=now)

    async def _call(self, tick: _Open) -> Call[Any]:
        schedule, intent = tick.schedule, tick.intent
        job = JobId.parse(intent.job)
        shard = self._keys.shard(job.queue, job.shard)
        origin = {"tick": str(intent.tick), "not_after": str(intent.not_after)}
        described = schedule.described
        row = Rows(lambda task: described.get(task, ("", ""))).row(
            schedule.job_of(intent.tick), job.uid, origin
        )
        layout = (await self._queues.open([job.queue]))[job.queue]
        most = self._most_waiting
        return enqueue(
            shard,
            most=None if most is None else share_of(most, job.shard, layout.shards),
            resend_window=self._resend_window,
            jobs=[row],
        )

    async def _commit(self, epoch: int, states: Mapping[str, ScheduleState]) -> int:
        """Write states, and take them over; with none, ask for the clock. Return the version."""
        rows = [NewState(name, state.to_json()) for name, state in states.items()]
        committed = await self._run(
            schedule_commit(self._keys, owner=self._owner, epoch=epoch, schedules=rows)
        )
        for name, state in states.items():
            entry = self._entries.get(name)
            if entry is not None:
                self._entries[name] = changed = replace(entry, state=state, intent=None)
                self._look_ahead(changed)
        return int(committed.version)

    async def _run(self, call: Call[Any]) -> Any:
        sent = self._clock.monotonic()
        reply = await self._connection.run(call)
        if reply is None:
            raise Deposed
        self._clock.heard(reply.now, sent=sent)
        return reply
