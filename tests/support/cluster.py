"""A real Redis Cluster on loopback: masters, replicas if asked, nodes that die, slots that move."""

import contextlib
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from tests.support.ports import LOOPBACK, free_port
from tests.support.resp import Reply, RespError, parse_info, texts
from tests.support.routing import ClusterConnection
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until_sync

SLOTS = 16_384


class ClusterNode(RedisServer):
    """One node of a `RedisCluster`."""

    def _extra_options(self) -> dict[str, str | int]:
        # The default bus port is the port plus 10,000, which may well be taken.
        return {"cluster-port": free_port()}

    @property
    def node_id(self) -> str:
        """The node's name in the cluster: 40 hex digits."""
        return str(self.command("CLUSTER", "MYID"))

    def cluster_info(self) -> dict[str, str]:
        """CLUSTER INFO as field to value."""
        return parse_info(self.command("CLUSTER", "INFO"))


class SlotMigration:
    """One slot on its way from one master to another, a step at a time, as an operator's reshard does it.

    Between the steps clients meet what a live reshard shows them: `ASK` for keys that have gone, `TRYAGAIN`
    for commands whose keys stand on both sides, and `MOVED` at the end.
    """

    def __init__(self, cluster: "RedisCluster", slot: int, source: ClusterNode, target: ClusterNode) -> None:
        self.slot, self.source, self.target = slot, source, target
        self._cluster = cluster

    def begin(self) -> None:
        """Mark the slot as importing and migrating; no key moves yet."""
        self.target.command("CLUSTER", "SETSLOT", self.slot, "IMPORTING", self.source.node_id)
        self.source.command("CLUSTER", "SETSLOT", self.slot, "MIGRATING", self.target.node_id)

    def remaining(self) -> list[str]:
        """Keys that are still at the source."""
        return texts(self.source.command("CLUSTER", "GETKEYSINSLOT", self.slot, 1_000_000))

    def move(self, *keys: str, count: int = 1) -> list[str]:
        """Move these keys, or `count` of the slot's; returns those that moved, none when it is empty."""
        chosen = list(keys) or texts(self.source.command("CLUSTER", "GETKEYSINSLOT", self.slot, count))
        if chosen:
            self.source.command("MIGRATE", LOOPBACK, self.target.port, "", 0, 10_000, "KEYS", *chosen)
        return chosen

    def finish(self) -> None:
        """Move what is left and hand the slot over; every node knows of it when this returns."""
        target = self.target.node_id
        while True:
            while self.move(count=100):
                pass
            try:
                # The target first: were the source to give up the slot before, nobody would own it for a
                # moment.
                self.target.command("CLUSTER", "SETSLOT", self.slot, "NODE", target)
                self.source.command("CLUSTER", "SETSLOT", self.slot, "NODE", target)
            except RespError as error:
                # A client may have written a key to the source between the last move and the hand-over.
                if "still hold keys" not in str(error):
                    raise
            else:
                break
        for node in self._cluster.running_masters:
            node.command("CLUSTER", "SETSLOT", self.slot, "NODE", target)

    def run(self) -> None:
        """All steps, one after the other."""
        self.begin()
        self.finish()


class RedisCluster:
    """A cluster that is ready to serve all slots when `start` returns.

    Args:
        masters: at least 3 for one to be outvoted when it dies.
        replicas: of each master.
        node_timeout: seconds without an answer until a node counts as failed.
        config: options for every node.

    Example:
        with RedisCluster() as cluster:
            cluster.migrate_slot(cluster.slot_of("{q:0}:meta"), cluster.masters[1]).run()
    """

    def __init__(
        self,
        masters: int = 3,
        *,
        replicas: int = 0,
        node_timeout: float = 5,
        config: Mapping[str, str | int] | None = None,
    ) -> None:
        options: dict[str, str | int] = {
            "cluster-enabled": "yes",
            "cluster-config-file": "nodes.conf",
            "cluster-node-timeout": int(node_timeout * 1000),
            "cluster-replica-validity-factor": 0,
            "repl-diskless-sync-delay": 0,
            **(config or {}),
        }
        self.masters = [ClusterNode(config=options) for _ in range(masters)]
        self.replicas = [ClusterNode(config=options) for _ in range(masters * replicas)]

    @property
    def nodes(self) -> list[ClusterNode]:
        """Masters, then replicas, as they were at the start."""
        return [*self.masters, *self.replicas]

    @property
    def running(self) -> list[ClusterNode]:
        """The nodes whose process lives."""
        return [node for node in self.nodes if node.running]

    @property
    def running_masters(self) -> list[ClusterNode]:
        """The living nodes that are masters now, after any failover."""
        return [node for node in self.running if node.info("replication").get("role") == "master"]

    @property
    def url(self) -> str:
        """`redis+cluster://127.0.0.1:<port>` of the first node that runs."""
        return f"redis+cluster://{LOOPBACK}:{self.running[0].port}"

    def start(self) -> Self:
        """Start the nodes, hand out the slots, and return when every node sees the cluster as whole."""
        try:
            for node in self.nodes:
                node.start()
            self._join()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End every node and remove its folder."""
        with contextlib.ExitStack() as stack:
            for node in self.nodes:
                stack.callback(node.stop)

    def flush(self) -> None:
        """Remove every key and every loaded script."""
        for node in self.running_masters:
            node.flush()

    def keys(self) -> set[str]:
        """Every key of the cluster."""
        return set[str]().union(*(node.keys() for node in self.running_masters))

    def connect(self) -> ClusterConnection:
        """A bare connection for looking at the cluster, whichever node has what is asked for."""
        return ClusterConnection(self)

    def command(self, *words: str | bytes | float) -> Reply:
        """Run one command on a connection of its own, where its key is."""
        with self.connect() as redis:
            return redis(*words)

    def slot_of(self, key: str) -> int:
        """The slot of a key."""
        slot = self.running[0].command("CLUSTER", "KEYSLOT", key)
        if not isinstance(slot, int):
            raise TypeError(f"CLUSTER KEYSLOT answered {slot!r}")
        return slot

    def owner_of(self, slot: int) -> ClusterNode:
        """The master that serves a slot now."""
        ranges = self.running[0].command("CLUSTER", "SLOTS")
        for entry in ranges if isinstance(ranges, list) else []:
            match entry:
                case [int(first), int(last), [_, int(port), *_], *_] if first <= slot <= last:
                    return next(node for node in self.nodes if node.port == port)
                case _:
                    continue
        raise LookupError(f"nobody serves slot {slot}")

    def migrate_slot(self, slot: int, to: ClusterNode) -> SlotMigration:
        """A migration of `slot` from whoever serves it; nothing happens before its `begin` or `run`."""
        return SlotMigration(self, slot, self.owner_of(slot), to)

    def wait_until_whole(self, *, timeout: float = 30) -> None:
        """Return when every living node sees all slots served and all nodes known."""

        def whole() -> bool:
            infos = [node.cluster_info() for node in self.running]
            known = {info.get("cluster_known_nodes") for info in infos}
            return known == {str(len(self.nodes))} and all(
                info.get("cluster_state") == "ok" for info in infos
            )

        wait_until_sync(whole, description="every cluster node to report state ok", timeout=timeout)

    def _join(self) -> None:
        count = len(self.masters)
        for index, node in enumerate(self.masters):
            first, last = index * SLOTS // count, (index + 1) * SLOTS // count - 1
            node.command("CLUSTER", "ADDSLOTSRANGE", first, last)
        for index, node in enumerate(self.nodes):
            node.command("CLUSTER", "SET-CONFIG-EPOCH", index + 1)
        # Everybody meets everybody: waiting for gossip to spread the word takes seconds.
        for node in self.nodes:
            for other in self.nodes:
                if other is not node:
                    bus_port = int(texts(other.command("CONFIG", "GET", "cluster-port"))[1])
                    node.command("CLUSTER", "MEET", LOOPBACK, other.port, bus_port)
        self.wait_until_whole()
        for index, replica in enumerate(self.replicas):
            master = self.masters[index % count].node_id
            replica.command("CLUSTER", "REPLICATE", master)
        wait_until_sync(
            lambda: all(r.info("replication").get("master_link_status") == "up" for r in self.replicas),
            description="every replica to follow its master",
        )

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


AnyServer = RedisServer | RedisCluster
"""What can be asked over `connect()` and `command()`, one server or several."""
