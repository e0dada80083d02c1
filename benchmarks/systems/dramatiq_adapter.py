"""dramatiq, run by an interpreter of its own; its workers are its program ``dramatiq``.

Configuration, all of it documented: the Redis broker; one process of 8 threads (the default number of
threads); 100 threads for what sleeps; a process a core with one thread for what computes. Results are stored
for the one task that has any, as its guide recommends. There is no call that enqueues many jobs (a group
enqueues one after the other). Redis keeps no record of a job that ended well.
"""

# The strict checkers run where dramatiq is not installed.
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

_THREADS = 8


class DramatiqAdapter(Program):
    """dramatiq in its best documented configuration."""

    def __init__(self) -> None:
        self._broker: Any = None
        self._actors: dict[Work, Any] = {}

    async def open(self, url: str, settings: Settings) -> None:
        """As in ``Adapter``."""
        del settings
        os.environ[URL_VARIABLE] = url
        module = import_module("benchmarks.systems.dramatiq_tasks")
        self._broker, self._actors = module.broker, module.ACTORS

    async def enqueue_one(self, job: Job) -> None:
        """As in ``Adapter``."""
        self._actors[job.work].send(*job.arguments)

    async def enqueue_many(self, jobs: Sequence[Job]) -> None:
        """As in ``Adapter``: one after the other."""
        for job in jobs:
            self._actors[job.work].send(*job.arguments)

    async def result(self, job: Job, within: float) -> Any:
        """As in ``Adapter``."""
        return self._actors[job.work].send(*job.arguments).get_result(block=True, timeout=int(within * 1000))

    def command(self, work: Work) -> Sequence[str]:
        """As in ``Program``."""
        processes, threads = 1, AT_ONCE if work is Work.NAP else _THREADS
        if work is Work.SPIN:
            processes, threads = os.cpu_count() or 1, 1
        return ("dramatiq", "benchmarks.systems.dramatiq_tasks", "-p", str(processes), "-t", str(threads))

    async def settled(self) -> bool:
        """As in ``Adapter``: no message is unacknowledged."""
        client = self._broker.client
        left = sum(client.scard(key) for key in client.keys("dramatiq:__acks__.*"))
        return bool(left == 0)

    async def finished(self) -> int | None:
        """As in ``Adapter``."""
        return None

    async def close(self) -> None:
        """As in ``Adapter``."""
        self._broker.close()


if __name__ == "__main__":
    main(DramatiqAdapter())
