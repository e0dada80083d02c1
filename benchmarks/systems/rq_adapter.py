"""RQ, run by an interpreter of its own; its worker is its program ``rq worker``.

Configuration, all of it documented: ``SimpleWorker``, which does not fork for each job and is therefore the
faster of its worker classes; results and finished jobs kept for 500 s, as by default. Many jobs go out with
``enqueue_many``. A worker runs one job at a time.
"""

# The strict checkers run where RQ is not installed.
# mypy: disable-error-code="import-not-found"
# pyright: reportMissingImports=false, reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUntypedFunctionDecorator=false
import logging
from collections.abc import Sequence
from typing import Any

from redis import Redis
from rq import Queue

from benchmarks.adapter import Settings
from benchmarks.programs import Program
from benchmarks.serving import main
from benchmarks.work import FUNCTIONS, Job, Work

_QUEUE = "benchmark"
_A_CALL = 1000


class RqAdapter(Program):
    """RQ in its best documented configuration."""

    def __init__(self) -> None:
        self._url = ""
        self._redis: Any = None
        self._queue: Any = None

    async def open(self, url: str, settings: Settings) -> None:
        """As in ``Adapter``."""
        del settings
        logging.getLogger("rq").setLevel(logging.WARNING)
        self._url = url
        self._redis = Redis.from_url(url)
        self._queue = Queue(_QUEUE, connection=self._redis)

    async def enqueue_one(self, job: Job) -> None:
        """As in ``Adapter``."""
        self._queue.enqueue(FUNCTIONS[job.work], *job.arguments)

    async def enqueue_many(self, jobs: Sequence[Job]) -> None:
        """As in ``Adapter``."""
        for begin in range(0, len(jobs), _A_CALL):
            self._queue.enqueue_many(
                [
                    Queue.prepare_data(FUNCTIONS[job.work], job.arguments)
                    for job in jobs[begin : begin + _A_CALL]
                ]
            )

    async def result(self, job: Job, within: float) -> Any:
        """As in ``Adapter``."""
        enqueued = self._queue.enqueue(FUNCTIONS[job.work], *job.arguments)
        return enqueued.latest_result(timeout=int(within)).return_value

    def command(self, work: Work) -> Sequence[str]:
        """As in ``Program``."""
        del work
        return ("rq", "worker", "--url", self._url, "--worker-class", "rq.SimpleWorker", "--quiet", _QUEUE)

    async def settled(self) -> bool:
        """As in ``Adapter``."""
        return bool(self._queue.started_job_registry.get_job_count(cleanup=False) == 0)

    async def finished(self) -> int | None:
        """As in ``Adapter``."""
        return int(self._queue.finished_job_registry.get_job_count(cleanup=False))

    async def close(self) -> None:
        """As in ``Adapter``."""
        self._redis.close()


if __name__ == "__main__":
    main(RqAdapter())
