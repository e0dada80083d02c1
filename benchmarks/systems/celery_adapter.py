"""Celery, Redis its broker and result backend, run by an interpreter of its own; its worker is its program.

Configuration, all of it documented: the prefork pool, its default, with one child process for what takes no
time and one a core for what computes; the thread pool with 100 threads for what sleeps;
``worker_prefetch_multiplier`` of 64, as its chapter on optimizing says for many short tasks; without gossip,
mingle and heartbeat, as it says for Redis; results kept for a day, as by default. There is no call that
enqueues many jobs (a group sends one after the other).
"""

# The strict checkers run where Celery is not installed.
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

_RESULTS = "celery-task-meta-*"
_QUIET = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=ERROR")


class CeleryAdapter(Program):
    """Celery in its best documented configuration."""

    def __init__(self) -> None:
        self._app: Any = None
        self._tasks: dict[Work, Any] = {}

    async def open(self, url: str, settings: Settings) -> None:
        """As in ``Adapter``."""
        del settings
        os.environ[URL_VARIABLE] = url
        module = import_module("benchmarks.systems.celery_tasks")
        self._app, self._tasks = module.app, module.TASKS

    async def enqueue_one(self, job: Job) -> None:
        """As in ``Adapter``."""
        self._tasks[job.work].delay(*job.arguments)

    async def enqueue_many(self, jobs: Sequence[Job]) -> None:
        """As in ``Adapter``: one after the other."""
        for job in jobs:
            self._tasks[job.work].delay(*job.arguments)

    async def result(self, job: Job, within: float) -> Any:
        """As in ``Adapter``."""
        return self._tasks[job.work].delay(*job.arguments).get(timeout=within)

    def command(self, work: Work) -> Sequence[str]:
        """As in ``Program``."""
        pool, count = "prefork", 1
        if work is Work.SPIN:
            count = os.cpu_count() or 1
        elif work is Work.NAP:
            pool, count = "threads", AT_ONCE
        name = f"--hostname=benchmark-{os.getpid()}@%h"
        return (
            "celery",
            "--app=benchmarks.systems.celery_tasks:app",
            "worker",
            f"--pool={pool}",
            f"--concurrency={count}",
            name,
            *_QUIET,
        )

    async def settled(self) -> bool:
        """As in ``Adapter``: nothing is left that a worker fetched and did not acknowledge.

        It acknowledges a task when it starts it; a result or two that are on their way are not waited for.
        """
        return bool(self._app.backend.client.hlen("unacked") == 0)

    async def finished(self) -> int | None:
        """As in ``Adapter``."""
        return sum(1 for _ in self._app.backend.client.scan_iter(_RESULTS, count=1000))

    async def close(self) -> None:
        """As in ``Adapter``."""
        self._app.close()


if __name__ == "__main__":
    main(CeleryAdapter())
