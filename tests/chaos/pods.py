"""The pods of chaos: workers of one release or the other, and a producer, each a process of its own."""

import asyncio
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from tests.chaos.apps import duties
from tests.support.ledger import Ledger
from tests.support.processes import ChildProcess, Processes

GRACE = 2.0
"""Seconds: less than the longest jobs last, so that some are handed back."""
STARTS_WITHIN = 120.0
ENDS_WITHIN = 25.0
"""Seconds beyond the grace time after which a pod that was told to stop is killed."""
LOOK = 0.1


class Release(StrEnum):
    """Two versions of the app."""

    ONE = "tests.chaos.apps.release_one:app"
    TWO = "tests.chaos.apps.release_two:app"


@dataclass(eq=False, kw_only=True)
class Pod:
    """A worker process.

    Attributes:
        id: The worker's id; empty until it has started.
        ended: When we killed it, or when it was found dead.
        told: When it was told to stop.
        killed: Whether it was us.
        status: Its exit status, once it has ended after it was told to stop.
        busy: Some disturbance has it.
    """

    child: ChildProcess
    release: Release
    id: str = ""
    born: float = field(default_factory=time.time)
    ended: float | None = None
    told: float | None = None
    killed: bool = False
    status: int | None = None
    busy: bool = False

    @property
    def works(self) -> bool:
        """Whether it has started and nobody ended it."""
        return bool(self.id) and self.ended is None and self.told is None

    def kill(self) -> None:
        """SIGKILL."""
        self.ended, self.killed = time.time(), True
        self.child.kill()

    def terminate(self) -> None:
        """SIGTERM."""
        self.told = time.time()
        self.child.terminate()


class Pods:
    """The workers and the producer.

    Args:
        ttl: Seconds, of leases and stakes.
        words: More words for `capelin worker`.
        settings: More settings.
    """

    def __init__(
        self,
        processes: Processes,
        *,
        url: str,
        ledger: Ledger,
        ttl: float,
        words: Iterable[str] = (),
        settings: dict[str, str] | None = None,
    ) -> None:
        self._processes, self._url, self._ledger = processes, url, ledger
        self._words = tuple(words)
        self._env = ledger.env | {
            "CAPELIN_LEASE_TTL": str(ttl),
            "CAPELIN_GRACE": str(GRACE),
            # The same job may well be hit more often here than any job is in a year.
            "CAPELIN_MAX_CRASHES": "1000",
            # A loop that is stuck for good ends its process; ten minutes would be a whole run.
            "CAPELIN_STALL_LIMIT": str(max(8.0, 4 * ttl)),
            **(settings or {}),
        }
        self.all: list[Pod] = []
        self.producer: ChildProcess | None = None
        self._producers = 0

    @property
    def working(self) -> list[Pod]:
        """Those that have started and are to live on."""
        return [pod for pod in self.all if pod.works]

    @property
    def names(self) -> list[str]:
        """How the processes that live name themselves to Redis, the producer too."""
        children = [pod.child for pod in self.all] + ([] if self.producer is None else [self.producer])
        return [child.name for child in children if child.running]

    def _named(self, name: str) -> str:
        """The URL for a process that names itself so."""
        return f"{self._url}?client_name={name}"

    def by_id(self, worker: str) -> Pod | None:
        """The pod of a worker."""
        return next((pod for pod in self.all if pod.id == worker), None)

    def launch(self, release: Release) -> Pod:
        """Start a worker without waiting for it."""
        words = self._words or ("-c", "30", "--threads", "4")
        # `Processes` names its workers so.
        name = f"worker-{len(self._processes.children)}"
        child = self._processes.worker(release, *words, redis_url=self._named(name), env=self._env)
        pod = Pod(child=child, release=release)
        self.all.append(pod)
        return pod

    async def start(self, release: Release) -> Pod:
        """Start a worker and return once it takes jobs."""
        pod = self.launch(release)
        await self.started(pod)
        return pod

    async def started(self, pod: Pod) -> None:
        """Return once a worker takes jobs."""
        line = await pod.child.wait_for_event("worker started", timeout=STARTS_WITHIN)
        pod.id = line["worker"]

    def start_producer(self, *, rate: float, seed: int) -> None:
        """Let a producer begin; a new one enqueues other jobs."""
        self._producers += 1
        name = f"producer-{self._producers}"
        self.producer = self._processes.python(
            "-m",
            "tests.chaos.producer",
            "--rate",
            str(rate),
            "--seed",
            str(seed + self._producers),
            env=self._env | {"CAPELIN_REDIS_URL": self._named(name)},
            name=name,
        )

    def block_loop(self, pod: Pod, seconds: float) -> None:
        """Have a worker's event loop blocked."""
        duties.order(self._ledger.path, "block", pod.child.pid).write_text(str(seconds))

    def eat_memory(self, pod: Pod, seconds: float) -> None:
        """Have a worker without memory for a while."""
        duties.order(self._ledger.path, "eat", pod.child.pid).write_text(str(seconds))

    def count_tasks(self, pod: Pod) -> None:
        """Have a worker note how many tasks its event loop has."""
        duties.order(self._ledger.path, "count", pod.child.pid).touch()

    async def supervise(self) -> None:
        """Start another for each that dies although nobody killed it; until cancelled."""
        while True:
            dead = [pod for pod in self.all if pod.ended is None and not pod.child.running]
            for pod in dead:
                pod.ended = time.time()
            await asyncio.gather(*(self.start(pod.release) for pod in dead if pod.told is None))
            await asyncio.sleep(LOOK)

    async def end(self, pod: Pod) -> int:
        """SIGTERM, and SIGKILL if that is not heeded in time, as an orchestrator does it; its exit status."""
        pod.terminate()
        try:
            return await pod.child.wait(timeout=GRACE + ENDS_WITHIN)
        except AssertionError:
            pod.kill()
            return -signal.SIGKILL
