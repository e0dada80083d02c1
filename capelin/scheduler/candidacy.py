"""Stands for the leases of singletons, on the heartbeat: renews, takes, hands over.

Who should host what follows from the membership (``spreading``), and a member takes what is meant for it once
it is free. But no judgment of membership delays a failover: a lease that has ended and was not renewed is
taken by whom it would fall to without its silent owner, at once, and after ``LATE`` of its TTL by anybody.
What was taken out of turn is not handed to the member that was passed over, for a while: it may be unable
to take it.

Only who saw Redis answer for the last interval takes out of turn: right after an outage every lease has
ended, and their owners are about to renew them.
"""

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import structlog

from capelin import inbox
from capelin.connection import Connection
from capelin.errors import CapelinError
from capelin.keys import Keys
from capelin.lua.singletons import Declared, lease_look, singleton_declare
from capelin.scheduler.leases import Leases
from capelin.scheduler.spreading import spread
from capelin.singletons import Singleton
from capelin.workers.fleet import Member, read_members
from capelin.workers.heartbeat import SHUTDOWN

log = structlog.get_logger("capelin.singletons")

LATE = 1 / 6
"""Of the TTL: how long a lease has ended before it is anybody's."""
_SOON = 0.005
_PASSED_OVER = 10
"""TTLs for which a member is not given what it did not take in time."""


class Host(Protocol):
    """Where singletons run: see ``hosting.Hosting``."""

    @property
    def closing(self) -> bool: ...
    def busy(self, name: str) -> bool: ...
    def take_distrusted(self) -> list[tuple[str, int]]: ...
    def gained(self, name: str, epoch: int) -> None: ...
    def lost(self, name: str, epoch: int) -> None: ...
    def move(self, name: str, epoch: int) -> None: ...


def declared(singletons: Iterable[Singleton[Any]], *, app: str, release: str) -> list[Declared]:
    """Return the definitions of singletons as other processes find them in Redis."""
    return [
        Declared(
            one.name,
            json.dumps(
                {"app": app, "interval_ms": round(one.interval * 1000), "release": release},
                separators=(",", ":"),
            ),
        )
        for one in singletons
    ]


class Candidacy:
    """A candidate for the singletons of its app. It lives on the heartbeat (see ``heartbeat.Passenger``).

    Args:
        keys: The namespace.
        leases: Its leases.
        ttl: Seconds that they hold.
        interval: Seconds between rounds.
        declared: The singletons that it may host.
        app: The name of its app.
        host: Where they run; told on the worker's event loop.
        post: Runs a function there.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        keys: Keys,
        *,
        leases: Leases,
        ttl: float,
        interval: float,
        declared: Sequence[Declared],
        app: str,
        host: Host,
        post: Callable[..., None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keys, self._leases, self._ttl, self._interval = keys, leases, ttl, interval
        self._declared, self._app, self._host, self._post, self._clock = declared, app, host, post, clock
        self._names = sorted(one.name for one in declared)
        self._said = False
        self._released: set[tuple[str, int]] = set()
        self._answered = -1.0
        self._steady_at = 0.0
        self._ends: dict[str, float] = {}
        self._suspects: dict[str, float] = {}
        self._passed_over: dict[str, tuple[str, float]] = {}
        self._spread_of: Mapping[str, Member] = {}
        self._spreads: dict[frozenset[str], dict[str, str]] = {}
        self._wanted_at: list[float] = []

    async def round(
        self, connection: Connection, members: Mapping[str, Member], *, standing: bool
    ) -> float | None:
        """Renew what is held, take what is free, hand over what is another's; see ``Passenger``."""
        began = self._clock()
        if began - self._answered > 2 * self._interval:
            self._steady_at = began + self._interval
        for name, epoch in self._host.take_distrusted():
            if self._leases.epoch(name) == epoch:
                self._leases.forget(name)
        await self._renew(connection)
        self._wanted_at = []
        if standing and not self._host.closing:
            await self._declare(connection)
            await self._take(connection, members)
            self._hand_over(members)
        self._answered = self._clock()
        return min(self._wanted_at, default=None)

    async def give_up(self, connection: Connection, *, why: str) -> None:
        """Give everything up at once; on a shutdown each is given up when its code is done, instead."""
        if why == SHUTDOWN:
            return
        held = self._held()
        for name, epoch in held.items():
            log.warning("gives up a singleton", singleton=name, reason=why)
            self._post(self._host.lost, name, epoch)
        await self._leases.release(connection, held)

    async def close(self) -> None:
        """End what runs on the heartbeat's loop: nothing does."""

    async def release(self, connection: Connection, name: str, epoch: int) -> None:
        """Give one lease up, and tell those who may take it. Call it on the heartbeat's loop.

        Raises:
            Unreachable, RedisRefused: It ends by itself, or others find it by themselves.
        """
        if self._leases.epoch(name) == epoch:
            self._released.add((name, epoch))
            await self._leases.release(connection, [name])
        members = read_members(await connection.command("HGETALL", self._keys.fleet_members))
        others = [m.id for m in members.values() if name in m.singletons and m.id != self._leases.owner]
        await inbox.post_many(connection, self._keys, others, inbox.Kind.FLEET, {"freed": name})

    def _held(self) -> dict[str, int]:
        found = {name: self._leases.epoch(name) for name in self._leases.names}
        return {name: epoch for name, epoch in found.items() if epoch is not None}

    async def _renew(self, connection: Connection) -> None:
        before, self._released = self._held(), set()
        try:
            await self._leases.renew(connection)
        finally:  # some may be lost though others were not answered
            after = self._held()
            for name, epoch in before.items():
                if after.get(name) != epoch and (name, epoch) not in self._released:
                    log.warning("the lease of a singleton was lost", singleton=name, epoch=epoch)
                    self._post(self._host.lost, name, epoch)

    async def _acquire(self, connection: Connection, names: list[str]) -> None:
        if not names:
            return
        before = self._held()
        try:
            await self._leases.acquire(connection, names)
        finally:
            for name, epoch in self._held().items():
                if before.get(name) != epoch:
                    self._ends.pop(name, None)
                    self._post(self._host.gained, name, epoch)

    async def _declare(self, connection: Connection) -> None:
        if self._said:
            return
        apps = await connection.run(singleton_declare(self._keys, declared=self._declared))
        for one, app in zip(self._declared, apps, strict=True):
            if app and app != self._app:
                log.warning(
                    "a singleton was declared by an app of another name; if it is another app, give them "
                    "different names, or it is hosted by either",
                    singleton=one.name,
                    app=self._app,
                    other=app,
                )
        self._said = True

    # Taking.

    async def _take(self, connection: Connection, members: Mapping[str, Member]) -> None:
        free = [
            name for name in self._names if self._leases.epoch(name) is None and not self._host.busy(name)
        ]
        plan = self._spread(members, frozenset())
        mine = [name for name in free if plan.get(name) == self._leases.owner]
        await self._acquire(connection, mine)
        for name in mine:
            if self._leases.epoch(name) is None:
                self._wanted_at.append(self._leases.free_at(name) + _SOON)
        await self._look_after(connection, members, [name for name in free if name not in mine])

    async def _look_after(
        self, connection: Connection, members: Mapping[str, Member], names: list[str]
    ) -> None:
        """Take what is meant for others, and they do not take."""
        await self._look(connection, names)
        now = self._clock()
        ended = [name for name in names if self._ends.get(name, now + 1) <= now]
        for name in names:
            if now < self._ends.get(name, 0.0) < now + self._interval:  # its owner is late
                self._wanted_at.append(self._ends[name] + _SOON)
        if ended and now < self._steady_at:
            self._wanted_at.append(self._steady_at)
            return
        without = self._spread(members, self._suspected(members, now))
        late = self._ttl * LATE
        taken = [
            name
            for name in ended
            if without.get(name) == self._leases.owner or now - self._ends[name] >= late
        ]
        self._wanted_at += [self._ends[name] + late + _SOON for name in ended if name not in taken]
        await self._take_out_of_turn(connection, members, taken)

    async def _take_out_of_turn(
        self, connection: Connection, members: Mapping[str, Member], names: list[str]
    ) -> None:
        await self._acquire(connection, names)
        plan = self._spread(members, frozenset())
        now = self._clock()
        for name in names:
            if self._leases.epoch(name) is None:
                self._ends[name] = self._leases.free_at(name)
            elif (other := plan.get(name)) is not None:
                self._passed_over[name] = other, now + _PASSED_OVER * self._ttl

    async def _look(self, connection: Connection, names: list[str]) -> None:
        """Find out when leases end: those that end, as far as is known, before the next round."""
        asked = self._clock()
        due = [name for name in names if self._ends.get(name, 0.0) < asked + self._interval]
        seen = await connection.run_many([lease_look(self._keys.lease(name)) for name in due])
        now = self._clock()
        for name, one in zip(due, seen, strict=True):
            if isinstance(one, CapelinError):
                self._wanted_at.append(now + self._interval / 4)
            elif not one.owner:
                self._ends[name] = min(now, self._ends.get(name, now))
            else:
                self._ends[name] = now + one.expires_in / 1000
                if one.expires_in > 0:
                    self._suspects.pop(one.owner, None)
                else:
                    self._suspects[one.owner] = now + self._ttl

    def _suspected(self, members: Mapping[str, Member], now: float) -> frozenset[str]:
        self._suspects = {
            owner: until for owner, until in self._suspects.items() if owner in members and now < until
        }
        return frozenset(self._suspects)

    # Handing over.

    def _hand_over(self, members: Mapping[str, Member]) -> None:
        plan = self._spread(members, frozenset())
        now = self._clock()
        for name, epoch in self._held().items():
            other = plan.get(name)
            if other is None or other == self._leases.owner:
                self._passed_over.pop(name, None)
                continue
            passed_over, until = self._passed_over.get(name, ("", 0.0))
            if other != passed_over or now >= until:
                self._post(self._host.move, name, epoch)

    def _spread(self, members: Mapping[str, Member], without: frozenset[str]) -> dict[str, str]:
        if members is not self._spread_of:
            self._spread_of, self._spreads = members, {}
        plan = self._spreads.get(without)
        if plan is None:
            candidates: dict[str, list[str]] = {}
            for member in members.values():
                for name in member.singletons:
                    candidates.setdefault(name, []).append(member.id)
            plan = self._spreads[without] = spread(
                {name: [one for one in ids if one not in without] or ids for name, ids in candidates.items()}
            )
        return plan
