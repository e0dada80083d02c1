"""Around an enqueue: what may be given, and the handles, or the error, that come of it."""

from collections.abc import Iterable, Sequence
from typing import Any, cast

from capelin._durability import Lack
from capelin._sending import Full, Placed
from capelin.errors import EnqueueError, InvalidArguments, NotReplicated, QueueFull
from capelin.jobs import Host, Job
from capelin.lua import Submitted
from capelin.requests import JobRequest, is_request

_NEW = frozenset({Submitted.NEW, Submitted.AGAIN, Submitted.FOLLOWER})


def checked(requests: object) -> list[JobRequest[Any]]:
    """Return requests as a list.

    Raises:
        InvalidArguments: Something else is among them.
    """
    if not isinstance(requests, Iterable):
        raise _no_request(requests)
    many = list(cast(Iterable[object], requests))
    for request in many:
        if not is_request(request):
            raise _no_request(request)
    return cast(list[JobRequest[Any]], many)


def handle(host: Host, request: JobRequest[Any], placed: Placed) -> Job[Any]:
    """Return the handle of a job that was enqueued."""
    return Job(
        host,
        queue=request.queue,
        shard=placed.shard,
        uid=placed.uid,
        task=request.task,
        duplicate=placed.verdict not in _NEW,
    )


def handles(
    host: Host, requests: Sequence[JobRequest[Any]], places: Sequence[Placed | Exception]
) -> list[Job[Any]]:
    """Return the handles of jobs that were enqueued.

    Raises:
        QueueFull, EnqueueError: Some were not.
        NotReplicated: All were, and some have fewer copies than was asked for.
    """
    jobs: list[Job[Any]] = []
    lacking: list[Job[Any]] = []
    lacks: list[Lack] = []
    unsent: list[int] = []
    causes: list[Exception] = []
    for index, (request, placed) in enumerate(zip(requests, places, strict=True)):
        if isinstance(placed, Exception):
            unsent.append(index)
            causes.append(placed)
        else:
            jobs.append(handle(host, request, placed))
            if placed.lack is not None:
                lacking.append(jobs[-1])
                lacks.append(placed.lack)
    if unsent:
        kind = QueueFull if all(isinstance(cause, Full) for cause in causes) else EnqueueError
        raise kind(enqueued=jobs, unsent=unsent, causes=causes, lacking=lacking)
    if lacks:
        worst = min(lacks, key=lambda lack: lack.got)
        raise NotReplicated(
            jobs=jobs, lacking=lacking, wanted=worst.wanted, got=worst.got, fsync=worst.fsync, why=worst.why
        )
    return jobs


def _no_request(value: object) -> InvalidArguments:
    return InvalidArguments(task="enqueue", why=f"expected jobs, as send.job(...); got {value!r}")
