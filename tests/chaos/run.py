"""One run of chaos on one backend: load, disturbances, quiet, and the account."""

import asyncio
import contextlib
import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from capelin import Capelin
from capelin.keys import Keys
from tests.chaos.account import Account, Accountant
from tests.chaos.apps import duties, release_two
from tests.chaos.backends import Backend
from tests.chaos.disturbances import BREAK_REDIS, Play, deck, deploy
from tests.chaos.journal import read_journal
from tests.chaos.pods import Pod, Pods, Release
from tests.chaos.scene import Disturbance, Kind, NobodyLeftError, Scene
from tests.support.census import Census, take_census
from tests.support.leaks import find_leaks
from tests.support.ledger import Ledger
from tests.support.processes import Processes
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until

AT_ONCE = 2
"""Disturbances side by side."""
GETS_OVER_WITHIN = 180.0
QUIET_WITHIN = 180.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much of what.

    Attributes:
        seconds: Of disturbances.
        rate: Jobs a second.
        workers: Worker processes.
        ttl: Seconds, of leases and stakes.
        pause: The mean seconds between two disturbances.
        min_replicas: Copies that an enqueue waits for; with them, a failover must not lose any.
        only: The names of disturbances that are played; empty for all.
    """

    seconds: float
    rate: float = 100
    workers: int = 4
    ttl: float = 2.0
    pause: float = 1.5
    seed: int = 1
    min_replicas: int = 0
    only: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Result:
    """A run that is over."""

    backend: str
    plan: Plan
    happened: list[Disturbance]
    account: Account
    took: float


class Run:
    """One run."""

    def __init__(
        self, backend: Backend, plan: Plan, processes: Processes, folder: Path, say: Callable[[str], None]
    ) -> None:
        self._backend, self._plan, self._say = backend, plan, say
        self._ledger = Ledger(folder / "ledger")
        copies = {"CAPELIN_MIN_REPLICAS": str(plan.min_replicas)}
        self._pods = Pods(processes, url=backend.url, ledger=self._ledger, ttl=plan.ttl, settings=copies)
        self._chance = random.Random(plan.seed)  # noqa: S311 -- it is to be repeatable
        self._scene = Scene(
            backend=backend,
            pods=self._pods,
            ttl=plan.ttl,
            chance=self._chance,
            rate=plan.rate,
            seed=plan.seed * 1000,
        )
        self._cards: list[Play] = []
        self._problems: list[str] = []

    async def play(self) -> Result:
        """All of it."""
        began = time.time()
        await self._backend.whole()
        watching = asyncio.create_task(self._pods.supervise())
        try:
            await asyncio.gather(*(self._pods.start(Release.ONE) for _ in range(self._plan.workers)))
            self._pods.start_producer(rate=self._plan.rate, seed=self._plan.seed * 1000)
            await self._disturb()
            await self._become_quiet()
            await self._all_work()
            await self._stop_all()
        finally:
            watching.cancel()
        census = await asyncio.to_thread(take_census, *self._backend.masters)
        account = await asyncio.to_thread(self._account, census)
        return Result(
            backend=self._backend.name,
            plan=self._plan,
            happened=self._scene.happened,
            account=account,
            took=time.time() - began,
        )

    # Disturbances.

    async def _disturb(self) -> None:
        running: dict[asyncio.Task[None], Play] = {}
        ends = time.time() + self._plan.seconds
        while time.time() < ends:
            await asyncio.sleep(self._chance.uniform(0.2, 1.8) * self._plan.pause)
            if len(running) < AT_ONCE:
                play = self._next(breaking=any(play in BREAK_REDIS for play in running.values()))
                if play is not None:
                    running[asyncio.create_task(self._one(play))] = play
            for task in [task for task in running if task.done()]:
                task.result()
                del running[task]
        async with asyncio.timeout(GETS_OVER_WITHIN):
            await asyncio.gather(*running)

    def _next(self, *, breaking: bool) -> Play | None:
        """The next card; of those that break Redis one at a time, and none when there are no others."""
        if len(self._cards) < 3:
            fresh = [
                card
                for card in deck(self._backend)
                if card.__name__ in self._plan.only or not self._plan.only
            ]
            self._chance.shuffle(fresh)
            self._cards += fresh
        fits = [card for card in self._cards if not (breaking and card in BREAK_REDIS)]
        if not fits:
            return None
        self._cards.remove(fits[0])
        return fits[0]

    async def _one(self, play: Play) -> None:
        try:
            one = await play(self._scene)
        except NobodyLeftError:
            return
        for worker in one.workers:
            pod = self._pods.by_id(worker)
            if pod is not None:
                pod.busy = False
        self._say(f"{self._backend.name}: {one}")

    # Quiet.

    async def _become_quiet(self) -> None:
        """End the load, let the newer release run alone, and wait until nothing is left to do."""
        self._backend.network.heal()
        await self._backend.whole()
        producer = self._pods.producer
        if producer is not None and producer.running:
            producer.terminate()
            if await producer.wait(timeout=90) != 0:
                self._problems.append(f"the producer died:\n{producer.output[-2000:]}")
        if {pod.release for pod in self._pods.working} != {Release.TWO}:
            self._scene.release = Release.ONE
            await self._one(deploy)
        with contextlib.suppress(AssertionError):  # what is left is told job by job, below
            await wait_until(self._idle, description="all jobs to be done", timeout=QUIET_WITHIN)

    def _idle(self) -> bool:
        return sum(_waiting(self._backend, server) for server in self._backend.masters) == 0

    async def _all_work(self) -> None:
        """No worker is left that lives and does nothing."""
        wanted = {pod.id for pod in self._pods.working}
        since = self._ledger.path.stat().st_size
        async with Capelin(self._backend.url) as app:
            app.include(duties.tasks)

            async def all_have_started_something() -> bool:
                await app.enqueue([duties.lasting.job(0.3) for _ in range(20 * len(wanted))])
                await asyncio.sleep(0.5)
                return wanted <= self._workers_since(since)

            try:
                await wait_until(
                    all_have_started_something, description="every worker to start something", timeout=60
                )
            except AssertionError:
                idle = sorted(wanted - self._workers_since(since))
                self._problems.append(f"these workers live, and start nothing: {idle}")
        with contextlib.suppress(AssertionError):
            await wait_until(self._idle, description="all jobs to be done", timeout=QUIET_WITHIN)

    def _workers_since(self, offset: int) -> set[str]:
        """Who started anything after this place of the ledger."""
        with self._ledger.path.open() as lines:
            lines.seek(offset)
            return {words[3] for line in lines if (words := line.split())[0] == "start"}

    async def _stop_all(self) -> None:
        leaving = self._pods.working
        for pod, status in zip(leaving, await asyncio.gather(*map(self._pods.end, leaving)), strict=True):
            pod.status = status

    # The account.

    def _account(self, census: Census) -> Account:
        scene = self._scene
        accountant = Accountant(
            read_journal(self._ledger.path),
            pods=self._pods.all,
            happened=scene.happened,
            ttl=self._plan.ttl,
            ended=time.time(),
            copied=self._plan.min_replicas > 0,
        )
        account = accountant.make(census)
        account.problems += self._problems
        account.problems += [f"not in exactly one place: {line}" for line in census.misplaced]
        for server in self._backend.masters:
            with server.connect() as redis:
                account.problems += [f"left behind: {line}" for line in find_leaks(redis)]
        account.problems += [problem for pod in self._pods.all if (problem := self._obituary(pod))]
        return account

    def _obituary(self, pod: Pod) -> str | None:
        """What is wrong with how a worker ended; nothing, if we killed it, or if it had no memory."""
        starved = any(one.kind is Kind.HUNGRY and pod.id in one.workers for one in self._scene.happened)
        if starved or (pod.killed and pod.told is None):
            return None
        if pod.told is not None and pod.status == 0:
            return None
        how = "did not heed SIGTERM" if pod.killed else f"ended with {pod.child.returncode}"
        return f"{pod.id or 'a worker'} {how}:\n{pod.child.output[-3000:]}"


def _waiting(backend: Backend, server: RedisServer) -> int:
    """How many jobs of a server are neither done nor dead, in the queues in which nothing may be left."""
    keys = Keys()
    asked: list[tuple[str, str]] = []
    for queue in duties.QUEUES:
        for name in backend.shards_of(server, queue):
            shard = keys.shard(queue, int(name.rpartition(".")[2]))
            asked += [("XLEN", stream) for stream in shard.streams]
            asked += [("ZCARD", shard.scheduled)]
            asked += [("ZCARD", f"{shard.base}:parked:{task}") for task in release_two.UNKNOWN_TO_ONE]
    with server.connect() as redis:
        return sum(int(str(count)) for count in redis.pipeline(*asked))


async def run_chaos(make: Callable[[], Backend], plan: Plan, say: Callable[[str], None]) -> Result:
    """Start everything, play, and leave nothing behind but the result."""
    with (
        tempfile.TemporaryDirectory(prefix="capelin-chaos-") as folder,
        make() as backend,
        Processes() as processes,
    ):
        return await Run(backend, plan, processes, Path(folder), say).play()
