"""All mutants, by name."""

from tests.mutation.catalog_outcomes import OUTCOMES
from tests.mutation.catalog_ownership import OWNERSHIP
from tests.mutation.catalog_resharding import RESHARDING
from tests.mutation.catalog_submits import SUBMITS
from tests.mutation.catalog_workers import WORKERS
from tests.mutation.mutants import Mutant

PARTS: dict[str, tuple[Mutant, ...]] = {
    "Starts and their ends": OUTCOMES,
    "Stakes, leases and the fleet": OWNERSHIP,
    "Requests, keys, ticks and wake-ups": SUBMITS,
    "Queues that are cut anew": RESHARDING,
    "Worker processes": WORKERS,
}
MUTANTS: dict[str, Mutant] = {mutant.name: mutant for part in PARTS.values() for mutant in part}
