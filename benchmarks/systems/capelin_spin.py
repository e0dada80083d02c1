"""capelin's task that computes: the worker's processes import it, so it stands at the top of a module."""

from benchmarks.work import Work, spin_plainly
from capelin import Tasks

QUEUE = "cpu"

tasks = Tasks()


@tasks.task(name=Work.SPIN.value, queue=QUEUE, run_in="process")
def spin(number: int) -> None:
    """Compute."""
    spin_plainly(number)
