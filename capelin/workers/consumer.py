"""The consumer: turns of one pipeline each, which records the outcomes that came in meanwhile and takes new
jobs (group commit).

It wakes when a start ends, a shard becomes ready or an hour strikes, never on a poll. A wake token of an idle
worker is answered with a take in the very callback that reads it. A take whose reply
was lost leaves its shard `uncertain`, so that its stake is kept until the renewals have brought home what
was taken.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from capelin import lua
from capelin._backoff import Backoff
from capelin.connection import Connection, Pipeline
from capelin.errors import Unreachable
from capelin.keys import ShardKeys
from capelin.lua import Call, Delivery, KnownTask, OutcomeRow
from capelin.metrics.meter import NO_METER, Meter
from capelin.workers.asked import Asked
from capelin.workers.lanes import Lanes
from capelin.workers.limits import Limits
from capelin.workers.outcomes import handed_back
from capelin.workers.ready import MOST_A_CALL, Ready, Visit
from capelin.workers.recording import Batch, Recorder
from capelin.workers.running import Running, Start, Stop
from capelin.workers.slots import Room, Slots
from capelin.workers.taking import Manner, Owned, Taking
from capelin.workers.torn import report_torn
from capelin.workers.weights import Weights

log = structlog.get_logger("capelin.worker")

_LANES = 2
_PART_AWAY = 0.05
_UNPARKS_A_TURN = 8
_UNPARKED_AT_ONCE = 10


class Executes(Protocol):
    """What the consumer needs of an executor."""

    def launch(self, start: Start) -> None:
        """Begin to run a start; it ends with a call of `Consumer.ended`, at once or later."""
        ...


@dataclass(slots=True)
class _Turn:
    """A pipeline that was sent, and what it asks for.

    Attributes:
        over: Done once the replies are read and what they brought is started; None when nobody asked.
    """

    pipeline: Pipeline
    batches: Sequence[Batch]
    visits: Sequence[Visit]
    manners: Sequence[Manner]
    unparks: Sequence[Visit]
    over: asyncio.Future[None] | None = None

    def end(self) -> None:
        if self.over is not None and not self.over.done():
            self.over.set_result(None)


class Consumer:
    """Takes jobs and records outcomes.

    Args:
        worker: This worker's id.
        recorder: Records the outcomes.
        meter: Counts what begins.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        worker: str,
        limits: Limits,
        slots: Slots,
        running: Running,
        owned: Owned,
        weights: Weights,
        recorder: Recorder,
        queue_weights: Mapping[str, int] | None = None,
        known_tasks: Iterable[KnownTask] = (),
        keys: Iterable[str] = (),
        meter: Meter = NO_METER,
    ) -> None:
        self._connection = connection
        self._worker = worker
        self._limits = limits
        self._slots = slots
        self._running = running
        self._taking = Taking(
            worker=worker, limits=limits, slots=slots, owned=owned, weights=weights, lanes=_LANES
        )
        self.recorder = recorder
        self.ready = Ready(queue_weights)
        self.executor: Executes | None = None
        self.uncertain: deque[ShardKeys] = deque()
        self.asked = Asked(slots)
        self.to_unpark: dict[ShardKeys, None] = {}
        self._known_tasks: list[KnownTask] = list(known_tasks)
        self._keys = " ".join(keys)
        self._meter = meter
        self.taking = True
        self.turns = 0
        self.begun = 0
        self._draining = False
        self._lanes = Lanes()
        self._sent: deque[_Turn] = deque()  # ahead of their lanes
        self._backoff = Backoff()

    # What others tell the consumer.

    def notify(self, shard: ShardKeys, *, deep: bool = False) -> None:
        """A shard may have work."""
        self.ready.mark(shard, deep=deep)
        self._lanes.wake()

    def woken(self, shard: ShardKeys) -> asyncio.Future[None]:
        """A token says that a shard has work: it is asked for at once, unless every lane is busy.

        Returns:
            Done when the next token is to be waited for: if nothing else is under way, when what this one
            brought is started. A busy worker has the other shards' tokens come meanwhile.
        """
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        idle = len(self._lanes) == _LANES
        turn = self._send_alone(shard) if idle and self._rests else None
        if turn is None:
            self.ready.mark(shard)
            turn = self._send() if self._lanes else None
        if turn is not None:
            self._sent.append(turn)
            self._lanes.wake()
        if turn is not None and idle:
            turn.over = over
        else:
            over.set_result(None)
        return over

    def unpark(self, shard: ShardKeys) -> None:
        """A shard has, or may have, parked jobs that this worker can run."""
        self.to_unpark[shard] = None
        self._lanes.wake()

    def ring(self) -> None:
        """Something changed: look again."""
        self._lanes.wake()

    def ended(self, start: Start, row: OutcomeRow | None) -> None:
        """A start is over. None: it was not ours any more, and there is nothing to record."""
        self._slots.give(start.pool)
        if row is None or start.stop is Stop.LOST:
            self._running.remove(start)
        else:
            self.recorder.add(start, row)
        self._lanes.wake()

    def abandon(self, start: Start, row: OutcomeRow) -> None:
        """Record an outcome for a start whose thread cannot be stopped: the thread keeps its slot until it
        returns.
        """
        self.recorder.add(start, row)
        self._lanes.wake()

    @property
    def drained(self) -> bool:
        """Nothing runs, nothing is to be recorded, and no shard is known to have work."""
        return not (len(self.ready) or len(self._running) or self.to_unpark)

    # The loop.

    async def run(self) -> None:
        """Turn until cancelled, in lanes: while Redis works on one pipeline, this process runs what the
        other brought.
        """
        try:
            async with asyncio.TaskGroup() as lanes:
                for _ in range(_LANES):
                    lanes.create_task(self._lane())
        finally:
            while self._sent:
                self._unanswered(self._sent.popleft())

    async def _lane(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            next_due = self.ready.wake_due(loop.time())
            turn = self._sent.popleft() if self._sent else self._send()
            if turn is not None:
                await self._receive(turn)
            else:
                await self._lanes.wait(None if next_due is None else max(0.0, next_due - loop.time()))

    async def drain(self, shards: Iterable[ShardKeys]) -> None:
        """Run what is due in these shards, and what comes of it, until a look at all finds nothing."""
        every = list(shards)
        self._draining = True
        while True:
            before = self.begun
            for shard in every:
                self.ready.mark(shard)
            while True:
                progressed = await self.turn()
                if self.drained:
                    break
                if not progressed:
                    await self._lanes.wait(None)
            if self.begun == before:
                return

    async def turn(self) -> bool:
        """One pipeline: record, take, start. False when there was nothing to send."""
        turn = self._send()
        if turn is not None:
            await self._receive(turn)
        return turn is not None

    def _send(self) -> _Turn | None:
        """Send what there is to record and to ask for; None if that is nothing."""
        if not (self.ready or self.to_unpark) and self.recorder.idle:
            return None
        batches = self.recorder.next_batches()
        room = Room(self._slots, _LANES)
        visits = self.ready.plan(room) if self.taking and self.ready else []
        unparks = self._plan_unparks(room)
        if not (batches or visits or unparks):
            return None
        calls: list[Call[Any]] = [self.recorder.call(batch) for batch in batches]
        manners: list[Manner] = []
        for visit in visits:
            manner = self._taking.manner(visit.shard)
            manners.append(manner)
            calls.append(self._taking.call(visit, manner))
        calls += [self._unpark(visit) for visit in unparks]
        turn = _Turn(self._connection.begin(calls), batches, visits, manners, unparks)
        self.turns += 1
        self.asked.begin((*visits, *unparks) if unparks else visits)
        if self.ready or self.to_unpark:
            self._lanes.wake()  # there is more, and another may have room for it
        return turn

    @property
    def _rests(self) -> bool:
        """Nothing runs, waits to be asked for or recorded, or is on its way."""
        return self.taking and not (
            self.ready or self.to_unpark or self.asked.count or self._slots.running or not self.recorder.idle
        )

    def _send_alone(self, shard: ShardKeys) -> _Turn | None:
        """Ask one shard, at rest: nothing is planned anew, since all that a plan looks at is as the last time
        (a process that slept pays ten times for each function that it goes through). None if it may not ask.
        """
        alone = self._taking.alone(shard)
        if alone is None:
            return None
        visits, manners, calls = alone
        turn = _Turn(self._connection.begin(calls), (), visits, manners, ())
        self.turns += 1
        self._slots.promise(shard.queue, visits[0].count)
        self.asked.begin(visits)
        return turn

    async def _receive(self, turn: _Turn) -> None:
        """Read what became of it, and start what it brought."""
        batches, visits, unparks = turn.batches, turn.visits, turn.unparks
        try:
            replies = await turn.pipeline.replies()
        except BaseException:
            self._unanswered(turn)
            raise
        self.asked.answered((*visits, *unparks) if unparks else visits)
        lost = self.recorder.read(batches, replies[: len(batches)]) if batches else False
        first, last = len(batches), len(batches) + len(visits)
        taken = replies[first:last]
        begun = [
            [] if isinstance(reply, Exception) else self._begin_all(visit.shard, reply.jobs)
            for visit, reply in zip(visits, taken, strict=True)
        ]
        if turn.over is not None and len(replies) == 1 and any(begun):
            try:
                await asyncio.sleep(0)  # nothing else is under way: what came begins before it is noted
            finally:
                turn.end()
        for visit, manner, reply, starts in zip(visits, turn.manners, taken, begun, strict=True):
            lost |= self._note_take(visit, manner, reply, starts)
        for visit, reply in zip(unparks, replies[last:], strict=True):
            lost |= self._read_unpark(visit, reply)
        turn.end()
        if not lost:
            self._backoff.reset()
        elif all(isinstance(reply, Exception) for reply in replies):
            await self._backoff.sleep()
        else:
            # Redis is there, and a part of it is not: a slot on its way, say. The rest is not held up.
            self._backoff.reset()
            await asyncio.sleep(_PART_AWAY)

    def _unanswered(self, turn: _Turn) -> None:
        self.recorder.unanswered(turn.batches)
        for visits in (turn.visits, turn.unparks):
            self.uncertain.extend(visit.shard for visit in visits)
            self.asked.answered(visits)
        turn.end()

    def _plan_unparks(self, room: Room) -> list[Visit]:
        if not self.taking or not self.to_unpark:
            return []
        visits: list[Visit] = []
        for shard in list(self.to_unpark)[:_UNPARKS_A_TURN]:
            count = min(room.free_for(shard.queue), _UNPARKED_AT_ONCE)
            if count > 0:
                del self.to_unpark[shard]
                visits.append(Visit(shard, count))
                room.promise(shard.queue, count)
        return visits

    def _unpark(self, visit: Visit) -> Call[list[Delivery]]:
        return lua.unpark(
            visit.shard,
            worker=self._worker,
            count=visit.count,
            ttl=self._limits.ttl,
            keys=self._keys,
            tasks=self._known_tasks,
        )

    def _read_unpark(self, visit: Visit, reply: Any) -> bool:
        if isinstance(reply, Exception):
            self.uncertain.append(visit.shard)
            self.to_unpark[visit.shard] = None
            return True
        self._meter.took(visit.shard, self._begin_all(visit.shard, reply), None)
        if len(reply) >= visit.count:
            self.to_unpark[visit.shard] = None
        return False

    def _note_take(self, visit: Visit, manner: Manner, reply: Any, starts: Sequence[Start]) -> bool:
        """What a take says beside the jobs that it brought; True when there was no answer."""
        shard = visit.shard
        if isinstance(reply, Exception):
            self.uncertain.append(shard)
            self.ready.mark(shard)
            if not isinstance(reply, Unreachable):
                log.error("taking failed", shard=str(shard), error=str(reply))
            return True
        taken: lua.Taken = reply
        if taken.torn:
            report_torn(shard, taken.torn, self._meter)
        owner = self._taking.owns(shard)
        if taken.more and (owner or self._draining):
            self.ready.mark(shard, deep=len(taken.jobs) >= visit.count)
        elif owner:
            wait = self._taking.look_again_in(manner, taken)
            self.ready.due(shard, None if wait is None else asyncio.get_running_loop().time() + wait)
        self._meter.took(shard, starts, taken.now)
        return False

    def adopt(self, shard: ShardKeys, jobs: Iterable[Delivery]) -> None:
        """Start what was delivered in a reply that was never read."""
        begun: list[Start] = []
        for job in jobs:
            start = Start(shard, job)
            if self._begin(start):
                begun.append(start)
            else:
                self._return_forgotten(start)
        self._meter.adopted(shard, begun)

    def _return_forgotten(self, start: Start) -> None:
        """Hand back a start that Redis holds running although its end was recorded: it has lost that write,
        in a failover or a crash, and the stake that this worker renews would keep the job from everybody.
        """
        if self._running.has_ended(start):
            log.warning("redis lost the end of a start; the job is handed back", job=start.job_id)
            self.recorder.add(start, handed_back(start.delivery))
            self._lanes.wake()

    def _begin_all(self, shard: ShardKeys, jobs: Iterable[Delivery]) -> list[Start]:
        return [start for job in jobs if self._begin(start := Start(shard, job))]

    def _begin(self, start: Start) -> bool:
        """Start what was delivered, by whatever door; False when it is known."""
        if not self._running.add(start):
            return False
        self.begun += 1
        if self.executor is None:
            raise RuntimeError("a consumer needs its executor before it takes jobs")
        self.executor.launch(start)
        return True

    async def probe(self, shards: list[ShardKeys]) -> None:
        """Steal: take from foreign shards what has waited too long."""
        if not self.taking:
            return
        found = await self._connection.run_many([self._taking.peek(shard) for shard in shards])
        if not self.taking:  # it was told to end meanwhile, and waits for no take that begins now
            return
        # Of one that does not answer, the take says what is wrong.
        shards = [shard for shard, some in zip(shards, found, strict=True) if some is not False]
        room = Room(self._slots, _LANES)
        visits: list[Visit] = []
        for place, shard in enumerate(shards):
            # Nobody knows which of them has anything: each is asked for its part.
            share = -(-room.free_for(shard.queue) // (len(shards) - place))
            count = min(share, MOST_A_CALL)
            if count > 0:
                visits.append(Visit(shard, count))
                room.promise(shard.queue, count)
        if visits:
            await self._send_probes(visits)

    async def _send_probes(self, visits: list[Visit]) -> None:
        calls = [self._taking.call(visit, self._taking.stealing) for visit in visits]
        self.asked.begin(visits)
        try:
            replies = await self._connection.run_many(calls)
        except BaseException:
            self.uncertain.extend(visit.shard for visit in visits)
            raise
        finally:
            self.asked.answered(visits)
            if self.ready:  # for which there may have been no room while slots were promised to these
                self._lanes.wake()
        for visit, reply in zip(visits, replies, strict=True):
            if isinstance(reply, Exception):
                self.uncertain.append(visit.shard)
                continue
            if reply.torn:
                report_torn(visit.shard, reply.torn, self._meter)
            self._meter.stole(visit.shard, self._begin_all(visit.shard, reply.jobs), reply.now)
