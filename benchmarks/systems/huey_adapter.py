"""huey, run by an interpreter of its own; its consumer is its program ``huey_consumer``.

Configuration, all of it documented: ``RedisHuey``, whose workers block for the next job instead of polling,
with ``notify_result``, so that a waiting caller blocks too; ``-k thread``, its default, with 4 workers for
what takes no time and 100 for what sleeps; ``-k process`` with a worker a core for what computes. There is no
call that enqueues many jobs. It keeps results, but no record of a job that returned nothing, and takes a job
from Redis before it runs: what a worker had in hand when it died is lost, as its documentation says.
"""

# The strict checkers run where huey is not installed.
# mypy: disable-error-code="import-not-found"
# pyright: reportMissingImports=false, reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUntypedFunctionDecorator=false
import os
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from benchmarks.adapter import AT_ONCE, Settings
from benchmarks.programs import URL_VARIABLE, Program
from benchmarks.serving import main
from benchmarks.work import Job, Work

_THREADS = 4


class HueyAdapter(Program):
    """huey in its best documented configuration."""

    def __init__(self) -> None:
        self._huey: Any = None
        self._tasks: dict[Work, Any] = {}

    async def open(self, url: str, settings: Settings) -> None:
        """As in ``Adapter``."""
        del settings
        os.environ[URL_VARIABLE] = url
        module = import_module("benchmarks.systems.huey_tasks")
        self._huey, self._tasks = module.huey, module.TASKS

    async def enqueue_one(self, job: Job) -> None:
        """As in ``Adapter``."""
        self._tasks[job.work](*job.arguments)

    async def enqueue_many(self, jobs: Sequence[Job]) -> None:
        """As in ``Adapter``: one after the other."""
        for job in jobs:
            self._tasks[job.work](*job.arguments)

    async def result(self, job: Job, within: float) -> Any:
        """As in ``Adapter``."""
        return self._tasks[job.work](*job.arguments).get(blocking=True, timeout=within)

    def command(self, work: Work) -> Sequence[str]:
        """As in ``Program``."""
        kind, workers = "thread", AT_ONCE if work is Work.NAP else _THREADS
        if work is Work.SPIN:
            kind, workers = "process", os.cpu_count() or 1
        return ("huey_consumer", "benchmarks.systems.huey_tasks.huey", "-k", kind, "-w", str(workers), "-q")

    async def settled(self) -> bool:
        """As in ``Adapter``: a job that returns nothing leaves nothing to be recorded."""
        return True

    async def finished(self) -> int | None:
        """As in ``Adapter``."""
        return None

    async def close(self) -> None:
        """As in ``Adapter``."""
        self._huey.storage.close()


if __name__ == "__main__":
    main(HueyAdapter())
