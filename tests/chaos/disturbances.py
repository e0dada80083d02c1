"""What chaos does to workers, to the network, and to Redis: each play returns when it is over."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from tests.chaos.apps import duties
from tests.chaos.backends import AppendOnly, Backend, ClusterOfSix, SentinelTrio, is_master
from tests.chaos.pods import Release
from tests.chaos.scene import Disturbance, Kind, Scene
from tests.support.resp import RespError
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until

FAILS_OVER_WITHIN = 60.0

Play = Callable[[Scene], Coroutine[Any, Any, Disturbance]]


async def kill_worker(scene: Scene) -> Disturbance:
    pod = scene.victim()
    found = scene.begin(Kind.KILLED, pod)
    pod.kill()
    found.until = time.time()
    await scene.pods.start(pod.release)
    return found


async def pause_worker(scene: Scene) -> Disturbance:
    pod = scene.victim()
    found = scene.begin(Kind.PAUSED, pod)
    pod.child.freeze()
    await asyncio.sleep(scene.around_the_ttl())
    pod.child.thaw()
    found.until = time.time()
    return found


async def starve_worker(scene: Scene) -> Disturbance:
    """It gets about a tenth of a core, in pieces."""
    pod = scene.victim()
    found = scene.begin(Kind.STARVED, pod)
    while time.time() < found.at + 3 * scene.ttl:
        pod.child.freeze()
        await asyncio.sleep(scene.chance.uniform(0.2, 0.6) * scene.ttl)
        pod.child.thaw()
        await asyncio.sleep(0.05)
    found.until = time.time()
    return found


async def starve_of_memory(scene: Scene) -> Disturbance:
    pod = scene.victim()
    seconds = scene.around_the_ttl()
    found = scene.begin(Kind.HUNGRY, pod)
    scene.pods.eat_memory(pod, seconds)
    await asyncio.sleep(seconds + 2 * duties.BEAT)
    found.until = time.time()
    return found


async def block_loop(scene: Scene) -> Disturbance:
    pod = scene.victim()
    seconds = scene.around_the_ttl()
    found = scene.begin(Kind.BLOCKED, pod)
    scene.pods.block_loop(pod, seconds)
    await asyncio.sleep(seconds + 2 * duties.BEAT)
    found.until = time.time()
    return found


async def cut_connections(scene: Scene) -> Disturbance:
    found = scene.begin(Kind.CUT)
    for _ in range(scene.chance.randint(1, 5)):
        scene.backend.network.cut(scene.pods.names)
        await asyncio.sleep(scene.chance.uniform(0.01, 0.5))
    found.until = time.time()
    return found


async def cut_off_worker(scene: Scene) -> Disturbance:
    pod = scene.victim()
    found = scene.begin(Kind.CUT_OFF, pod)
    scene.backend.network.cut_off(pod.child.name)
    await asyncio.sleep(scene.around_the_ttl())
    if scene.chance.random() < 0.5:  # some partitions end with what was on its way, and some without
        scene.backend.network.cut([pod.child.name])
    scene.backend.network.heal(pod.child.name)
    found.until = time.time()
    return found


async def kill_producer(scene: Scene) -> Disturbance:
    found = scene.begin(Kind.PRODUCER_KILLED)
    if scene.pods.producer is not None:
        scene.pods.producer.kill()
    scene.pods.start_producer(rate=scene.rate, seed=scene.seed)
    found.until = time.time()
    return found


async def deploy(scene: Scene) -> Disturbance:
    """Replace every worker by one of the other release, one after the other, the new one first."""
    old = [pod for pod in scene.pods.working if not pod.busy]
    for pod in old:
        pod.busy = True
    scene.release = Release.TWO if scene.release is Release.ONE else Release.ONE
    found = scene.begin(Kind.DEPLOYED, *old)
    for pod in old:
        await scene.pods.start(scene.release)
        if pod.child.running:
            pod.status = await scene.pods.end(pod)
    found.until = time.time()
    return found


# What Redis goes through.


async def kill_redis(scene: Scene) -> Disturbance:
    [server] = scene.backend.servers
    found = scene.begin(Kind.REDIS_KILLED)
    server.kill()
    await asyncio.sleep(scene.around_the_ttl())
    await asyncio.to_thread(server.restart)
    found.returned = found.until = time.time()
    return found


async def pause_redis(scene: Scene) -> Disturbance:
    [server] = scene.backend.servers
    found = scene.begin(Kind.REDIS_PAUSED)
    server.pause()
    await asyncio.sleep(scene.around_the_ttl())
    server.resume()
    found.returned = found.until = time.time()
    return found


async def cut_off_all(scene: Scene) -> Disturbance:
    found = scene.begin(Kind.ALL_CUT_OFF)
    # Not replicas and sentinels: what those would do is another disturbance.
    cut_off = scene.pods.names
    for name in cut_off:
        scene.backend.network.cut_off(name)
    await asyncio.sleep(scene.around_the_ttl())
    if scene.chance.random() < 0.5:
        scene.backend.network.cut(cut_off)
    for name in cut_off:
        scene.backend.network.heal(name)
    found.returned = found.until = time.time()
    return found


def _master(scene: Scene, kind: Kind) -> tuple[RedisServer, Disturbance]:
    master = scene.chance.choice(scene.backend.masters)
    found = scene.begin(kind, may_lose=True)
    found.shards = frozenset(
        shard for queue in duties.EVERY_QUEUE for shard in scene.backend.shards_of(master, queue)
    )
    return master, found


async def _replaced(
    scene: Scene, master: RedisServer, found: Disturbance, heirs: Sequence[RedisServer]
) -> None:
    """Wait until one of the heirs is a master, and all is whole."""
    await wait_until(
        lambda: any(is_master(heir) for heir in heirs),
        description=f"{scene.backend.name} to replace {master}",
        timeout=FAILS_OVER_WITHIN,
    )
    found.returned = time.time()


def _heirs(scene: Scene, master: RedisServer) -> list[RedisServer]:
    backend = scene.backend
    if isinstance(backend, ClusterOfSix):
        return [backend.replica_of(master)]
    return [server for server in backend.servers if server is not master]


async def ask_for_failover(scene: Scene) -> Disturbance:
    backend = scene.backend
    master, found = _master(scene, Kind.FAILOVER_ASKED)
    heirs = _heirs(scene, master)
    if isinstance(backend, SentinelTrio):
        await asyncio.to_thread(backend.sentinels[0].fail_over)
    else:

        def accepted() -> bool:
            try:
                return heirs[0].command("CLUSTER", "FAILOVER") == "OK"
            except RespError:
                return False

        await wait_until(accepted, description="the replica to begin a failover")
    await _replaced(scene, master, found, heirs)
    await backend.whole()
    found.until = time.time()
    return found


async def kill_master(scene: Scene) -> Disturbance:
    master, found = _master(scene, Kind.MASTER_KILLED)
    heirs = _heirs(scene, master)
    master.kill()
    await _replaced(scene, master, found, heirs)
    await asyncio.sleep(scene.chance.uniform(0, scene.ttl))
    await asyncio.to_thread(master.restart)
    await scene.backend.whole()
    found.until = time.time()
    return found


async def pause_master(scene: Scene) -> Disturbance:
    """It comes back, and does not know at first that it was replaced."""
    master, found = _master(scene, Kind.MASTER_PAUSED)
    heirs = _heirs(scene, master)
    master.pause()
    try:
        await _replaced(scene, master, found, heirs)
        await asyncio.sleep(scene.chance.uniform(0, scene.ttl))
    finally:
        master.resume()
    await scene.backend.whole()
    found.until = time.time()
    return found


WORKERS: Sequence[Play] = (
    kill_worker,
    kill_worker,
    pause_worker,
    starve_worker,
    starve_of_memory,
    block_loop,
    cut_connections,
    cut_off_worker,
    kill_producer,
    deploy,
)


def deck(backend: Backend) -> Sequence[Play]:
    """What is played on a backend, before it is shuffled."""
    if isinstance(backend, AppendOnly):
        return (*WORKERS, kill_redis, kill_redis, pause_redis, cut_off_all)
    return (*WORKERS, ask_for_failover, kill_master, pause_master, cut_off_all)


BREAK_REDIS = frozenset({kill_redis, pause_redis, ask_for_failover, kill_master, pause_master, cut_off_all})
"""Those that are not played side by side."""
