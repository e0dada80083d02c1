"""What a connection holds once it is used: its servers and everything that waits on wires of its own."""

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, Awaitable, Callable

from capelin.connection.dial import Dialler
from capelin.connection.network import Network, OneServer
from capelin.connection.popping import Popper
from capelin.connection.promotion import Promoted
from capelin.connection.reading import Reader
from capelin.connection.subscribing import Subscriber
from capelin.connection.urls import Login, Target
from capelin.connection.wire import Wire


class Books:
    """Belongs to one event loop of one process, from its making on.

    Args:
        network: The servers.
        url: The URL as it may be printed.
        interval: As in `Subscriber`.
        at_end: Called when the event loop ends: the last moment at which sockets can be closed.
    """

    def __init__(
        self, network: Network, *, url: str, interval: float, at_end: Callable[[], Awaitable[None]]
    ) -> None:
        self.network = network
        self.popper = Popper(network, url=url)
        self.reader = Reader(network, url=url)
        self.subscriber = Subscriber(network, url=url, interval=interval)
        self._loop = asyncio.get_running_loop()
        self._pid = os.getpid()
        self._loop_ended = False
        # Event loops end the async generators that were begun in them, before they close.
        self._guard = self._end_with_loop(at_end)
        with contextlib.suppress(StopIteration):
            self._guard.asend(None).send(None)

    @property
    def usable_here(self) -> bool:
        """Whether this is the event loop and the process that they belong to."""
        return self._loop is asyncio.get_running_loop() and self._pid == os.getpid()

    async def close(self) -> None:
        """Close every wire. What waits on one ends with `Unreachable`."""
        await self.popper.close()
        await self.reader.close()
        await self.subscriber.close()
        await self.network.close()
        if not self._loop_ended:
            await self._guard.aclose()

    async def _end_with_loop(self, at_end: Callable[[], Awaitable[None]]) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            self._loop_ended = True
            await at_end()


def open_network(
    target: Target, *, socket_timeout: float, connect_timeout: float, patience: float
) -> Network:
    """The servers that a URL names; no wire is opened yet.

    Raises:
        ConfigurationError: `memory://` without the extra that it needs.
    """

    def dialler(login: Login, db: int) -> Dialler:
        return Dialler(
            url=target.url,
            login=login,
            db=db,
            client_name=target.client_name,
            tls=target.tls,
            connect_timeout=connect_timeout,
            silence=socket_timeout,
        )

    data = dialler(target.login, target.db)
    match target.kind:
        case "memory":
            from capelin.connection import memory

            memory.server(target.service)

            async def dial() -> Wire:
                wire = memory.MemoryWire(target.service)
                await wire.open()
                return wire

            return OneServer(dial, url=target.url, name=target.url)
        case "cluster":
            # It imports redis-py, which takes as long as all of the rest.
            from capelin.connection.cluster import ClusterNetwork

            return ClusterNetwork(data, seeds=target.addresses, patience=patience)
        case "sentinel":
            ask = dialler(target.sentinel_login, 0)
            return Promoted(target.addresses, target.service, ask=ask, data=data)
        case "redis":
            [address] = target.addresses

            async def dial_server() -> Wire:
                return await data.open(address)

            return OneServer(dial_server, url=target.url, name=str(address))
