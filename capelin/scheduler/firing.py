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

from capelin._placing import placing_key, share_of
from capelin._queues import Queues
from capelin._rows import Rows
from capelin._visiting import Arrived, Stop, visit
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
from capelin.tracer import Tracer

log = structlog.get_logger("capelin.scheduler")

MOST_AT_ONCE = 500
OVERLAP = "overlap"
_TRY_AGAIN = 1.0
_UNREAD = -1
_NOT_SENT: Any = object()


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
        tracer: Traces the ticks, if anybody does.
    """

    def __init__(
        self,
        connection: Connection,
        keys: Keys,
        settings: Settings,
        *,
        owner: str,
        clock: RedisClock,
        tracer: Tracer | None = None,
    ) -> None:
        self._tracer = tracer
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
        self._queues.forget_unsettled()
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
            tick = None
            if made.fire and entry.schedule is not None:
                tick = await self._place(entry, entry.schedule, made.fire[0])
                if tick is not None:
                    ticks.append((tick, entry.schedule))
            if tick is None and not made.skipped:
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
                intent = Intent(tick=tick.moment, job=tick.job, not_after=not_after, layout=tick.layout)
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

    async def _place(self, entry: Entry, schedule: Schedule, tick: int) -> Tick | None:
        """Return which job a tick becomes; None, said once, when its queue cannot be used."""
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
        job = JobId(queue=request.queue, shard=shard, uid=schedule.uid_of(tick))
        return Tick(entry.name, entry.revision, tick, str(job), layout.version)

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
        ways: dict[str, list[Stop]] = {}
        for name in names:
            try:
                ways[name] = await self._way(self._open[name])
            except CapelinError as error:
                self._put_off(name, str(error))
        # Those that visit one shard, all but in a queue that was cut anew, go together.
        together = [name for name, way in ways.items() if len(way) == 1]
        replies = await self._connection.run_many(
            [self._call(self._open[name], ways[name][0], ()) for name in together]
        )
        first = dict(zip(together, replies, strict=True))
        states: dict[str, ScheduleState] = {}
        for name, way in ways.items():
            arrived = await self._arrive(name, way, first.get(name, _NOT_SENT))
            if arrived is not None:
                self._heed(name, arrived, states)
        return states

    async def _arrive(self, name: str, way: list[Stop], reply: Any) -> Arrived | None:
        """Return where a tick's job has come to; None when it has to be tried again."""
        tick = self._open[name]
        answers = [] if reply is _NOT_SENT else [reply]

        async def send(stop: Stop, past: tuple[str, ...]) -> Any:
            answer = answers.pop() if answers else await self._connection.run(self._call(tick, stop, past))
            if isinstance(answer, Exception):
                raise answer
            return answer

        try:
            arrived = await visit(way, send)
        except CapelinError as error:
            self._put_off(name, str(error))
            return None
        if arrived.verdict is None:
            self._put_off(name, "the queue is full")
            return None
        return arrived

    def _heed(self, name: str, arrived: Arrived, states: dict[str, ScheduleState]) -> None:
        intent = self._open[name].intent
        job = JobId.parse(intent.job)
        if arrived.verdict is Submitted.MOVED:
            self._queues.moved(job.queue, int(arrived.detail))
        if arrived.verdict in (Submitted.LATE, Submitted.MOVED):
            # Nobody can enqueue it any more under this intent: it is planned anew, and may be stale.
            del self._open[name]
        elif arrived.verdict is not None:
            where = replace(job, shard=arrived.shard)
            states[name] = self._ended(name, intent, arrived.verdict, str(where))

    def _put_off(self, name: str, why: str) -> None:
        tick = self._open[name]
        say = log.debug if tick.said else log.warning
        say("a tick could not be enqueued; trying again", schedule=name, error=why)
        tick.said = True

    def _ended(self, name: str, intent: Intent, verdict: Submitted, job: str) -> ScheduleState:
        now = self._clock.now()
        entry = self._entries.get(name)
        state = ScheduleState() if entry is None else entry.state
        if verdict is Submitted.DUPLICATE:
            log.warning("ticks are skipped", schedule=name, reason=OVERLAP, ticks=1)
            return state.skip(intent.tick, OVERLAP, 1, at=now)
        log.debug("a tick was fired", schedule=name, job=job, late_ms=now - intent.tick)
        return state.fire(intent.tick, job, at=now)

    async def _way(self, tick: _Open) -> list[Stop]:
        """Return the shards that a tick's job visits: those under older layouts than its intent's, and the
        one that the intent names.
        """
        job, intent = JobId.parse(tick.intent.job), tick.intent
        self._queues.moved(job.queue, intent.layout)
        layout = (await self._queues.open([job.queue]))[job.queue]
        request = tick.schedule.job_of(intent.tick)
        key = placing_key(request)
        older: tuple[int, ...] = ()
        if key is not None and request.dedupe_key is not None:
            older = layout.older_homes(key, job.shard, before=intent.layout)
        return [*(Stop(shard, only_asked=True) for shard in older), Stop(job.shard, only_asked=False)]

    def _call(self, tick: _Open, stop: Stop, past: tuple[str, ...]) -> Call[Any]:
        schedule, intent = tick.schedule, tick.intent
        job = JobId.parse(intent.job)
        origin = {"tick": str(intent.tick), "not_after": str(intent.not_after)}
        if past:
            origin["past"] = " ".join(past)
        described = schedule.described
        request = schedule.job_of(intent.tick)
        if self._tracer is not None and not stop.only_asked:
            request = self._tracer.fired(schedule.name, request)
        row = Rows(lambda task: described.get(task, ("", ""))).row(request, job.uid, origin)
        most, layout = self._most_waiting, self._queues.known.get(job.queue)
        return enqueue(
            self._keys.shard(job.queue, stop.shard),
            most=None if most is None or layout is None else share_of(most, stop.shard, layout.shards),
            resend_window=self._resend_window,
            layout=intent.layout,
            question=stop.only_asked,
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
