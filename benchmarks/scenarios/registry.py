"""All scenarios, in the order in which they are measured: a later one may use what an earlier one found."""

from benchmarks.scenarios.backlog import BACKLOG
from benchmarks.scenarios.delayed import DELAYED
from benchmarks.scenarios.growth import GROWTH
from benchmarks.scenarios.idle_fleet import IDLE_FLEET
from benchmarks.scenarios.latency import LATENCY
from benchmarks.scenarios.load import LOAD
from benchmarks.scenarios.naps import NAPS
from benchmarks.scenarios.payloads import PAYLOADS
from benchmarks.scenarios.scenario import Scenario
from benchmarks.scenarios.shards import SHARDS
from benchmarks.scenarios.side_by_side import SIDE_BY_SIDE
from benchmarks.scenarios.spins import SPINS
from benchmarks.scenarios.startup import STARTUP
from benchmarks.scenarios.throughput import THROUGHPUT
from benchmarks.scenarios.two_workers import TWO_WORKERS

SCENARIOS: tuple[Scenario, ...] = (
    THROUGHPUT,
    SIDE_BY_SIDE,
    LATENCY,
    LOAD,
    STARTUP,
    TWO_WORKERS,
    NAPS,
    SPINS,
    PAYLOADS,
    BACKLOG,
    DELAYED,
    SHARDS,
    IDLE_FLEET,
    GROWTH,
)
