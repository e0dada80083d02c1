"""The heartbeat: keeps this worker's place in the fleet, its leases and its stakes, and judges the silent.

It is a coroutine, so that it runs in a thread of its own with a connection of its own, where a blocked
event loop cannot stop it, or on the loop of a test. Every round is one pipeline of renewals. What the
rounds find is posted to the worker's event loop.
"""

import asyncio
import faulthandler
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import structlog

from capelin import inbox, lua
from capelin._backoff import Backoff
from capelin.connection import Connection
from capelin.errors import CapelinError, Unreachable
from capelin.keys import Keys, ShardKeys
from capelin.lua import Beat, Call, Delivery, ParkedRow, Renewed, RunningRow
from capelin.metrics.meter import NO_METER, Meter
from capelin.workers.failures import Failures
from capelin.workers.farewell import Farewell
from capelin.workers.fleet import Member, read_members, wanted_shards
from capelin.workers.limits import Limits
from capelin.workers.ownership import Ownership
from capelin.workers.passengers import Passenger, Passengers
from capelin.workers.pulse import Pulse
from capelin.workers.reconciliation import Reconciliation
from capelin.workers.running import Running
from capelin.workers.settling import Settling
from capelin.workers.stall import Stall
from capelin.workers.strays import Strays
from capelin.workers.sweep import Sweep
from capelin.workers.territory import Territory
from capelin.workers.torn import report_torn
from capelin.workers.trust import Trust
from capelin.workers.upkeep import Upkeep

log = structlog.get_logger("capelin.worker")

_INTERVALS_UNTIL_SURE = 3
_AFTER = 0.005  # what expires in 10 ms has expired in 15
EXIT_STALLED = 70
SHUTDOWN = "shutdown"
STALLED = "the event loop makes no progress"
QUIET = "it was told to be quiet"
"""Why leases are given up."""


class Listener(Protocol):
    """What a heartbeat tells the worker; called on the worker's event loop."""

    def gained(self, shard: ShardKeys) -> None: ...
    def gave_up(self, shard: ShardKeys) -> None: ...
    def lost_starts(self, shard: ShardKeys, starts: list[tuple[str, int]]) -> None: ...
    def cancel_asked(self, shard: ShardKeys, uids: list[str]) -> None: ...
    def adopted(self, shard: ShardKeys, deliveries: list[Delivery]) -> None: ...
    def joined(self) -> None: ...
    def found_parked(self, shard: ShardKeys, rows: list[ParkedRow]) -> None: ...


class Heartbeat:
    """Renewals of one worker.

    Args:
        post: Runs a function on the worker's event loop.
        progressed: When the worker's event loop last made progress (``time.monotonic``).
        free_slots: How many more jobs the worker could run.
        territory: The shards of its queues.
        uncertain: Shards of takes that were not answered; the consumer appends, the heartbeat removes.
        asking: Shards of takes that are on their way: their replies may wait for a loop that is blocked.
        joins: Whether the worker is a member of the fleet; one that only drains what is there keeps its
            stakes and no more.
        passengers: What else lives on it.
        meter: Counts what upkeep finds.
        pulse: How the process is, for people; asked on the heartbeat's loop.
    """

    def __init__(
        self,
        *,
        keys: Keys,
        member: Member,
        limits: Limits,
        interval: float,
        stall_after: float,
        stall_limit: float,
        territory: Territory,
        ownership: Ownership,
        running: Running,
        uncertain: "deque[ShardKeys]",
        asking: Mapping[ShardKeys, int],
        listener: Listener,
        post: Callable[..., None],
        progressed: Callable[[], float],
        free_slots: Callable[[], int],
        joins: bool = True,
        passengers: Sequence[Passenger] = (),
        meter: Meter = NO_METER,
        pulse: Callable[[], Pulse | None] = lambda: None,
    ) -> None:
        self._keys = keys
        self._member = self._working = member
        self._limits = limits
        self._interval = interval
        self._stall_after = stall_after
        self._stall_limit = stall_limit
        self._territory = territory
        self._settling = Settling(keys, territory)
        self._strays = Strays(keys, territory)
        self._ownership = ownership
        self._running = running
        self._listener = listener
        self._post = post
        self._asking = asking
        self._free_slots = free_slots
        self._joins = joins
        self._passengers = Passengers(passengers, soon=interval / 4)
        self._pulse = pulse
        self._meter = meter
        self.members: dict[str, Member] = {}
        self.trust = Trust(ttl=limits.ttl / 1000, interval=interval, clock=time.monotonic)
        self._stall = Stall(progressed)
        self._sweep = Sweep(keys, territory.reach, worker=member.id, interval=interval)
        self._upkeep = Upkeep(
            limits,
            territory.fewest,
            worker=member.id,
            found_parked=partial(post, listener.found_parked),
            sweep=self._sweep,
            meter=meter,
        )
        self._reconciliation = Reconciliation(uncertain, patience=_INTERVALS_UNTIL_SURE * interval)
        self._farewell = Farewell(limits, territory.fewest, worker=member.id)
        self._version = -1
        self._wanted: set[ShardKeys] = set()
        self._poke = asyncio.Event()
        self._turn = asyncio.Lock()
        self._gave_up = False
        self._leaving = False
        self._stepped_back = False
        self._next_at = 0.0
        self._failures = Failures()
        self.rounds = 0

    def poke(self) -> None:
        """Do a round now. Call it on the heartbeat's own loop."""
        self._poke.set()

    def be(self, *, quiet: bool) -> None:
        """Serve nothing from the next round on, or serve again; can be said from any thread."""
        self._member = self._working.quieted() if quiet else self._working

    async def run(self, connection: Connection) -> None:
        """Renew until cancelled."""
        watching = asyncio.create_task(self._stall.watch(self._look_for_stall))
        try:
            await self._renew_for_ever(connection)
        finally:
            watching.cancel()
            await self._passengers.close()

    async def _renew_for_ever(self, connection: Connection) -> None:
        # Short enough that after an outage all have renewed before anybody may judge.
        backoff = Backoff(first=0.05, most=self._interval / 4)
        while True:
            self._poke.clear()
            try:
                await self.round(connection)
            except Unreachable as error:
                log.warning("redis does not answer; renewals are late", error=str(error))
                await backoff.sleep()
                continue
            except CapelinError as error:
                log.error("a round of renewals failed", error=str(error))
                await backoff.sleep()
                continue
            backoff.reset()
            wait = max(0.005, min(self._interval, self._next_at - time.monotonic()))
            try:
                async with asyncio.timeout(wait):
                    await self._poke.wait()
            except TimeoutError:
                pass

    def _look_for_stall(self) -> None:
        stalled = self._stall.seconds
        if stalled > self._stall_limit:
            log.critical("the event loop is stuck; this process ends", seconds=round(stalled))
            faulthandler.dump_traceback(all_threads=True)
            os._exit(EXIT_STALLED)
        if (stalled > self._stall_after) != self._gave_up:
            self._poke.set()

    async def round(self, connection: Connection) -> None:
        """One round: renew, reconcile, take and give up shards, reap."""
        async with self._turn:
            await self._round(connection)

    async def _round(self, connection: Connection) -> None:
        self.rounds += 1
        quiet = self._member.quiet
        self._next_at = time.monotonic() + self._interval
        self._gave_up = stalled = self._stall.seconds > self._stall_after
        if stalled:
            await self.give_up(connection, why=STALLED)
        await self._renew(connection, stalled=stalled)
        standing = not (stalled or self._leaving) and self._joins
        if standing:
            await self._settle_and_judge(connection)
        if quiet and not self._stepped_back:
            await self._passengers.give_up(connection, why=QUIET)
            await self._tell_others(connection, {"quiet": self._member.id})
        self._stepped_back = quiet
        due = await self._passengers.round(connection, self.members, standing=standing and not quiet)
        self._round_by(due)

    async def _settle_and_judge(self, connection: Connection) -> None:
        if await self._territory.look(connection):
            self._assign()
        await self._settle_ownership(connection)
        away = self._failures.look()
        if away:
            self._round_by(time.monotonic() + self._interval / 4)
        self._round_by(await self._upkeep.run(connection, self._ownership.shards, self.trust))
        settled = await self._settling.run(connection, self._ownership.shards)
        found = not away and await self._strays.run(connection, self._ownership.shards)
        if settled or found:
            self._assign()
            self._poke.set()

    def _round_by(self, moment: float | None) -> None:
        """Do the next round by this moment (``time.monotonic``) at the latest; None: no need."""
        if moment is not None:
            self._next_at = min(self._next_at, moment)

    def _assign(self) -> None:
        """The membership, or a queue's layout, has changed: whose is which shard now?"""
        self._wanted = wanted_shards(self._member.id, self.members, self._territory.reach, self._keys)

    async def give_up(self, connection: Connection, *, why: str) -> None:
        """Give up leases and the place in the fleet, at once; stakes stay, so that what runs is not run
        twice.
        """
        await self._passengers.give_up(connection, why=why)
        owned = self._ownership.shards
        if not owned and self._version == -1:
            return
        if owned:
            say = log.info if self._leaving else log.warning
            say("gives up its shards", reason=why, shards=len(owned))
        calls: list[Call[Any]] = [lua.fleet_leave(self._keys, worker=self._member.id)]
        for shard in owned:
            calls.append(
                lua.lease_release(shard.lease, owner=self._member.id, epoch=self._ownership.epoch(shard) or 0)
            )
            self._ownership.lost(shard)
            self._post(self._listener.gave_up, shard)
        self._version = -1
        self._wanted = set()
        _raise_first(await connection.run_many(calls))
        # Read anew: who joined since the last round is to take over, too.
        self.members = read_members(await connection.command("HGETALL", self._keys.fleet_members))
        await self._tell_others(connection, {"left": self._member.id})

    async def _tell_others(self, connection: Connection, news: Mapping[str, str | int]) -> None:
        """Have the others look at the fleet."""
        others = [worker for worker in self.members if worker != self._member.id]
        await inbox.post_many(connection, self._keys, others, inbox.Kind.FLEET, news)

    async def leave(self, connection: Connection) -> None:
        """Shut down: give up everything that is not running, and judge nobody any more."""
        self._leaving = True
        # A round under way may be about to take a lease: it goes first.
        async with self._turn:
            await self.give_up(connection, why=SHUTDOWN)

    async def sign_off(self, connection: Connection) -> None:
        """The last word of a worker that has nothing running: its stakes and consumers go."""
        # All of them: what it took and finished between two renewals, or stole, no renewal has seen.
        shards = self._territory.shards()
        async with self._turn:
            await self._farewell.sign_off(connection, shards, self._running.by_shard())

    async def _renew(self, connection: Connection, *, stalled: bool) -> None:
        running = self._running.by_shard()
        unread = [*self._reconciliation.shards(), *list(self._asking)]
        shards = list(dict.fromkeys([*self._ownership.shards, *running, *unread]))
        calls: list[Call[Any]] = []
        member = self._joins and not stalled and not self._leaving
        if member:
            pulse = self._pulse()
            calls.append(
                lua.fleet_beat(
                    self._keys,
                    worker=self._member.id,
                    member=self._member.to_json(),
                    ttl=self._limits.ttl,
                    free=self._free_slots(),
                    judge_until=self.trust.judge_until,
                    pulse="" if pulse is None else pulse.to_json(),
                )
            )
        calls += [
            lua.renew(
                shard,
                worker=self._member.id,
                ttl=self._limits.ttl,
                epoch=self._ownership.epoch(shard),
                staked=self._reconciliation.unsure(shard),
                running=running.get(shard, []),
            )
            for shard in shards
        ]
        if not calls:
            return
        replies = await connection.run_many(calls)
        beat = replies.pop(0) if member else None
        if isinstance(beat, Beat):
            await self._read_beat(connection, beat)
        for shard, reply in zip(shards, replies, strict=True):
            if isinstance(reply, Exception):
                self.trust.failed_in(shard)
            else:
                await self._read_renewal(connection, shard, running.get(shard, []), reply)
        self._failures.count([*([beat] if member else []), *replies])

    async def _read_beat(self, connection: Connection, beat: Beat) -> None:
        self.trust.renewed(beat.now)
        self._ownership.saw_idle(beat.idle)
        if beat.joined:
            self._post(self._listener.joined)
        if beat.version != self._version:
            before = self.members
            self.members = read_members(await connection.command("HGETALL", self._keys.fleet_members))
            self._sweep.saw(before, self.members)
            self._version = beat.version
            self._territory.look_soon()
            self._assign()
        if beat.next_expiry < self._interval * 1000:
            after = (
                beat.next_expiry / 1000 if self.trust.fit else max(self.trust.fit_in, beat.next_expiry / 1000)
            )
            self._round_by(time.monotonic() + after + _AFTER)

    async def _read_renewal(
        self, connection: Connection, shard: ShardKeys, rows: list[RunningRow], renewed: Renewed
    ) -> None:
        self.trust.renewed_in(shard, renewed.now)
        if renewed.lease == "lost" and self._ownership.owns(shard):
            log.warning("a lease was lost", shard=str(shard))
            self._ownership.lost(shard)
            self._post(self._listener.gave_up, shard)
        if renewed.lost:
            tokens = {row.uid: row.token for row in rows}
            self._post(self._listener.lost_starts, shard, [(uid, tokens[uid]) for uid in renewed.lost])
        if renewed.cancelled:
            self._post(self._listener.cancel_asked, shard, renewed.cancelled)
        if renewed.torn:
            report_torn(shard, renewed.torn, self._meter)
        self._upkeep.saw_stake(shard, renewed.next_stake)
        adopted = self._reconciliation.read(shard, renewed)
        # When the worker leaves it is too late to begin anything: they are handed back when it signs off.
        if adopted and not self._leaving:
            await self._adopt(connection, shard, adopted)

    async def _adopt(
        self, connection: Connection, shard: ShardKeys, starts: Iterable[tuple[str, int]]
    ) -> None:
        rows = [RunningRow(uid, token) for uid, token in starts]
        adopted = await connection.run(lua.adopt(shard, worker=self._member.id, running=rows))
        if adopted.torn:
            report_torn(shard, adopted.torn, self._meter)
        log.warning("adopts starts whose delivery was lost", shard=str(shard), jobs=len(adopted.jobs))
        self._post(self._listener.adopted, shard, adopted.jobs)

    async def _settle_ownership(self, connection: Connection) -> None:
        owned = set(self._ownership.shards)
        surplus, missing = owned - self._wanted, self._wanted - owned
        if surplus:
            await self._hand_over(connection, sorted(surplus, key=str))
        if not missing:
            return
        shards = sorted(missing, key=str)
        replies = await connection.run_many(
            [lua.lease_acquire(shard.lease, owner=self._member.id, ttl=self._limits.ttl) for shard in shards]
        )
        for shard, reply in zip(shards, replies, strict=True):
            if isinstance(reply, Exception):
                self.trust.failed_in(shard)
                continue
            self.trust.renewed_in(shard, reply.now)
            if reply.epoch:
                self._ownership.gained(shard, reply.epoch)
                self._upkeep.gained(shard)
                self._post(self._listener.gained, shard)
            else:
                self._round_by(time.monotonic() + reply.expires_in / 1000 + _AFTER)
        self._failures.count(replies)

    async def _hand_over(self, connection: Connection, shards: list[ShardKeys]) -> None:
        calls = [
            lua.lease_release(shard.lease, owner=self._member.id, epoch=self._ownership.epoch(shard) or 0)
            for shard in shards
        ]
        for shard in shards:
            self._ownership.lost(shard)
            self._post(self._listener.gave_up, shard)
        self._failures.count(await connection.run_many(calls))
        await self._tell_others(connection, {"freed": len(shards)})


def _raise_first(replies: Iterable[object]) -> None:
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
