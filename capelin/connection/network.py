"""Where the servers are. A `Network` opens wires and carries errands to the right one; this module has those with one server.

Plain Redis, Sentinel and the in-process server differ only in how a wire is opened, so they share `OneServer`.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from capelin.connection.delivery import Errand, deliver
from capelin.connection.dial import Dialler, refused
from capelin.connection.urls import Address
from capelin.connection.wire import Refusal, Wire
from capelin.errors import ConfigurationError, RedisRefused, Unreachable


class Network(ABC):
    """The servers behind one URL.

    Attributes:
        name: What to call them in an error.
    """

    name: str

    @abstractmethod
    async def carry(self, errands: Sequence[Errand]) -> list[Any]:
        """The reply to each errand; never raises for one: an exception in the place of a reply that was not read."""

    @abstractmethod
    def group(self, key: str) -> int:
        """Keys of one group may be named by one command."""

    @abstractmethod
    async def open(self, key: str | None) -> Wire:
        """A wire of the caller's own, to the server that has this key."""

    def learn(self, refusal: Refusal) -> None:  # noqa: B027 -- only a Cluster has something to learn
        """Take in a redirection."""

    def doubt(self) -> None:  # noqa: B027 -- only a Cluster keeps a map
        """A wire was lost: find the servers anew before the next errand."""

    @abstractmethod
    async def masters(self) -> list[str]:
        """Names of the servers that hold data."""

    @abstractmethod
    async def carry_to(self, master: str, errands: Sequence[Errand]) -> list[Any]:
        """As `carry`, to one master."""

    @abstractmethod
    async def close(self) -> None:
        """Close the shared wires; those from `open` are their owners' business."""


class Line:
    """One shared wire, opened when it is first needed and again after it was lost."""

    def __init__(self, dial: Callable[[], Awaitable[Wire]]) -> None:
        self._dial = dial
        self._lock = asyncio.Lock()
        self.wire: Wire | None = None

    async def get(self) -> Wire:
        """The wire, connected.

        Raises:
            Unreachable, RedisRefused, ConfigurationError: As `Dialler.open`.
        """
        async with self._lock:
            if self.wire is None or self.wire.lost is not None:
                self.wire = await self._dial()
            return self.wire

    async def close(self) -> None:
        if self.wire is not None:
            await self.wire.close()


class OneServer(Network):
    """All keys on one server."""

    def __init__(self, dial: Callable[[], Awaitable[Wire]], *, url: str, name: str) -> None:
        self._dial, self._url, self.name = dial, url, name
        self._line = Line(dial)

    async def carry(self, errands: Sequence[Errand]) -> list[Any]:
        wire = self._line.wire
        if wire is None or wire.lost is not None:
            try:
                wire = await self._line.get()
            except (Unreachable, RedisRefused) as error:
                return [error, *(again(error) for _ in errands[1:])]
        replies = await deliver(wire, errands, url=self._url)
        for reply in replies:
            if reply.__class__ is Refusal and "READONLY" in reply.message:
                wire.drop("the server is a replica now")  # the next call looks for the master anew
                break
        return replies

    def group(self, key: str) -> int:  # noqa: ARG002 -- one server has all keys
        return 0

    async def open(self, key: str | None) -> Wire:  # noqa: ARG002
        return await self._dial()

    async def masters(self) -> list[str]:
        return [(await self._line.get()).name]

    async def carry_to(self, master: str, errands: Sequence[Errand]) -> list[Any]:  # noqa: ARG002
        return await self.carry(errands)

    async def close(self) -> None:
        await self._line.close()


def again(error: Unreachable | RedisRefused) -> Unreachable | RedisRefused:
    """A fresh instance for each caller: a raised exception collects the traceback of whoever raised it."""
    if isinstance(error, Unreachable):
        return Unreachable(url=error.url, cause=error.cause)
    return RedisRefused(message=error.message, script=error.script)


async def find_master(
    sentinels: Sequence[Address], service: str, *, ask: Dialler, data: Dialler, url: str
) -> Wire:
    """A wire to the master that the sentinels name, checked to be one.

    Raises:
        Unreachable: No sentinel answers, or the one they name does not say that it is the master (a failover is under way).
        ConfigurationError: A sentinel answers and knows no service of that name.
    """
    causes: list[str] = []
    unknown = False
    for sentinel in sentinels:
        try:
            wire = await ask.open(sentinel)
        except Unreachable as error:
            causes.append(error.cause)
            continue
        replies = await wire.send([("SENTINEL", "GET-MASTER-ADDR-BY-NAME", service)])
        await wire.close()
        if not replies or isinstance(replies[0], Refusal):
            causes.append(f"{sentinel}: {replies[0].message if replies else wire.lost}")
            continue
        if replies[0] is None:
            unknown = True
            continue
        host, port = replies[0]
        try:
            master = await data.open(Address(host.decode(), int(port)))
        except Unreachable as error:
            causes.append(error.cause)
            continue
        role = await master.send([("ROLE",)])
        if role and isinstance(role[0], Refusal) and role[0].code != "NOPERM":
            await master.close()
            raise refused(url, master.name, role[0])
        if role and (isinstance(role[0], Refusal) or role[0][0] == b"master"):
            return master
        causes.append(f"{master.name}: {master.lost or 'it is not the master (a failover may be under way)'}")
        await master.close()
    if unknown and not causes:
        raise ConfigurationError(f"{url}: no sentinel knows a service {service!r}; check the name after the last host")
    raise Unreachable(url=url, cause="; ".join(causes))
