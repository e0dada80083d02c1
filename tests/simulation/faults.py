"""What befalls a fleet.

Pods die, sleep, block or jump in time; the network loses, delays and breaks; Redis forgets.
"""

from collections.abc import Callable
from functools import partial

from capelin.lua import loader
from tests.simulation.scenario import Event
from tests.simulation.server import SimRedis
from tests.simulation.world import Pod, World

_NOTICED_AFTER = 0.4
"""The part of a failover after which the other masters know that one of them is gone."""


class Faults:
    """Each public method is a kind of event.

    Args:
        again: Seconds until a slot's pod starts again, to be filled in for one that is killed.
    """

    def __init__(self, world: World, again: dict[str, float]) -> None:
        self.world, self.history, self._again = world, world.history, again

    # Pods.

    def kill(self, event: Event) -> None:
        pod = self._pod(event)
        if pod is not None and pod.alive:
            self._again[pod.slot] = event.details["again"]
            pod.crash(silent=event.details["silent"])

    def pause(self, event: Event) -> None:
        """It sleeps, heartbeat and all."""
        self._freeze(event, heart=True)

    def block(self, event: Event) -> None:
        """Something blocks its event loop; the heartbeat goes on."""
        self._freeze(event, heart=False)

    def _freeze(self, event: Event, *, heart: bool) -> None:
        pod = self._pod(event)
        if pod is not None and pod.alive and not pod.main.frozen:
            pod.freeze(event.details["seconds"], heart=heart)

    def doze(self, event: Event) -> None:
        """Whoever is the next to make this call falls asleep at the worst moment: before it has left."""
        network, seconds = self.world.network, event.details["seconds"]
        weathers = [(pod, network.weather(pod.name)) for pod in self.world.workers()]

        def fall_asleep(pod: Pod) -> None:
            for _, weather in weathers:
                weather.before = None
            pod.freeze(seconds, heart=True)
            network.partition(pod.name)
            self.world.at_home(seconds, lambda: network.heal(pod.name))

        for pod, weather in weathers:
            weather.before = (loader.load(event.details["script"]).sha.encode(), partial(fall_asleep, pod))

    def jump_clock(self, event: Event) -> None:
        """A pod's wall clock is set, forth or back; what counts seconds by it goes wrong."""
        pod = self._pod(event)
        if pod is not None and pod.alive:
            pod.main.skew += event.details["by"]
            self.history.disturb(pod.name, "wall clock jumped")

    # The network.

    def partition(self, event: Event) -> None:
        """A pod is cut off, from everything or from one server."""
        pod, seconds = self._pod(event), event.details["seconds"]
        if pod is None:
            return
        node = self._node(event)
        self.world.network.partition(pod.name, None if node is None else node.port)
        self.history.disturb(
            pod.name, "partitioned" if node is None else "away from one master", seconds=seconds, fatal=True
        )
        self.world.at_home(seconds, lambda: self.world.network.heal(pod.name))

    def cut(self, event: Event) -> None:
        """Connections break."""
        pod = self._pod(event) if event.slot else None
        self.history.disturb("all" if pod is None else pod.name, "connections cut")
        self.world.network.cut(None if pod is None else pod.name)

    def lose_requests(self, event: Event) -> None:
        """The next writes of a pod are lost, with their connections."""
        if (pod := self._pod(event)) is not None:
            self.history.disturb(pod.name, "requests to be lost", seconds=1.0)
            self.world.network.weather(pod.name).drop_requests += event.details["count"]

    def lose_replies(self, event: Event) -> None:
        """The next replies to scripts of a pod are lost, with their connections."""
        if (pod := self._pod(event)) is not None:
            self.history.disturb(pod.name, "replies to be lost", seconds=1.0)
            self.world.network.weather(pod.name).drop_replies += event.details["count"]

    def delay(self, event: Event) -> None:
        """The next writes of a pod are long on their way; what it sends over others overtakes them."""
        if (pod := self._pod(event)) is not None:
            self.history.disturb(
                pod.name, "requests to be delayed", seconds=max(event.details["seconds"]) + 1
            )
            self.world.network.weather(pod.name).delays += event.details["seconds"]

    def slow(self, event: Event) -> None:
        """A part of all messages takes long."""
        pod = self._pod(event)
        if pod is None:
            return
        weather = self.world.network.weather(pod.name)
        weather.slow = event.details["part"]
        self.history.disturb(pod.name, "slow network", seconds=event.details["seconds"])

        def over() -> None:
            weather.slow = 0.0

        self.world.at_home(event.details["seconds"], over)

    # Redis.

    def flush_scripts(self, _: Event) -> None:
        """The script caches are gone."""
        self.history.disturb("redis", "scripts flushed")
        self.world.servers.flush_scripts()

    def restart_redis(self, event: Event) -> None:
        """A server dies and comes back, without what it wrote last."""
        node = self._node(event) or self.world.servers.masters[0]
        if self._undisturbed(node):
            self._ails(node)
            if event.details["lost"]:
                node.take_snapshot()
            self.world.at_home(event.details["lost"], lambda: self._crash(node, event))

    def _crash(self, node: SimRedis, event: Event) -> None:
        down = event.details["down"]
        self._goes_down(node)
        node.flush_scripts()
        if event.details["lost"]:
            self._forgets(node, node.restore_snapshot(), self.world.servers.held_by(node))
        self.history.disturb("redis", "redis down", seconds=down)

        def back() -> None:
            node.up = True
            self.history.note("redis", f"=== {node.port} is back")

        self.world.at_home(down, back)

    def fail_over(self, event: Event) -> None:
        """A master of the Cluster dies, or is cut off from the others; a replica that lags takes over."""
        node = self._node(event)
        cluster = self.world.servers.cluster
        if node is None or cluster is None or not self._undisturbed(node):
            return
        self._ails(node)
        node.take_snapshot()
        self.world.at_home(event.details["behind"], lambda: self._fail_over(node, event))

    def _fail_over(self, node: SimRedis, event: Event) -> None:
        cluster = self.world.servers.cluster
        assert cluster is not None
        number = next(n for n, group in enumerate(cluster.groups) if group.master is node)
        group, takes = cluster.groups[number], event.details["takes"]
        held = self.world.servers.held_by(node)
        if event.details["split"]:
            self.history.disturb("redis", "two masters of one slot", seconds=takes)
            group.detached = node
            lost = group.promote()
            now = self.history.clock()
            self.history.lose(now - lost, now + takes, held, spares_copies=True)

            def hears_of_it() -> None:
                group.detached = None
                self.world.network.cut(port=node.port)
                self._back_as_replica(node)
                self.history.lose(now - lost, self.history.clock(), held, spares_copies=True)

            self.world.at_home(takes, hears_of_it)
            return
        self.history.disturb("redis", "failover", seconds=takes)
        self._goes_down(node)

        def notice() -> None:
            group.noticed = True

        def promote() -> None:
            self._forgets(node, group.promote(), held, spares_copies=True)
            self.history.note("redis", f"=== {group.master.port} is the master now")

        self.world.at_home(takes * _NOTICED_AFTER, notice)
        self.world.at_home(takes, promote)
        self.world.at_home(takes + event.details["back"], partial(self._back_as_replica, node))

    def _back_as_replica(self, node: SimRedis) -> None:
        node.hang_up_on_all()
        node.empty()
        node.flush_scripts()
        node.up = True
        self.history.note("redis", f"=== {node.port} is a replica")

    def move_slot(self, event: Event) -> None:
        """A slot goes to another master, its keys one after the other."""
        cluster = self.world.servers.cluster
        if cluster is None:
            return
        slot: int = event.details["slot"]
        to: int = event.details["to"]
        takes: float = event.details["takes"]
        if not self.world.servers.up or not cluster.begin_to_move(slot, to):
            return
        self.history.disturb("all", "slot moves", seconds=takes)

        def moved() -> None:
            if cluster.end_move(slot):
                self.history.note("redis", f"=== slot {slot} is on {cluster.groups[to].master.port}")

        self.world.at_home(takes / 2, lambda: cluster.move_keys(slot, part=0.5))
        self.world.at_home(takes, moved)

    def _ails(self, node: SimRedis) -> None:
        cluster = self.world.servers.cluster
        if cluster is not None:
            cluster.give_up_moves(next(n for n, group in enumerate(cluster.groups) if group.master is node))

    def _goes_down(self, node: SimRedis) -> None:
        node.up = False
        self.world.network.cut(port=node.port)
        self.history.note("redis", f"=== {node.port} is down")

    def _forgets(
        self, node: SimRedis, seconds: float, held: Callable[[bytes], bool], *, spares_copies: bool = False
    ) -> None:
        self.history.note("redis", f"=== {node.port} loses the writes of {seconds:.3f} s")
        now = self.history.clock()
        self.history.lose(now - seconds, now, held, spares_copies=spares_copies)

    def _undisturbed(self, node: SimRedis) -> bool:
        cluster = self.world.servers.cluster
        if not node.up or node.lags:
            return False
        if cluster is None:
            return True
        group = next((group for group in cluster.groups if group.master is node), None)
        return group is not None and group.detached is None and not group.noticed and group.replica.up

    # Whom it befalls.

    def _node(self, event: Event) -> SimRedis | None:
        number: int | None = event.details.get("node")
        masters = self.world.servers.masters
        return None if number is None or self.world.servers.cluster is None else masters[number]

    def _pod(self, event: Event) -> Pod | None:
        """The pod of a slot, or of a part that it plays at this moment."""
        match event.slot:
            case "leader":
                owner = self.world.servers.hash_at(b"capelin:{schedules}:lease").get("owner", "")
                return self.world.pods.get(pod_of(owner))
            case "host":
                owner = self.world.servers.hash_at(b"capelin:{lease:counter}:lease").get("owner", "")
                return self.world.pods.get(pod_of(owner))
            case "runner":
                running = [
                    start
                    for start in self.history.begun
                    if (start.job, start.token) not in self.history.ended
                ]
                return self.world.pods.get(running[-1].pod) if running else None
            case slot:
                return self.world.slots[slot]


def pod_of(worker: str) -> str:
    """The pod of a worker id: `w0-1-1-bhrk3940` is of `w0-1`."""
    return worker.rpartition("-")[0].rpartition("-")[0]
