"""What became of every file: read from the records, counted, and held against what was enqueued."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import TypeAdapter

from capelin.admin import Access, read_job
from capelin.admin.jobs import read_jobs
from capelin.demo.measure import Measures
from capelin.ids import JobId
from capelin.records import JobInfo, JobStatus, moment

_MEASURES = TypeAdapter(Measures)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """The worker that was killed.

    Attributes:
        name: Its name.
        pid: Its pid.
        at: When, by Redis's clock, ms.
        epoch: Of the lead that it held; 0 if it led nothing.
        after: Seconds after the start of the work.
    """

    name: str
    pid: int
    at: int
    epoch: int
    after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of the files.

    Attributes:
        files: How many were enqueued.
        measured: What was found in those that were measured, by path.
        dead: The jobs in the DLQ, by path.
        missing: Files of which nothing is recorded, with what is known of their jobs.
        repeated: Files that were recorded more than once.
        starts: How often jobs were started.
        came_back: Seconds from the kill until each of the dead worker's jobs ran again.
        seconds: How long the work took.
    """

    files: int
    measured: Mapping[str, Measures]
    dead: Mapping[str, JobInfo]
    missing: Mapping[str, str]
    repeated: Sequence[str]
    starts: int
    came_back: Sequence[float]
    seconds: float

    @property
    def complete(self) -> bool:
        """Whether every file is accounted for exactly once."""
        recorded = len(self.measured) + len(self.dead)
        return not self.missing and not self.repeated and recorded == self.files


async def read_outcome(
    access: Access, jobs: Mapping[Path, str], *, kill: Kill | None, seconds: float
) -> Outcome:
    """Read every job's record.

    Args:
        access: Where.
        jobs: Ids of the jobs, by file.
        kill: The worker that was killed, if one was.
        seconds: How long the work took.
    """
    ids = [JobId.parse(job_id) for job_id in jobs.values()]
    infos = await read_jobs(access, [(access.keys.shard(job.queue, job.shard), job.uid) for job in ids], {})
    by_id = {info.id: info for info in infos}
    measured: dict[str, Measures] = {}
    dead: dict[str, JobInfo] = {}
    missing: dict[str, str] = {}
    recorded = Counter[str]()
    for path, job_id in jobs.items():
        info = by_id.get(job_id)
        if info is None or info.args != (str(path),):
            missing[str(path)] = "no record"
        elif info.status is JobStatus.COMPLETED:
            measured[str(path)] = _MEASURES.validate_python(info.result)
        elif info.status is JobStatus.FAILED:
            dead[str(path)] = info
        else:
            missing[str(path)] = f"is {info.status.value}"
    for info in infos:
        recorded[str(info.args[0]) if info.args else "?"] += 1
    return Outcome(
        files=len(jobs),
        measured=measured,
        dead=dead,
        missing=missing,
        repeated=[path for path, times in recorded.items() if times > 1],
        starts=sum(info.token for info in infos),
        came_back=await _came_back(access, infos, kill),
        seconds=seconds,
    )


async def _came_back(access: Access, infos: Sequence[JobInfo], kill: Kill | None) -> list[float]:
    killed_at = moment(kill.at) if kill is not None else None
    if kill is None or killed_at is None:
        return []
    seconds: list[float] = []
    for info in infos:
        if info.token > 1:
            again = _next_start(await read_job(access, info.id), kill.name)
            if again is not None:
                seconds.append((again - killed_at).total_seconds())
    return sorted(seconds)


def _next_start(info: JobInfo, worker: str) -> datetime | None:
    """When a job was started again after the start that died with a worker."""
    lost = next(
        (
            failure
            for failure in info.failures
            if failure.worker.startswith(f"{worker}-")
            and failure.error
            and failure.error.type == "WorkerLost"
        ),
        None,
    )
    if lost is None:
        return None
    later = [failure for failure in info.failures if failure.token == lost.token + 1]
    return later[0].started if later else info.started
