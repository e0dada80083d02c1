"""The systems that are measured: a row a system. A new one is a module in ``systems`` and a row here."""

from dataclasses import dataclass
from enum import Enum


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
        idle_latency: Whether enqueue-to-start is measured; the bare loop waits for nothing.
    """

    name: str
    role: Role
    module: str
    configuration: str
    requirements: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    idle_latency: bool = True


CAPELIN = System(
    name="capelin",
    role=Role.SUBJECT,
    module="benchmarks.systems.capelin_adapter",
    packages=("capelin", "redis", "hiredis", "uvloop"),
    configuration="default settings: concurrency 100, 8 shards, records kept 7 days",
)
BARE_LOOP = System(
    name="bare loop",
    role=Role.LIMIT,
    module="benchmarks.systems.bare_loop",
    packages=("hiredis", "uvloop"),
    configuration="the same scripts, arguments ready, 2 lanes of 50 jobs, no features",
    idle_latency=False,
)
ARQ = System(
    name="arq",
    role=Role.PEER,
    module="benchmarks.systems.arq_adapter",
    requirements=("arq==0.28.0", "uvloop>=0.19"),
    packages=("arq", "redis", "hiredis", "uvloop"),
    configuration="max_jobs=100, poll_delay=0.01 (default 0.5), keep_result 1 h (default)",
)
SAQ = System(
    name="SAQ",
    role=Role.PEER,
    module="benchmarks.systems.saq_adapter",
    # typing-extensions: SAQ imports it and does not ask for it.
    requirements=("saq[redis,hiredis]==0.26.4", "typing-extensions", "uvloop>=0.19"),
    packages=("saq", "redis", "hiredis", "uvloop"),
    configuration="concurrency=100, max_concurrent_ops=100, hiredis, results kept 10 min (default)",
)

SYSTEMS = (CAPELIN, BARE_LOOP, ARQ, SAQ)
ROUND_TRIP_MODULE = "benchmarks.systems.round_trip"
