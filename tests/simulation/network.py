"""What is between a pod and Redis.

A connection keeps the order of its bytes, as TCP does; between connections there is none: what was sent over
one that lags may arrive after what was sent later over another. What a pod has written may still arrive when
the pod has given up, hung up, or died. A partition holds back what was sent until it heals.
"""

import asyncio
import random
from collections.abc import Callable
from contextvars import Context
from functools import partial
from typing import Any

from typing_extensions import override

from tests.simulation.loop import LANE, SimLoop
from tests.simulation.server import SimRedis
from tests.simulation.servers import Servers
from tests.simulation.session import Session

_LATENCY = (0.0001, 0.0008)
_SLOW = (0.01, 0.25)


class Weather:
    """How the network between one pod and Redis is.

    Attributes:
        partitioned: Nothing arrives, either way, until it heals.
        away_from: Ports of servers for which the same holds, while others can be reached.
        slow: The part of messages that take long.
        drop_requests: How many of the next writes are lost with their connection, before they arrive.
        drop_replies: How many of the next replies of scripts are lost with their connection.
        before: What happens just before a call leaves the pod: the call's SHA-1, and what, which clears it.
        delays: Seconds for which the next writes are on their way, and all behind them on their connection.
    """

    def __init__(self) -> None:
        self.partitioned = False
        self.away_from: set[int] = set()
        self.delays: list[float] = []
        self.slow = 0.0
        self.drop_requests = 0
        self.drop_replies = 0
        self.before: tuple[bytes, Callable[[], None]] | None = None
        self.healed: list[Callable[[], None]] = []

    def holds_back(self, port: int) -> bool:
        """Whether nothing arrives at a server, or from it."""
        return self.partitioned or port in self.away_from


class Transport(asyncio.Transport):
    """A pod's end of a connection."""

    def __init__(self, link: "Link") -> None:
        super().__init__()
        self._link = link

    @override
    def write(self, data: Any) -> None:
        self._link.sent(bytes(data))

    @override
    def abort(self) -> None:
        self._link.abort()

    @override
    def close(self) -> None:
        self._link.abort()

    @override
    def is_closing(self) -> bool:
        return self._link.closed

    @override
    def get_write_buffer_size(self) -> int:
        return 0


class Link:
    """One connection."""

    def __init__(
        self,
        network: "Network",
        pod: str,
        node: SimRedis,
        *,
        protocol: asyncio.Protocol,
        context: Context,
    ) -> None:
        self._network, self.pod, self.node = network, pod, node
        self._protocol, self._context = protocol, context
        self.session: Session = node.open(pod, self._reply)
        self.transport = Transport(self)
        self.closed = False  # at the pod's end
        self._last = {"up": 0.0, "down": 0.0}
        self._held: list[tuple[str, Callable[[], None]]] = []

    # The pod's end.

    def sent(self, data: bytes) -> None:
        if self.closed:
            return
        weather = self._network.weather(self.pod)
        if weather.before is not None and weather.before[0] in data:
            weather.before[1]()
        if weather.drop_requests:
            weather.drop_requests -= 1
            self._network.happened(self.pod, "request lost")
            self.break_()
            return
        self._carry("up", lambda: self.session.receive(data))

    def abort(self) -> None:
        """The pod hangs up. What it sent may still arrive before the news of it."""
        if self.closed:
            return
        self.closed = True
        self._network.links.discard(self)
        self._tell_pod(None)
        if self._network.random.random() < 0.5:
            self._carry("up", self.session.hang_up)
        else:
            self.node.later(self.session.hang_up)

    def vanish(self) -> None:
        """The pod's machine is gone, and nobody says so."""
        self.closed = True
        self._network.links.discard(self)

    # The server's end.

    def _reply(self, data: bytes) -> None:
        weather = self._network.weather(self.pod)
        if weather.drop_replies and self.session.script_name:
            weather.drop_replies -= 1
            self._network.happened(self.pod, f"reply lost: {self.session.script_name}")
            self.break_()
            return
        self._carry("down", lambda: self._received(data))

    def _received(self, data: bytes) -> None:
        if not self.closed:
            self._protocol.data_received(data)

    # Between them.

    def break_(self) -> None:
        """The connection breaks; what is on its way is lost."""
        if not self.closed:
            self.closed = True
            self._network.links.discard(self)
            self._tell_pod(ConnectionResetError("connection reset by peer"))
        self._held.clear()
        self.node.later(self.session.hang_up)

    def heal(self) -> None:
        """The partition is over: what was held back goes on its way."""
        held, self._held = self._held, []
        for way, arrive in held:
            self._carry(way, arrive)

    def _carry(self, way: str, arrive: Callable[[], None]) -> None:
        network = self._network
        weather = network.weather(self.pod)
        if weather.holds_back(self.node.port):
            self._held.append((way, arrive))
            network.holding.add(self)
            return
        takes = network.latency(self.pod)
        if weather.delays and way == "up":
            takes += weather.delays.pop()
            network.happened(self.pod, "request delayed")
        at = max(self._last[way] + 1e-6, network.loop.time() + takes)
        self._last[way] = at
        context = self._context if way == "down" else self.node.context
        network.loop.call_at(at, arrive, context=context)

    def _tell_pod(self, why: Exception | None) -> None:
        self._network.loop.call_soon(self._protocol.connection_lost, why, context=self._context)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class _Links:
    """Links in the order in which they were made."""

    def __init__(self) -> None:
        self._links: dict[int, Link] = {}

    def add(self, link: Link) -> None:
        self._links[id(link)] = link

    def discard(self, link: Link) -> None:
        self._links.pop(id(link), None)

    def of(self, pod: str | None = None, port: int | None = None) -> list[Link]:
        return [
            link
            for link in self._links.values()
            if pod in (None, link.pod) and port in (None, link.node.port)
        ]


class Network:
    """The network of a simulation.

    Args:
        seed: Decides about latencies.
        happened: Told of faults that took effect: the pod, and what.
    """

    def __init__(
        self, loop: SimLoop, servers: Servers, seed: int, *, happened: Callable[[str, str], None]
    ) -> None:
        self.loop, self.servers = loop, servers
        self.random = random.Random(seed ^ 0x11E7)  # noqa: S311 -- to be repeated, not to be secret
        self.happened = happened
        self.links = _Links()
        self.holding = _Links()
        self._weather: dict[str, Weather] = {}
        loop.connector = self.connect

    def weather(self, pod: str) -> Weather:
        return self._weather.setdefault(pod, Weather())

    def latency(self, pod: str) -> float:
        """Seconds for one message of a pod."""
        slow = self._weather[pod].slow if pod in self._weather else 0.0
        return self.random.uniform(*(_SLOW if slow and self.random.random() < slow else _LATENCY))

    async def connect(self, make: Callable[[], Any], host: str, port: int) -> tuple[Transport, Any]:
        """What `loop.create_connection` does."""
        pod = host.removesuffix(".sim")
        weather = self.weather(pod)
        while weather.holds_back(port):
            healed: asyncio.Future[None] = self.loop.create_future()
            weather.healed.append(partial(_settle, healed))
            await healed
        await asyncio.sleep(self.latency(pod))
        node = self.servers.at(port)
        if node is None:
            raise ConnectionRefusedError("Connect call failed")
        protocol = make()
        link = Link(self, pod, node, protocol=protocol, context=LANE.get().context())
        self.links.add(link)
        protocol.connection_made(link.transport)
        return link.transport, protocol

    # Faults.

    def cut(self, pod: str | None = None, port: int | None = None) -> int:
        """Break the connections of a pod, or to a server, or all."""
        links = self.links.of(pod, port)
        for link in links:
            link.break_()
        return len(links)

    def partition(self, pod: str, port: int | None = None) -> None:
        """Cut a pod off from all servers, or from one."""
        if port is None:
            self.weather(pod).partitioned = True
        else:
            self.weather(pod).away_from.add(port)

    def heal(self, pod: str) -> None:
        weather = self.weather(pod)
        weather.partitioned = False
        weather.away_from.clear()
        healed, weather.healed = weather.healed, []
        for tell in healed:
            tell()
        for link in self.holding.of(pod):
            self.holding.discard(link)
            link.heal()

    def hang_up_all(self, pod: str) -> None:
        """The pod's process is dead, and its kernel says so."""
        for link in self.links.of(pod):
            link.abort()

    def vanish_all(self, pod: str) -> None:
        """The pod's machine is dead."""
        for link in self.links.of(pod):
            link.vanish()
