"""Who leads: one candidate of the namespace, by a lease, for as long as it can be trusted.

``docs/leadership.md`` says in prose, and in a picture, when a process believes that it leads, when it stops,
and by which clock. The lease lives on the heartbeat, in a thread that the app's code cannot block; so does
all that a leader does, which needs none of the app's code.
"""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

import structlog

from capelin._backoff import Backoff
from capelin.connection import Connection
from capelin.errors import CapelinError
from capelin.keys import LEADER, Keys
from capelin.scheduler.clock import RedisClock
from capelin.scheduler.firing import Deposed, Firing
from capelin.scheduler.leases import Holding, Leases
from capelin.scheduler.releases import Releases
from capelin.settings import Settings
from capelin.tracer import Tracer

if TYPE_CHECKING:
    from capelin.workers.fleet import Member

log = structlog.get_logger("capelin.scheduler")

_SOON = 0.005


class Leadership:
    """A candidate: it stands, leads, and gives up. It lives on the heartbeat (see ``heartbeat.Passenger``).

    Args:
        keys: The namespace.
        settings: Times and limits.
        owner: The worker's id.
        tracer: Traces the ticks that it fires, if anybody does.
    """

    def __init__(self, keys: Keys, settings: Settings, *, owner: str, tracer: Tracer | None = None) -> None:
        self._keys, self._settings, self._owner, self._tracer = keys, settings, owner, tracer
        self._leases = Leases(keys, owner=owner, ttl=int(settings.lease_ttl * 1000))
        self._members: dict[str, tuple[str, str]] = {}
        self._changed = asyncio.Event()
        self._leading: asyncio.Task[None] | None = None

    def leads(self) -> bool:
        """Whether this process leads, and may believe it at this moment. Any thread may ask."""
        return self._leases.holds(LEADER)

    def holding(self) -> Holding | None:
        """Return the lease, while it can be trusted."""
        return self._leases.holding(LEADER)

    async def round(
        self, connection: Connection, members: Mapping[str, "Member"], *, standing: bool
    ) -> float | None:
        """Keep the lease, or take it if it is free; see ``Passenger``."""
        self._members = {member.id: (member.app, member.release) for member in members.values()}
        if LEADER in self._leases.names:
            if await self._leases.renew(connection):
                log.warning("leads no more: somebody else does")
                await self._end()
        elif standing:  # a round comes when the lease ends, and when somebody says that a member left
            for held in await self._leases.acquire(connection, [LEADER]):
                log.info("leads the scheduler", epoch=held.epoch)
        self._lead(connection)
        self._changed.set()
        if not standing or LEADER in self._leases.names:
            return None
        return self._leases.free_at(LEADER) + _SOON

    async def give_up(self, connection: Connection, *, why: str) -> None:
        """Lead no more, and let another lead at once."""
        if LEADER not in self._leases.names:
            return
        log.info("gives up the lead", reason=why)
        try:
            await self._leases.release(connection, [LEADER])
        finally:
            await self._end()

    async def close(self) -> None:
        """End what runs on the heartbeat's loop."""
        await self._end()

    def _lead(self, connection: Connection) -> None:
        """See to it that somebody who holds the lease leads, also after an outage in which nobody took it."""
        if self._leading is not None and self._leading.done() and not self._leading.cancelled():
            if (error := self._leading.exception()) is not None:
                log.error("the scheduler failed; it starts again", exc_info=error)
            self._leading = None
        if self.leads() and self._leading is None:
            self._leading = asyncio.get_running_loop().create_task(
                self._fire(connection), name="capelin leader"
            )

    async def _end(self) -> None:
        self._leases.forget(LEADER)
        if self._leading is not None:
            self._leading.cancel()
            await asyncio.wait([self._leading])
            self._leading = None

    async def _fire(self, connection: Connection) -> None:
        """Lead for as long as the lease can be trusted."""
        firing = Firing(
            connection,
            self._keys,
            self._settings,
            owner=self._owner,
            clock=RedisClock(),
            tracer=self._tracer,
        )
        releases = Releases(connection, self._keys, owner=self._owner)
        backoff = Backoff(first=0.05, most=1.0)
        while (held := self.holding()) is not None:
            self._changed.clear()
            try:
                await releases.settle(held.epoch, self._members)
                wait = await firing.turn(held.epoch)
            except Deposed:
                log.warning("leads no more: what it wrote was refused")
                self._leases.forget(LEADER)
                return
            except CapelinError as error:
                log.warning("a turn of the scheduler failed; trying again", error=str(error))
                await backoff.sleep()
                continue
            backoff.reset()
            try:
                async with asyncio.timeout(wait):
                    await self._changed.wait()
            except TimeoutError:
                pass
