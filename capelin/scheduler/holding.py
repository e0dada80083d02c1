"""What a singleton's leader writes to Redis: fenced, and sent again through an outage."""

from collections.abc import Callable
from typing import TypeVar

from capelin._backoff import Backoff
from capelin.connection import Connection
from capelin.errors import LeadershipLost, Unreachable
from capelin.keys import Keys
from capelin.lua import Call
from capelin.lua.singletons import Note, singleton_aside, singleton_begin, singleton_note, singleton_save
from capelin.scheduler.leases import Leases

T = TypeVar("T")

_LONGEST_ERROR = 2000


class Hold:
    """One holding of a singleton's lease, as its code sees it; the ``Holder`` of its leader.

    The fence in Redis decides what may be written. Besides that nothing is written once ``over`` is set, so
    that a run which went on after its end cannot write with an epoch that its successor here may share.

    Args:
        connection: The worker's.
        keys: The namespace.
        name: The singleton's.
        epoch: Of the lease.
        leases: Knows until when it can be trusted.
        refused: Called when the fence has refused something.
    """

    def __init__(
        self,
        connection: Connection,
        keys: Keys,
        *,
        name: str,
        epoch: int,
        leases: Leases,
        refused: Callable[[], None],
    ) -> None:
        self.name, self.epoch, self.over = name, epoch, False
        self._connection, self._keys, self._leases, self._refused = connection, keys, leases, refused
        self._number = 0

    @property
    def held(self) -> bool:
        """Whether the lease can be trusted at this moment."""
        return not self.over and self.until is not None

    @property
    def until(self) -> float | None:
        """The moment (monotonic) until which it can be trusted, or None."""
        holding = self._leases.holding(self.name)
        return holding.until if holding is not None and holding.epoch == self.epoch else None

    async def load(self) -> bytes | None:
        """Note the new holder, and return what was saved last."""
        call = singleton_begin(self._keys, self.name, owner=self._leases.owner, epoch=self.epoch)
        loaded = await self._fenced(call)
        return None if loaded is None else loaded.state

    async def save(self, text: bytes) -> None:
        """Write the state; `LeadershipLost` if that is refused."""
        self._number += 1
        call = singleton_save(
            self._keys,
            self.name,
            owner=self._leases.owner,
            epoch=self.epoch,
            number=self._number,
            text=text,
        )
        await self._fenced(call)

    async def beat(self) -> None:
        """Give a sign of life; `LeadershipLost` if that is refused."""
        await self._note(Note.BEAT, "")

    async def ran(self) -> None:
        """Count a run that returned."""
        await self._note(Note.RAN, "")

    async def failed(self, error: BaseException) -> None:
        """Count a run that raised an error."""
        text = f"{type(error).__name__}: {error}"
        await self._note(Note.FAILED, text[:_LONGEST_ERROR])

    async def set_aside(self) -> None:
        """Keep a state that cannot be read for people to look at."""
        await self._fenced(singleton_aside(self._keys, self.name, owner=self._leases.owner, epoch=self.epoch))

    async def _note(self, what: Note, error: str) -> None:
        call = singleton_note(
            self._keys, self.name, owner=self._leases.owner, epoch=self.epoch, what=what, error=error
        )
        await self._fenced(call, again=what is Note.BEAT)

    async def _fenced(self, call: Call[T], *, again: bool = True) -> T:
        backoff = Backoff()
        while not self.over:
            try:
                reply = await self._connection.run(call)
            except Unreachable:
                if not again:
                    raise
                if not self.held:
                    break
                await backoff.sleep()
                continue
            if not reply:
                self._refused()
                break
            return reply
        raise LeadershipLost(singleton=self.name, fencing_token=self.epoch)
