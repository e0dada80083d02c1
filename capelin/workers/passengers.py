"""What else lives on a heartbeat: leases that are no shards', renewed in the worker's rhythm."""

import time
from collections.abc import Mapping, Sequence
from typing import Protocol

import structlog

from capelin.connection import Connection
from capelin.errors import CapelinError
from capelin.workers.fleet import Member

log = structlog.get_logger("capelin.worker")


class Passenger(Protocol):
    """One of them. Called on the heartbeat's loop."""

    async def round(
        self, connection: Connection, members: Mapping[str, Member], *, standing: bool
    ) -> float | None:
        """Renew what is held. If ``standing`` (the event loop makes progress, the worker stays), take what is
        free. Returns the moment (``time.monotonic``) by which it wants another round, if it matters.
        """
        ...

    async def give_up(self, connection: Connection, *, why: str) -> None:
        """Give up what is held, at once."""
        ...

    async def close(self) -> None:
        """The heartbeat ends: end what runs on its loop."""
        ...


class Passengers:
    """All of one heartbeat's. Their part of Redis may be away where the worker's is not: their failures are
    told, and stop nobody else.

    Args:
        soon: Seconds after which one that failed is asked again.
    """

    def __init__(self, passengers: Sequence[Passenger], *, soon: float) -> None:
        self._passengers, self._soon = passengers, soon

    async def round(
        self, connection: Connection, members: Mapping[str, Member], *, standing: bool
    ) -> float | None:
        """As ``Passenger.round``, for each; the earliest moment that one of them wants."""
        moments: list[float] = []
        for passenger in self._passengers:
            try:
                due = await passenger.round(connection, members, standing=standing)
            except CapelinError as error:
                log.warning("leases could not be looked after", error=str(error))
                due = time.monotonic() + self._soon
            if due is not None:
                moments.append(due)
        return min(moments, default=None)

    async def give_up(self, connection: Connection, *, why: str) -> None:
        """As ``Passenger.give_up``, for each."""
        for passenger in self._passengers:
            try:
                await passenger.give_up(connection, why=why)
            except CapelinError as error:
                log.warning("leases could not be given up; they end by themselves", error=str(error))

    async def close(self) -> None:
        """As ``Passenger.close``, for each."""
        for passenger in self._passengers:
            await passenger.close()
