"""The named leases that this process holds, and until when it may believe that it does.

A lease ends by Redis's clock, which this process cannot read at every moment. It counts by its own monotonic
clock from before the call that granted or renewed the lease was sent: that is never later than the end that
Redis wrote down, and a twentieth of the TTL is left for clocks that do not run alike. Nobody else can hold
the lease before ``until``; after it, this process stops by itself, without being told. What it writes
nevertheless is refused by the epoch, which travels with every write.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from capelin import lua
from capelin.connection import Connection
from capelin.keys import Keys

_SAFETY = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """A lease that is held.

    Attributes:
        epoch: Grows with every owner; the fencing token.
        until: The moment (``time.monotonic``, s) at which it cannot be trusted any more.
    """

    name: str
    epoch: int
    until: float


class Leases:
    """Takes, renews and releases leases for one owner.

    It is used on one event loop (the heartbeat's); ``holds`` and ``holding`` answer in any thread.

    Args:
        keys: The namespace.
        owner: The worker's id.
        ttl: ms that a lease holds without renewal.
        clock: Monotonic seconds.
    """

    def __init__(
        self, keys: Keys, *, owner: str, ttl: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.owner = owner
        self._keys, self._ttl, self._clock = keys, ttl, clock
        self._held: dict[str, Holding] = {}
        self._free_at: dict[str, float] = {}

    @property
    def names(self) -> list[str]:
        """The leases that are held, or were until a moment ago: whoever renews them finds out."""
        return list(self._held)

    def holding(self, name: str) -> Holding | None:
        """Return the lease as long as it can be trusted, else None."""
        held = self._held.get(name)
        return held if held is not None and self._clock() < held.until else None

    def holds(self, name: str) -> bool:
        """Whether a lease can be trusted at this moment."""
        return self.holding(name) is not None

    def epoch(self, name: str) -> int | None:
        """Return the epoch of a lease that is held, or was until a moment ago; None otherwise."""
        held = self._held.get(name)
        return None if held is None else held.epoch

    def free_at(self, name: str) -> float:
        """The moment (monotonic) from which it may be worth trying to take a lease; 0 for one never tried."""
        return self._free_at.get(name, 0.0)

    def forget(self, name: str) -> None:
        """Stop trusting a lease without a word to Redis, where it ends by itself."""
        self._held.pop(name, None)

    async def acquire(self, connection: Connection, names: Iterable[str]) -> list[Holding]:
        """Try to take leases that are free, or already ours; one that was ours gets a new epoch.

        Returns:
            Those that are held now.

        Raises:
            Unreachable, RedisRefused: The first that failed; the others count.
        """
        wanted = list(names)
        sent = self._clock()
        replies = await connection.run_many(
            [lua.lease_acquire(self._keys.lease(name), owner=self.owner, ttl=self._ttl) for name in wanted]
        )
        gained: list[Holding] = []
        failure: Exception | None = None
        for name, reply in zip(wanted, replies, strict=True):
            if isinstance(reply, Exception):
                failure = failure or reply
            elif reply.epoch:
                self._held[name] = held = Holding(name=name, epoch=reply.epoch, until=self._until(sent))
                gained.append(held)
            else:
                self._free_at[name] = self._clock() + reply.expires_in / 1000
        if failure is not None:
            raise failure
        return gained

    async def renew(self, connection: Connection) -> list[str]:
        """Renew every lease that is held, also one that ended and that nobody took over.

        Returns:
            Names of those that are somebody else's now.

        Raises:
            Unreachable, RedisRefused: The first that failed; the others count.
        """
        held = list(self._held.values())
        if not held:
            return []
        sent = self._clock()
        replies = await connection.run_many(
            [
                lua.lease_renew(self._keys.lease(one.name), owner=self.owner, epoch=one.epoch, ttl=self._ttl)
                for one in held
            ]
        )
        lost: list[str] = []
        failure: Exception | None = None
        for one, reply in zip(held, replies, strict=True):
            if isinstance(reply, Exception):
                failure = failure or reply
            elif not reply:
                self.forget(one.name)
                lost.append(one.name)
            elif one.name in self._held:  # else it was released meanwhile
                self._held[one.name] = Holding(name=one.name, epoch=one.epoch, until=self._until(sent))
        if failure is not None:
            raise failure
        return lost

    async def release(self, connection: Connection, names: Iterable[str]) -> None:
        """Give leases up at once; they are not trusted from the moment of the call.

        Raises:
            Unreachable, RedisRefused: The first that failed; such a lease ends by itself.
        """
        held = [one for name in names if (one := self._held.pop(name, None)) is not None]
        for reply in await connection.run_many(
            [lua.lease_release(self._keys.lease(one.name), owner=self.owner, epoch=one.epoch) for one in held]
        ):
            if isinstance(reply, Exception):
                raise reply

    def _until(self, sent: float) -> float:
        return sent + self._ttl / 1000 * _SAFETY
