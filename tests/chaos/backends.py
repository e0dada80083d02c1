"""What chaos runs on: plain Redis with an append-only file, a Sentinel trio, a Cluster of six.

Each server stands behind a relay of the network, and is known to clients by the relay's port.
"""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Final, Self

from capelin.keys import Keys
from capelin.settings import Settings
from tests.chaos.network import Network
from tests.support.cluster import ClusterNode, RedisCluster
from tests.support.ports import LOOPBACK
from tests.support.resp import RespError
from tests.support.sentinel import SERVICE, Sentinel
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until

KEPT: Final[Mapping[str, str | int]] = {
    "appendonly": "yes",
    "appendfsync": "always",
    "auto-aof-rewrite-percentage": 100,
    "repl-diskless-sync-delay": 0,
    "repl-timeout": 5,
    "repl-ping-replica-period": 1,
}
"""What was acknowledged survives the end of a server. Only a failover may lose what no replica had yet."""


SHARDS: Final = Settings().shards


def is_master(server: RedisServer) -> bool:
    """Whether a server answers and says that it is a master."""
    with contextlib.suppress(OSError, RespError):
        return server.answering and server.info("replication").get("role") == "master"
    return False


def follows(server: RedisServer) -> bool:
    """Whether a server answers, and follows its master."""
    with contextlib.suppress(OSError, RespError):
        return server.answering and server.info("replication").get("master_link_status") == "up"
    return False


class Backend(ABC):
    """Servers that can be broken. A subclass names itself, and starts them."""

    name: str
    fails_over = True
    """Whether a replica may take over, and lose what it had not got."""

    def __init__(self) -> None:
        self.network = Network()
        self._stack = contextlib.ExitStack()
        self._relays: dict[RedisServer, int] = {}

    @property
    @abstractmethod
    def url(self) -> str:
        """How clients find it, through the network."""

    @property
    @abstractmethod
    def servers(self) -> Sequence[RedisServer]:
        """All of them."""

    @abstractmethod
    def _start(self, stack: contextlib.ExitStack) -> None: ...

    @property
    def masters(self) -> list[RedisServer]:
        """Those that are masters now."""
        return [server for server in self.servers if is_master(server)]

    def shards_of(self, server: RedisServer, queue: str) -> set[str]:
        """The shards (`queue.number`) that a server serves now: here all."""
        del server
        return {f"{queue}.{number}" for number in range(SHARDS)}

    def relay(self, server: RedisServer) -> int:
        """The port under which clients know a server."""
        if server not in self._relays:
            self._relays[server] = self.network.before(server.port)
        return self._relays[server]

    async def whole(self, *, timeout: float = 60) -> None:
        """Return once every server runs and plays its part."""
        await wait_until(self._is_whole, description=f"{self.name} to be whole again", timeout=timeout)

    def _is_whole(self) -> bool:
        return all(server.answering for server in self.servers)

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.network)
            self._start(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


class AppendOnly(Backend):
    """One Redis with `appendonly yes` and `appendfsync always`."""

    name = "Redis with AOF"
    fails_over = False

    def __init__(self) -> None:
        super().__init__()
        self.server = RedisServer(config=KEPT)

    @property
    def url(self) -> str:
        return f"redis://{LOOPBACK}:{self.relay(self.server)}/0"

    @property
    def servers(self) -> Sequence[RedisServer]:
        return [self.server]

    def _start(self, stack: contextlib.ExitStack) -> None:
        stack.enter_context(self.server)


class SentinelTrio(Backend):
    """A master, a replica, and three sentinels of which two must agree."""

    name = "Sentinel"

    def __init__(self) -> None:
        super().__init__()
        self.pair = [RedisServer(config=KEPT) for _ in range(2)]
        self.sentinels: list[Sentinel] = []

    @property
    def url(self) -> str:
        return f"redis+sentinel://{','.join(sentinel.address for sentinel in self.sentinels)}/{SERVICE}"

    @property
    def servers(self) -> Sequence[RedisServer]:
        return self.pair

    def _start(self, stack: contextlib.ExitStack) -> None:
        first, second = self.pair
        for server in self.pair:
            stack.enter_context(server)
            server.configure({"replica-announce-ip": LOOPBACK, "replica-announce-port": self.relay(server)})
        second.command("REPLICAOF", LOOPBACK, self.relay(first))
        for _ in range(3):
            sentinel = Sentinel(self.relay(first), quorum=2)
            stack.callback(sentinel.stop)
            self.sentinels.append(sentinel)

    def _is_whole(self) -> bool:
        return (
            super()._is_whole()
            and len(self.masters) == 1
            and any(follows(server) for server in self.pair)
            and all(one.knows_replica() and one.knows_sentinels() == 2 for one in self.sentinels)
            and {one.master_port() for one in self.sentinels} == {self.relay(self.masters[0])}
        )


class ClusterOfSix(Backend):
    """Three masters with a replica each."""

    name = "Cluster"

    def __init__(self) -> None:
        super().__init__()
        self.cluster = RedisCluster(3, replicas=1, node_timeout=2, config=KEPT)

    @property
    def url(self) -> str:
        return f"redis+cluster://{','.join(f'{LOOPBACK}:{self.relay(node)}' for node in self.cluster.nodes)}"

    @property
    def servers(self) -> Sequence[ClusterNode]:
        return self.cluster.nodes

    def _start(self, stack: contextlib.ExitStack) -> None:
        stack.enter_context(self.cluster)
        for node in self.cluster.nodes:
            node.configure({"cluster-announce-ip": LOOPBACK, "cluster-announce-port": self.relay(node)})

    def replica_of(self, master: RedisServer) -> ClusterNode:
        """The node that follows a master."""
        port = str(self.relay(master))
        return next(
            node
            for node in self.cluster.running
            if node is not master and node.info("replication").get("master_port") == port
        )

    def shards_of(self, server: RedisServer, queue: str) -> set[str]:
        owned: list[tuple[int, int]] = []
        slots = server.command("CLUSTER", "SLOTS")
        for entry in slots if isinstance(slots, list) else []:
            match entry:
                case [int(first), int(last), [_, int(port), *_], *_] if port == self.relay(server):
                    owned.append((first, last))
                case _:
                    continue
        found: set[str] = set()
        for shard in super().shards_of(server, queue):
            slot = self.cluster.slot_of(Keys().shard(queue, int(shard.rpartition(".")[2])).lease)
            if any(first <= slot <= last for first, last in owned):
                found.add(shard)
        return found

    def _is_whole(self) -> bool:
        if not super()._is_whole() or len(self.masters) != 3:
            return False
        with contextlib.suppress(OSError, RespError):
            ports = {self.relay(node) for node in self.cluster.nodes}
            return all(self._sees_all(node, ports) for node in self.cluster.nodes) and all(
                follows(node) for node in self.cluster.nodes if not is_master(node)
            )
        return False

    def _sees_all(self, node: ClusterNode, ports: set[int]) -> bool:
        info = node.cluster_info()
        rows = [line.split() for line in str(node.command("CLUSTER", "NODES")).splitlines()]
        known = {int(row[1].split("@")[0].rpartition(":")[2]) for row in rows}
        healthy = all("fail" not in row[2] for row in rows)
        return info.get("cluster_state") == "ok" and known == ports and healthy


BACKENDS: Final[Mapping[str, Callable[[], Backend]]] = {
    "aof": AppendOnly,
    "sentinel": SentinelTrio,
    "cluster": ClusterOfSix,
}
