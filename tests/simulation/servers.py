"""The servers of a simulation: one Redis, or a Cluster, as the network and the checker see them."""

from collections.abc import Callable
from typing import Any

from tests.simulation.cluster import SimCluster, slot_of
from tests.simulation.loop import SimLoop
from tests.simulation.server import Common, Observe, SimRedis


class Servers:
    """All servers of one simulation.

    Args:
        loop: The loop.
        cluster: Whether there is a Cluster instead of one Redis.
    """

    def __init__(self, loop: SimLoop, *, cluster: bool) -> None:
        self.common = Common()
        self.cluster = SimCluster(loop, self.common) if cluster else None
        self._one = SimRedis(loop, common=self.common) if self.cluster is None else None

    def observed_by(self, observe: Observe) -> None:
        """Tell somebody of each `HSET` of a script, before it is done."""
        self.common.observe = observe

    @property
    def nodes(self) -> list[SimRedis]:
        """Every server, those that hold data first."""
        return self.cluster.nodes if self.cluster is not None else [self.one]

    @property
    def masters(self) -> list[SimRedis]:
        """Those that hold data now."""
        if self.cluster is None:
            return [self.one]
        return [group.master for group in self.cluster.groups]

    @property
    def one(self) -> SimRedis:
        """The only server.

        Raises:
            AssertionError: There is a Cluster.
        """
        assert self._one is not None
        return self._one

    def url(self, pod: str) -> str:
        """Where a pod finds them."""
        if self.cluster is None:
            return f"redis://{pod}.sim:{self.one.port}/0"
        seeds = ",".join(f"{pod}.sim:{node.port}" for node in self.masters)
        return f"redis+cluster://{seeds}"

    def at(self, port: int) -> SimRedis | None:
        """Who listens at a port."""
        return next((node for node in self.nodes if node.port == port and node.up), None)

    @property
    def up(self) -> bool:
        """Whether all that holds data can be reached."""
        noticed = self.cluster is not None and any(group.noticed for group in self.cluster.groups)
        return not noticed and all(master.up for master in self.masters)

    @property
    def at_rest(self) -> bool:
        """Whether what is read now is the whole truth."""
        return self.up and (self.cluster is None or self.cluster.at_rest)

    def home(self, key: bytes) -> SimRedis:
        """Who has a key."""
        return self.one if self.cluster is None else self.cluster.home(key)

    def held_by(self, node: SimRedis) -> Callable[[bytes], bool]:
        """Whether a key belongs to this server, as it is now."""
        if self.cluster is None:
            return lambda _: True
        number = next(n for n, group in enumerate(self.cluster.groups) if group.master is node)
        slots = self.cluster.slots_of(number)
        return lambda key: slots(slot_of(key))

    # Asked by checkers, outside of the simulation's time.

    def ask(self, *words: str | bytes | float) -> Any:
        """The reply of whoever has the key."""
        key = words[1] if len(words) > 1 else b""
        return self.home(key if isinstance(key, bytes) else str(key).encode()).ask(*words)

    def hash_at(self, key: bytes) -> dict[str, str]:
        """The fields of a hash; empty if there is none."""
        return self.home(key).hash_at(key)

    def all_keys(self) -> list[bytes]:
        """Every key."""
        return [key for master in self.masters for key in master.all_keys()]

    def flush_scripts(self) -> None:
        """The script caches are gone."""
        for node in self.nodes:
            node.flush_scripts()
