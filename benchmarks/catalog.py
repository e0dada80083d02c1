"""The systems that are measured: a row a system. A new one is a module in ``systems`` and a row here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from benchmarks.figures import Figure


class Role(Enum):
    """What a system is measured for."""

    SUBJECT = "subject"
    """What everything is compared with."""
    LIMIT = "limit"
    """What the subject could at best reach."""
    PEER = "peer"
    """Another task system, in an environment of its own."""


@dataclass(frozen=True, kw_only=True)
class System:
    """A system that is measured.

    Attributes:
        module: Its adapter, run with ``-m``.
        requirements: What pip installs into its own environment; empty for capelin's environment.
        packages: Distributions whose versions are printed.
        configuration: How it is set up, for the reader.
        lacks: What it cannot do, and why: said instead of a figure.
        share: How many of the jobs it is given: a slow system says as much with fewer.
        program: Whether its worker is a program of its own, which the adapter's process starts.
    """

    name: str
    role: Role
    module: str
    configuration: str
    requirements: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    lacks: Mapping[Figure, str] = field(default_factory=dict[Figure, str])
    share: float = 1.0
    program: bool = False


def _peer(
    name: str,
    *,
    pins: tuple[str, ...],
    packages: tuple[str, ...],
    configuration: str,
    lacks: Mapping[Figure, str] | None = None,
    share: float = 0.6,
    program: bool = False,
) -> System:
    return System(
        name=name,
        role=Role.PEER,
        module=f"benchmarks.systems.{name.lower()}_adapter",
        requirements=pins,
        packages=packages,
        configuration=configuration,
        lacks=lacks or {},
        share=share,
        program=program,
    )


_NO_BULK = {Figure.ENQUEUE_MANY: "no bulk call"}
_NO_BULK_NOR_COROUTINES = {**_NO_BULK, Figure.ENQUEUE_SPREAD: "one caller"}
_BULK = {Figure.ENQUEUE_SPREAD: "see many/s"}
_NO_RESULTS = {Figure.RESULT_P50: "no results", Figure.RESULT_P99: "no results"}

CAPELIN = System(
    name="capelin",
    role=Role.SUBJECT,
    module="benchmarks.systems.capelin_adapter",
    packages=("capelin", "redis", "hiredis", "uvloop"),
    configuration="default settings: concurrency 100, 8 shards, records kept 7 days; CPU jobs in processes",
    lacks=_BULK,
)
BARE_LOOP = System(
    name="bare loop",
    role=Role.LIMIT,
    module="benchmarks.systems.bare_loop",
    packages=("hiredis", "uvloop"),
    configuration="the same scripts, arguments ready, 2 lanes of 50 jobs, no features",
    lacks={**_BULK, **_NO_RESULTS},
)
ARQ = _peer(
    "arq",
    pins=("arq==0.28.0", "uvloop==0.23.0"),
    packages=("arq", "redis", "hiredis", "uvloop"),
    configuration="max_jobs=100, poll_delay=0.01 (default 0.5), keep_result 1 h (default)",
    lacks=_NO_BULK,
)
SAQ = _peer(
    "SAQ",
    # typing-extensions: SAQ imports it and does not ask for it.
    pins=("saq[redis,hiredis]==0.26.4", "typing-extensions", "uvloop==0.23.0"),
    packages=("saq", "redis", "hiredis", "uvloop"),
    configuration="concurrency=100, max_concurrent_ops=100, hiredis, results kept 10 min (default)",
    lacks=_NO_BULK,
)
STREAQ = _peer(
    "streaQ",
    pins=("streaq==7.2.0", "uvloop==0.23.0"),
    packages=("streaq", "coredis", "uvloop"),
    configuration="concurrency=100 and as many prefetched, enqueue_many, results kept 5 min (default)",
    lacks=_BULK,
)
TASKIQ = _peer(
    "taskiq",
    pins=("taskiq==0.13.0", "taskiq-redis==1.2.4", "hiredis==3.5.0", "uvloop==0.23.0"),
    packages=("taskiq", "taskiq-redis", "redis", "hiredis", "uvloop"),
    configuration="RedisStreamBroker(consumer_id=0), 100 at a time, results kept 10 min; CPU: process pool",
    lacks=_NO_BULK,
)
DOCKET = _peer(
    "docket",
    pins=("pydocket==0.27.0", "hiredis==3.5.0", "uvloop==0.23.0"),
    packages=("pydocket", "redis", "hiredis", "uvloop"),
    configuration="concurrency=100, check interval 10 ms (default 250), add_many, kept 15 min (default)",
    lacks=_BULK,
)
BULLMQ = _peer(
    "BullMQ",
    pins=("bullmq==3.4.4", "hiredis==3.5.0", "uvloop==0.23.0"),
    packages=("bullmq", "redis", "hiredis", "uvloop"),
    configuration="concurrency=100, addBulk of 1,000, completed jobs kept (default); its Python package",
    lacks=_BULK,
)
DRAMATIQ = _peer(
    "dramatiq",
    pins=("dramatiq[redis]==2.2.1", "hiredis==3.5.0"),
    packages=("dramatiq", "redis", "hiredis"),
    configuration="1 process of 8 threads (default); 100 threads for sleeps; a process a core for CPU jobs",
    lacks=_NO_BULK_NOR_COROUTINES,
    program=True,
)
CELERY = _peer(
    "Celery",
    pins=("celery[redis]==5.7.0", "hiredis==3.5.0"),
    packages=("celery", "kombu", "redis", "hiredis"),
    configuration="prefork of 1, prefetch 64, no gossip, mingle, heartbeat, results kept 1 day (default); "
    "100 threads for sleeps; prefork of a process a core for CPU jobs",
    lacks=_NO_BULK_NOR_COROUTINES,
    share=0.3,
    program=True,
)
RQ = _peer(
    "RQ",
    pins=("rq==3.0.0", "hiredis==3.5.0"),
    packages=("rq", "redis", "hiredis"),
    configuration="SimpleWorker (does not fork for each job), enqueue_many, kept 500 s (default)",
    lacks={**_BULK, Figure.NAPS: "one job at a time"},
    share=0.1,
    program=True,
)
HUEY = _peer(
    "huey",
    pins=("huey==3.5.4", "redis==8.1.0", "hiredis==3.5.0"),
    packages=("huey", "redis", "hiredis"),
    configuration="blocking RedisHuey, 4 threads; 100 threads for sleeps; a process a core for CPU jobs",
    lacks=_NO_BULK_NOR_COROUTINES,
    program=True,
)

SYSTEMS = (CAPELIN, BARE_LOOP, ARQ, SAQ, STREAQ, TASKIQ, DOCKET, BULLMQ, DRAMATIQ, CELERY, RQ, HUEY)
ROUND_TRIP_MODULE = "benchmarks.systems.round_trip"
