"""A fleet of worker processes on one Redis, and what a test needs to know of it.

What is asked of Redis here is asked over a bare connection: nothing of capelin is believed.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, TypedDict, Unpack

from capelin import Capelin
from capelin.jobs import Job
from capelin.keys import shard_of
from capelin.requests import JobRequest
from tests.guarantees.apps import recording
from tests.support.census import Census, Standing, take_census
from tests.support.ledger import Ledger
from tests.support.processes import ChildProcess, Processes
from tests.support.records import spelled_out
from tests.support.resp import texts
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until

APP = "tests.guarantees.apps.recording:app"
TTL = 1.0
"""Seconds: the shortest lease that is allowed."""
INTERVAL = TTL / 3
SHARDS = 8
MARGIN = 2.0
"""Seconds that a machine which does other things too may add to any deadline."""


class Tuned(TypedDict, total=False):
    """Settings that tests change; see `Settings`."""

    lease_ttl: float
    grace: float
    steal_after: float
    stall_after: float
    stall_limit: float
    max_crashes: int


@dataclass(frozen=True, kw_only=True)
class Noted:
    """A line of the ledger: a start, or an end."""

    job: str
    token: int
    worker: str
    at: float


@dataclass(frozen=True, kw_only=True)
class Account:
    """What a job's record tells of its starts.

    Attributes:
        token: How often it was started.
        attempt: Starts that ended in an error.
        crashes: Starts whose worker died.
        failures: Notes of failed starts.
    """

    id: str
    token: int
    attempt: int
    crashes: int
    failures: int

    @classmethod
    def of(cls, job: Standing) -> "Account":
        """Read a record."""
        return cls(
            id=job.id,
            token=job.token,
            attempt=int(job.record.get("attempt", 0)),
            crashes=int(job.record.get("crashes", 0)),
            failures=job.failures,
        )

    @property
    def clean(self) -> bool:
        """Whether it was started once, and nothing went wrong."""
        return (self.token, self.attempt, self.crashes, self.failures) == (1, 0, 0, 0)


@dataclass(kw_only=True)
class Process:
    """A worker process."""

    name: str
    child: ChildProcess
    id: str = ""

    async def started(self) -> "Process":
        """Return once it takes jobs."""
        self.id = (await self.child.wait_for_event("worker started"))["worker"]
        return self


class Fleet:
    """Worker processes, a client, and the ledger of what ran.

    Example:
        a, b = await fleet.start("a", "b", lease_ttl=1)
        job = await fleet.enqueue(recording.held.job("door"))
        a.child.kill()
    """

    def __init__(self, processes: Processes, server: RedisServer, ledger: Ledger) -> None:
        self._processes = processes
        self.server, self.ledger = server, ledger
        self.app = Capelin(server.url)
        self.app.include(recording.tasks)
        self.workers: dict[str, Process] = {}

    # Workers.

    def launch(
        self, name: str, *words: str, redis_url: str | None = None, **settings: Unpack[Tuned]
    ) -> Process:
        """Start a worker without waiting for it; settings as in `Settings`."""
        env = {f"CAPELIN_{setting.upper()}": str(value) for setting, value in settings.items()}
        url = redis_url or self.server.url
        child = self._processes.worker(
            APP, "--name", name, *(words or ("-q", "default")), redis_url=url, env=self.ledger.env | env
        )
        worker = self.workers[name] = Process(name=name, child=child)
        return worker

    async def start(
        self, *names: str, words: tuple[str, ...] = (), **settings: Unpack[Tuned]
    ) -> list[Process]:
        """Start workers, and return once all take jobs and share the shards of the queue `default`."""
        launched = [self.launch(name, *words, **settings) for name in names]
        for worker in launched:
            await worker.started()
        await self.shards_shared()
        return launched

    async def shards_shared(self, queue: str = "default") -> None:
        """Return once the living workers own the shards of a queue, evenly."""
        living = [w.id for w in self.workers.values() if w.id and w.child.running]
        few = SHARDS // len(living)

        def even() -> bool:
            owned = Counter(self.owners(queue).values())
            # A shard on its way from one to the other has no owner yet.
            whole = owned.total() == SHARDS and set(owned) <= set(living)
            return whole and all(few <= owned[worker] <= few + 1 for worker in living)

        await wait_until(even, description=f"{len(living)} workers to share the shards")

    def shards_of(self, worker: Process, queue: str = "default") -> list[int]:
        """The shards whose lease a worker holds now."""
        return [shard for shard, owner in self.owners(queue).items() if owner == worker.id]

    def named(self, worker_id: str) -> Process:
        """The worker with this id."""
        return next(worker for worker in self.workers.values() if worker.id == worker_id)

    def owners(self, queue: str = "default", shards: int = SHARDS) -> dict[int, str]:
        """Who holds the lease of each shard now, by Redis's clock."""
        with self.server.connect() as redis:
            seconds, micros = texts(redis("TIME"))
            now = int(seconds) * 1000 + int(micros) // 1000
            leases = redis.pipeline(
                *[
                    ("HMGET", f"capelin:{{{queue}:{shard}}}:lease", "owner", "expires")
                    for shard in range(shards)
                ]
            )
        owners: dict[int, str] = {}
        for shard, lease in enumerate(leases):
            match lease:
                case [str(owner), str(expires)] if owner and int(expires) > now:
                    owners[shard] = owner
                case _:
                    continue
        return owners

    # Jobs.

    async def enqueue(self, request: JobRequest[Any]) -> Job[Any]:
        """Enqueue one job."""
        return await self.app.enqueue(request)

    async def enqueue_many(self, requests: Sequence[JobRequest[Any]]) -> list[Job[Any]]:
        """Enqueue many jobs."""
        return await self.app.enqueue(requests)

    async def hold(self, gate: str, count: int) -> list[Job[Any]]:
        """Enqueue jobs that wait for a gate, to all shards alike; return once all run."""
        keys = [key_of(number % SHARDS) for number in range(count)]
        jobs = await self.enqueue_many([recording.held.options(shard_key=key).job(gate) for key in keys])
        ids = {job.id for job in jobs}
        await wait_until(
            lambda: ids <= {start.job for start in self.starts()}, description=f"{count} jobs to run"
        )
        return jobs

    def open_gate(self, name: str) -> None:
        """Let the jobs go on that wait for this gate."""
        recording.gate(self.ledger.path, name).touch()

    def starts(self, job: Job[Any] | None = None) -> list[Noted]:
        """Starts so far, of one job or of all, in order."""
        return self._noted("start", job)

    def ends(self, job: Job[Any] | None = None) -> list[Noted]:
        """Ends so far of starts that raised nothing."""
        return self._noted("end", job)

    def overs(self) -> list[Noted]:
        """The starts that are over, however they ended, unless their worker died."""
        return self._noted("over", None)

    async def started(self, job: Job[Any], *, times: int = 1, timeout: float = 20) -> Noted:
        """The job's `times`th start, once there is one."""
        await wait_until(
            lambda: len(self.starts(job)) >= times, description=f"start {times} of {job.id}", timeout=timeout
        )
        return self.starts(job)[times - 1]

    def census(self) -> Census:
        """Where every job stands."""
        return take_census(self.server)

    def statuses(self, jobs: list[Job[Any]]) -> list[str]:
        """The status of each job, from its record."""
        with self.server.connect() as redis:
            found = map(texts, redis.pipeline(*[("HGETALL", record_key(job)) for job in jobs]))
        records = [spelled_out(dict(zip(words[::2], words[1::2], strict=True))) for words in found]
        return [record.get("status", "none") for record in records]

    def waited(self, jobs: list[Job[Any]]) -> list[float]:
        """Seconds from the enqueue of each job to its last start, by Redis's clock."""
        with self.server.connect() as redis:
            rows = redis.pipeline(*[("HMGET", record_key(job), "at", "started") for job in jobs])
        return [(int(started) - int(enqueued)) / 1000 for enqueued, started in map(texts, rows)]

    async def all_completed(self, jobs: list[Job[Any]], *, timeout: float = 30) -> list["Account"]:
        """Return the accounts of these jobs once all are completed; each is in exactly one place."""
        await wait_until(
            lambda: set(self.statuses(jobs)) == {"completed"},
            description=f"{len(jobs)} jobs to be completed",
            timeout=timeout,
        )
        census = self.census()
        assert census.misplaced == []
        return [Account.of(census[job.id]) for job in jobs]

    def _noted(self, what: str, job: Job[Any] | None) -> list[Noted]:
        noted = [
            Noted(job=words[0], token=int(words[1]), worker=words[2], at=float(words[3]))
            for words in self.ledger.lines(what)
        ]
        return [line for line in noted if job is None or line.job == job.id]


def record_key(job: Job[Any]) -> str:
    """The key of a job's record."""
    return f"capelin:{{{job.queue}:{job.shard}}}:job:{job.id}"


def key_of(shard: int) -> str:
    """A shard key that leads to this shard."""
    return next(str(number) for number in count() if shard_of(str(number), SHARDS) == shard)
