"""A worker at work on a server of its own, while somebody writes rubbish into its keys.

Each case is a fleet of its own, so that its seed makes it again: good jobs and victims are enqueued, the
victims and whatever else there is are harmed, and the worker is held to it: it lives, it does not spin, it
ends when told to, every good job completes with its result, what cannot be read is set aside and reported.
"""

import asyncio
import random
import time
from collections.abc import Generator
from contextlib import AsyncExitStack, contextmanager
from typing import Any, cast

import structlog
from tenacity import stop_after_attempt

from capelin import Capelin, Job, Leader, RetryPolicy
from capelin.admin.access import open_access
from capelin.admin.queues import pause_queue, resume_queue
from capelin.errors import TornKey
from capelin.keys import ShardKeys
from tests.fuzz.mangling import HARMS, Scene
from tests.fuzz.words import Target
from tests.support.resp import Reply, texts
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until
from tests.support.workers import QUICK, LocalWorker, start_worker

QUEUE = "fuzz"
SHARDS = 3
GOOD = 6
PATIENCE = 20.0
COMMANDS = 5000
COMMANDS_A_SECOND = 500
"""So many commands may the fleet send in a case; commands of scripts count, too."""


class Fleet:
    """A worker and what it works for.

    Attributes:
        gate: Until it opens, the jobs of `held` run.
        asked: How many commands were sent to look on.
    """

    def __init__(self, server: RedisServer, draw: random.Random) -> None:
        self.server, self.draw = server, draw
        self.gate = gate = asyncio.Event()
        self.worker: LocalWorker | None = None
        self.asked = 0
        settings = QUICK.model_copy(update={"shards": SHARDS})
        self.app: Capelin[None] = Capelin(server.url, name="fuzz", settings=settings)
        self.shards = [self.app.keys.shard(QUEUE, number) for number in range(SHARDS)]
        once = RetryPolicy(stop=stop_after_attempt(1))

        @self.app.task(queue=QUEUE, retry=once)
        async def good(number: int) -> int:
            return number + 1

        @self.app.task(queue=QUEUE, retry=once)
        async def held(number: int) -> int:
            await gate.wait()
            return number + 1

        @self.app.every(0.5, queue=QUEUE)
        async def often() -> None: ...

        @self.app.singleton("watcher", interval=0.5)
        async def watcher(leader: Leader[None]) -> None:
            await leader.heartbeat()

        self.good, self.held = good, held

    async def case(self) -> None:
        """Play the case that is drawn."""
        async with AsyncExitStack() as ends:
            self.lines = ends.enter_context(structlog.testing.capture_logs())
            redis = ends.enter_context(self.server.connect())
            access = open_access(self.server.url, prefix=self.app.keys.prefix, settings=self.app.settings)
            self.access = await ends.enter_async_context(access)
            await ends.enter_async_context(self.app)
            self.scene = Scene(redis=redis, keys=self.app.keys, shards=self.shards, singleton="watcher")
            try:
                await self._play(ends)
            except Exception as error:
                raise AssertionError(f"{type(error).__name__}: {error}\n  {self.scene.story}") from error
            finally:
                self.gate.set()
                self.scene.repair()

    async def _play(self, ends: AsyncExitStack) -> None:
        began, draw, scene = time.monotonic(), self.draw, self.scene
        early = draw.random() < 0.6
        if early:
            await self._start(ends)
        held = draw.randint(1, 3) if early and draw.random() < 0.5 else 0
        if held:
            victims = await self.app.enqueue([self.held.job(number) for number in range(held)])
            scene.victims += [self._place(job) for job in victims]
            await wait_until(self._all_run, description="the victims to run")
        if early:
            await pause_queue(self.access, QUEUE)
        good = await self._enqueue()
        for harm in [draw.choice(HARMS) for _ in range(draw.randint(1, 4))]:
            scene.done.append(f"-- {harm.__name__}")
            harm(draw, scene)
        resumed = True
        if early:
            resumed = await self._resume()
        else:
            await self._start(ends)
        self.gate.set()
        await self._complete([job for job in good if not scene.broken or job.shard != 0])
        scene.repair()
        if not resumed:
            await resume_queue(self.access, QUEUE)
        await self._complete(good)
        await wait_until(self._settled, description="what is bad to be set aside", timeout=PATIENCE)
        if draw.random() < 0.25:
            await self._renews(3)
        await wait_until(self._is_reported, description="somebody to be told of it", timeout=PATIENCE)
        self._is_calm(time.monotonic() - began)
        assert self.worker is not None
        await asyncio.wait_for(self.worker.stop(), PATIENCE)

    async def _start(self, ends: AsyncExitStack) -> None:
        self.worker = await start_worker(ends, self.app)
        self.scene.worker = self.worker.id

    async def _resume(self) -> bool:
        """Resume every shard that can be read; returns whether that is all, or else one was named."""
        try:
            await resume_queue(self.access, QUEUE)
        except TornKey as error:
            if error.key not in self.scene.broken:
                raise
            return False
        return True

    async def _enqueue(self) -> list[Job[Any]]:
        """Good jobs, which are returned, and victims."""
        draw, good = self.draw, self.good
        jobs: list[Job[Any]] = [
            *await self.app.enqueue([good.job(number) for number in range(GOOD)]),
            *await self.app.enqueue([good.options(delay=0.01).job(number) for number in range(2)]),
            await good.options(dedupe_key="k").enqueue(8),
            await good.options(headers={"a": "b"}, then=good.job(9)).enqueue(9),
        ]
        victims = [good.job(number) for number in range(draw.randint(0, 3))]
        victims += [good.options(delay=0.01, then=good.job(1)).job(2) for _ in range(draw.randint(0, 2))]
        victims += [good.options(dedupe_key="v", batch_id="b").job(3)] * draw.randint(0, 1)
        self.scene.victims += [self._place(job) for job in await self.app.enqueue(victims)]
        return jobs

    async def _renews(self, times: int) -> None:
        """Wait for so many signs of life: some rubbish is met by the worker's heartbeat alone."""
        assert self.worker is not None
        seen: set[object] = set()

        def looks() -> bool:
            self._is_alive()
            seen.add(self.scene.redis("ZSCORE", self.app.keys.fleet_expiry, self.scene.worker))
            return len(seen) > times

        await wait_until(looks, description="the worker to renew what it has", timeout=PATIENCE)

    def _place(self, job: Job[Any]) -> tuple[ShardKeys, str]:
        return self.app.keys.shard(job.queue, job.shard), job.id.rsplit(".", 1)[1]

    def _all_run(self) -> bool:
        return {self._status(*victim) for victim in self.scene.victims} == {"running"}

    def _ask(self, *words: str | float) -> Reply:
        self.asked += 1
        return self.scene.redis(*words)

    def _status(self, shard: ShardKeys, uid: str) -> str:
        key = shard.job(uid)
        return str(self._ask("HGET", key, "status")) if self._ask("TYPE", key) == "hash" else "none"

    async def _complete(self, jobs: list[Job[Any]]) -> None:
        for job in jobs:
            result = asyncio.ensure_future(job.result(timeout=PATIENCE))
            assert self.worker is not None
            await asyncio.wait([result, self.worker.task], return_when=asyncio.FIRST_COMPLETED)
            if not result.done():
                result.cancel()
            self._is_alive()
            assert isinstance(await result, int)

    def _is_alive(self) -> None:
        assert self.worker is not None
        if self.worker.task.done():
            raise AssertionError(f"the worker ended: {self.worker.task.exception()!r}")

    def _settled(self) -> bool:
        """Nothing waits or runs but what may wait, and whatever was torn has a place where people see it."""
        self._is_alive()
        seconds, micros = texts(self._ask("TIME"))
        now = int(seconds) * 1000 + int(micros) // 1000
        for shard in self.shards:
            if any(self._ask("XLEN", stream) for stream in shard.streams):
                return False
            if self._ask("ZCOUNT", shard.scheduled, "-inf", now - 1):
                return False
        return all(self._is_somewhere(*victim) for victim in self.scene.victims)

    def _is_somewhere(self, shard: ShardKeys, uid: str) -> bool:
        match self._status(shard, uid):
            case "completed" | "cancelled":
                return True
            case "scheduled":
                return self._ask("ZSCORE", shard.scheduled, uid) is not None
            case "parked":
                task = str(self._ask("HGET", shard.job(uid), "task"))
                return self._ask("ZSCORE", shard.parked(task), uid) is not None
            case _:
                dead = self._ask("XRANGE", shard.dlq, "-", "+")
                return isinstance(dead, list) and any(
                    isinstance(one, list) and uid in str(one[1]) for one in dead
                )

    def _is_reported(self) -> bool:
        """Whether each that was set aside as torn was said to be, or that its shard cannot be read.

        A script that meets a key of another type is refused as a whole, with all that it would have told.
        """
        said = [str(line) for line in self.lines if line["log_level"] in {"error", "warning"}]
        for shard, uid in self.scene.victims:
            torn = ["j", uid, "reason", "torn"]
            entries = cast(list[list[Any]], self._ask("XRANGE", shard.dlq, "-", "+"))
            if any([*fields[:2], *fields[-2:]] == torn for _, fields in entries):
                failing = [line for line in said if "taking failed" in line and str(shard) in line]
                if not failing and not any(uid in line for line in said):
                    return False
        return True

    def _is_calm(self, seconds: float) -> None:
        commands = int(self.server.info("stats")["total_commands_processed"]) - self.asked
        bound = COMMANDS + COMMANDS_A_SECOND * seconds
        assert commands < bound, f"{commands} commands in {seconds:.2f} s: it spins"


@contextmanager
def live() -> Generator[Target]:
    """A server, on which every case has a fleet of its own."""
    with RedisServer() as server, asyncio.Runner() as runner:

        def play(draw: random.Random) -> None:
            server.flush()
            runner.run(Fleet(server, draw).case())

        yield play
