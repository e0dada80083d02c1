"""Where the servers are: a `Network` opens wires and carries errands to the right one.

Plain Redis, Sentinel and the in-process server differ only in how a wire is opened, so they share
`OneServer`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from capelin.connection.confirming import Wish, deliver_confirmed
from capelin.connection.delivery import Begun, Errand, begin, deliver
from capelin.connection.refusals import Refusal, afresh
from capelin.connection.shared import Shared
from capelin.connection.wire import Wire
from capelin.errors import RedisRefused, Unreachable

Dial = Callable[[], Coroutine[Any, Any, Wire]]


class Network(ABC):
    """The servers behind one URL.

    Attributes:
        name: What to call them in an error.
    """

    name: str

    def begin(self, errands: Sequence[Errand]) -> Begun | None:  # noqa: ARG002
        """Send errands now, if that can be done without waiting for anything; `carry` then takes over."""
        return None

    @abstractmethod
    async def carry(
        self, errands: Sequence[Errand], begun: Begun | None = None, *, wish: Wish | None = None
    ) -> list[Any]:
        """As `deliver`, each errand to the server that has its key (any server when it has none).

        With a wish, as `deliver_confirmed`.
        """

    @abstractmethod
    async def carry_to(self, master: str, errands: Sequence[Errand]) -> list[Any]:
        """As `deliver`, to one of `masters`."""

    @abstractmethod
    async def masters(self) -> list[str]:
        """Names of the servers that hold data."""

    @abstractmethod
    async def open(self, key: str | None) -> Wire:
        """A wire of the caller's own, to the server that has this key (any server for None)."""

    @abstractmethod
    def group(self, key: str) -> int:
        """Keys of one group may be named by one command."""

    @abstractmethod
    def learn(self, refusal: Refusal) -> None:
        """Take in a redirection that came over a wire from `open`."""

    @abstractmethod
    def doubt(self) -> None:
        """A wire from `open` was lost: find the servers anew before the next errand."""

    @abstractmethod
    async def close(self) -> None:
        """Close the shared wires; those from `open` are their owners' business."""


class Line:
    """One shared wire: opened when it is first needed, and again after it was lost."""

    def __init__(self, dial: Dial, *, url: str) -> None:
        self._dial = dial
        self._opening = Shared(self._open, url=url)
        self.wire: Wire | None = None

    @property
    def up(self) -> Wire | None:
        """The wire, if it is open."""
        wire = self.wire
        return wire if wire is not None and wire.lost is None else None

    @property
    def down(self) -> bool:
        """Whether there is no wire, and none under way."""
        return self.up is None and not self._opening.under_way

    async def get(self) -> Wire:
        """The wire, opened if need be.

        Raises:
            Unreachable, RedisRefused, ConfigurationError: As `Dialler.open`.
        """
        return self.up or await self._opening.get()

    async def close(self) -> None:
        """Close the wire and whatever attempt to open it is under way."""
        await self._opening.close()
        if self.wire is not None:
            await self.wire.close()

    async def _open(self) -> Wire:
        self.wire = await self._dial()
        return self.wire


class OneServer(Network):
    """All keys on one server."""

    def __init__(self, dial: Dial, *, url: str, name: str) -> None:
        self._dial, self._url, self.name = dial, url, name
        self._line = Line(dial, url=url)

    def begin(self, errands: Sequence[Errand]) -> Begun | None:
        """As `Network.begin`."""
        wire = self._line.wire
        return None if wire is None or wire.lost is not None else begin(wire, errands)

    async def carry(
        self, errands: Sequence[Errand], begun: Begun | None = None, *, wish: Wish | None = None
    ) -> list[Any]:
        """As `Network.carry`."""
        wire = self._line.up if begun is None else begun.wire
        if wire is None:
            try:
                wire = await self._line.get()
            except (Unreachable, RedisRefused) as error:
                return [afresh(error) for _ in errands]
        if wish is not None:
            replies = await deliver_confirmed(wire, errands, wish, url=self._url)
        else:
            replies = await deliver(wire, errands, url=self._url, begun=begun)
        for reply in replies:
            if reply.__class__ is Refusal and reply.says("READONLY"):
                wire.drop("it is a replica now")  # so that the next call looks for the master
                break
        return replies

    async def carry_to(self, master: str, errands: Sequence[Errand]) -> list[Any]:  # noqa: ARG002
        """As `Network.carry_to`."""
        return await self.carry(errands)

    async def masters(self) -> list[str]:
        """As `Network.masters`."""
        return [(await self._line.get()).name]

    async def open(self, key: str | None) -> Wire:  # noqa: ARG002 -- the one server has all keys
        """As `Network.open`."""
        return await self._dial()

    def group(self, key: str) -> int:  # noqa: ARG002 -- the one server has all keys
        """As `Network.group`."""
        return 0

    def learn(self, refusal: Refusal) -> None:
        """As `Network.learn`: nobody redirects."""

    def doubt(self) -> None:
        """As `Network.doubt`: the address is asked for at each connect."""

    async def close(self) -> None:
        """As `Network.close`."""
        await self._line.close()
