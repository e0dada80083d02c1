"""What the type checkers infer of capelin, and what they flag.

Both pyright and mypy hold this file (`make check`): each `assert_type` is what they must infer, and each
`type: ignore` stands on an error that both must report, since one that is not needed is an error here. The
tests run as well, so that what is inferred is also what happens.
"""
# pyright: strict, reportUnnecessaryTypeIgnoreComment=error

from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, assert_type
from uuid import UUID

import pytest
from tenacity import stop_after_attempt, wait_fixed

from capelin.app import Capelin
from capelin.calls import NamedTask, TaskCall
from capelin.clusters import Cluster, ClusterWorker, OwnedShard, cluster
from capelin.context import JobContext, current_job
from capelin.errors import CapelinError
from capelin.jobs import Job
from capelin.options import TaskOptions
from capelin.requests import JobRequest
from capelin.resources import resource
from capelin.retry import RetryPolicy
from capelin.settings import Settings
from capelin.tasks import AsyncTask, SyncTask, Tasks


@dataclass
class Resources:
    """What the lifespan of an app yields."""

    db: str


@asynccontextmanager
async def lifespan(app: "Capelin[Resources]") -> AsyncGenerator[Resources]:
    yield Resources(db=app.name)


app = Capelin("memory://", lifespan=lifespan)
bare = Capelin("memory://")
tasks = Tasks(prefix="more.")


@app.task
async def send(to: str, subject: str = "hi") -> int:
    return len(to + subject)


@app.task
def total(numbers: list[float], *, scale: float = 1.0) -> float:
    return sum(numbers) * scale


@app.task(name="typed.fetch", queue="web", priority="high", timeout=timedelta(minutes=1), on_failure=send)
async def fetch(ident: UUID) -> bytes | None:
    return ident.bytes


@app.task(
    name="typed.crunch",
    run_in="process",
    retry=RetryPolicy(stop=stop_after_attempt(2), wait=wait_fixed(1)),
    retention=3600,
    aliases=("crunch",),
)
def crunch(*numbers: int, **names: str) -> dict[str, int]:
    return dict.fromkeys(names, sum(numbers))


@tasks.task
async def grouped(first: int, /) -> None:
    assert first


@tasks.task(max_crashes=1)
def grouped_too() -> str:
    return ""


def what_a_decorator_makes() -> None:
    assert_type(app, Capelin[Resources])
    assert_type(bare, Capelin[None])
    # ParamSpecs have no spelling outside of generics: what is made is pinned by what it takes and gives.
    _s: AsyncTask[..., int] = send
    _t: SyncTask[..., float] = total
    _f: AsyncTask[..., bytes | None] = fetch
    _c: SyncTask[..., dict[str, int]] = crunch
    _g: AsyncTask[[int], None] = grouped
    _h: SyncTask[[], str] = grouped_too
    _p: AsyncTask[[UUID], bytes | None] = fetch
    _q: AsyncTask[[str], bytes | None] = fetch  # type: ignore[assignment]
    _w: SyncTask[..., Any] = send  # type: ignore[assignment]
    _r: AsyncTask[..., str] = send  # type: ignore[assignment]


async def what_a_call_gives() -> None:
    coroutine = assert_type(send("a"), Coroutine[Any, Any, int])
    assert_type(await coroutine, int)
    assert_type(await send("a", subject="b"), int)
    assert_type(total([1.0]), float)
    assert_type(await fetch(UUID(int=1)), bytes | None)
    assert_type(crunch(1, 2, a="b"), dict[str, int])
    assert_type(grouped_too(), str)

    await send(1)  # type: ignore[arg-type]
    await send()  # type: ignore[call-arg]
    total([1.0], 2.0)  # type: ignore[call-arg]
    await grouped(first=1)  # type: ignore[call-arg]


async def what_enqueue_gives() -> None:
    assert_type(await send.enqueue("a", subject="b"), Job[int])
    assert_type(await total.enqueue([1.0], scale=2.0), Job[float])
    assert_type(await fetch.enqueue(UUID(int=1)), Job[bytes | None])
    assert_type(await crunch.enqueue(1, 2, a="b"), Job[dict[str, int]])
    assert_type(send.enqueue_sync("a"), Job[int])
    assert_type(await (await send.enqueue("a")).result(timeout=1), int)

    await send.enqueue(1)  # type: ignore[arg-type]
    await send.enqueue()  # type: ignore[call-arg]
    await send.enqueue("a", subjekt="b")  # type: ignore[call-arg]
    await total.enqueue([1.0], 2.0)  # type: ignore[call-arg]
    await crunch.enqueue("a")  # type: ignore[arg-type]
    await grouped.enqueue(first=1)  # type: ignore[call-arg]
    send.enqueue_sync(5)  # type: ignore[arg-type]


async def what_options_give() -> None:
    later = send.options(delay=60, dedupe_key="k", on_duplicate="keep", priority="critical")
    _call: TaskCall[..., int] = later
    assert_type(await later.enqueue("a"), Job[int])
    assert_type(later.enqueue_sync("a"), Job[int])
    assert_type(later.job("a"), JobRequest[int])
    assert_type(await send.options(then=total.job([1.0]), retry=RetryPolicy()).enqueue("a"), Job[int])
    assert_type(
        fetch.options(at=datetime.max.replace(tzinfo=UTC), headers={"a": "b"}).job(UUID(int=1)),
        JobRequest[bytes | None],
    )

    await later.enqueue(1)  # type: ignore[arg-type]
    later.job()  # type: ignore[call-arg]
    send.options(delay="soon")  # type: ignore[arg-type]
    send.options(priority="urgent")  # type: ignore[arg-type]
    send.options(on_duplicate="drop")  # type: ignore[arg-type]
    send.options(retries=3)  # type: ignore[call-arg]
    send.options(then=total)  # type: ignore[arg-type]
    send.options(retry=stop_after_attempt(3))  # type: ignore[arg-type]


async def what_a_job_gives() -> None:
    assert_type(send.job("a"), JobRequest[int])
    assert_type(await app.enqueue(send.job("a")), Job[int])
    assert_type(await app.enqueue([send.job("a"), total.job([1.0])]), list[Job[Any]])
    assert_type(app.enqueue_sync(send.job("a")), Job[int])
    assert_type(app.enqueue_sync([send.job("a")]), list[Job[Any]])
    assert_type(app.job("emails.1.x", send), Job[int])
    assert_type(app.job("emails.1.x", fetch), Job[bytes | None])
    assert_type(app.job("emails.1.x"), Job[Any])
    assert_type(app.job("emails.1.x", send).result_sync(), int)

    send.job(5)  # type: ignore[arg-type]
    await app.enqueue(send)  # type: ignore[call-overload]
    await app.enqueue([send])  # type: ignore[list-item]
    wrong: JobRequest[str] = send.job("a")  # type: ignore[assignment]
    del wrong


async def what_a_task_known_by_name_gives() -> None:
    named = app.task_named("email.send", queue="emails")
    assert_type(named, NamedTask)
    assert_type(named.options(delay=5), NamedTask)
    assert_type(named.job(1, a=2), JobRequest[Any])
    assert_type(await named.enqueue("a", b={"c": 1}), Job[Any])


def what_decorators_flag() -> None:
    app.task(5)  # type: ignore[call-overload]
    app.task(retries=5)  # type: ignore[call-overload]
    app.task(priority="urgent")  # type: ignore[call-overload]
    app.task(run_in="greenlet")  # type: ignore[call-overload]
    app.task(on_failure=5)  # type: ignore[call-overload]
    TaskOptions(queue=5)  # type: ignore[arg-type]
    RetryPolicy(stop=5)  # type: ignore[arg-type]


def what_settings_take() -> None:
    settings = Settings(lease_ttl=timedelta(seconds=2), grace=5, log_level="debug")
    assert_type(settings.lease_ttl, float)
    assert_type(settings.grace, float)
    assert_type(settings.max_queue_length, int | None)
    Capelin(settings=settings)

    Settings(patience=5)  # type: ignore[call-arg]
    settings.max_queue_length + 1  # type: ignore[operator]
    Capelin(settings=5)  # type: ignore[call-overload]


def what_is_found_in_a_job() -> None:
    assert_type(current_job(), JobContext)
    assert_type(current_job(None), JobContext | None)
    assert_type(app.resources, Resources)
    assert_type(app.resources.db, str)
    assert_type(bare.resources, None)
    assert_type(resource(Resources), Resources)

    assert_type(cluster(), Cluster)
    assert_type(cluster(None), Cluster | None)
    assert_type(cluster().workers, tuple[ClusterWorker, ...])
    assert_type(cluster().workers[0].started, datetime)
    assert_type(cluster().shards, tuple[OwnedShard, ...])
    assert_type(cluster().shard, int | None)
    assert_type(cluster().is_leader, bool)

    assert cluster().leader  # type: ignore[attr-defined]
    assert cluster(None).worker_id  # type: ignore[union-attr]
    assert current_job().nothing  # type: ignore[attr-defined]
    assert current_job(None).id  # type: ignore[union-attr]


FLAGGED: list[Callable[[], object]] = [
    lambda: send.job(5),  # type: ignore[arg-type]
    lambda: send.job(subject="b"),  # type: ignore[call-arg]
    lambda: send.job("a", subjekt="b"),  # type: ignore[call-arg]
    lambda: total.job([1.0], 2.0),  # type: ignore[call-arg]
    lambda: grouped.job(first=1),  # type: ignore[call-arg]
    lambda: send.options(delay="soon"),  # type: ignore[arg-type]
    lambda: send.options(priority="urgent"),  # type: ignore[arg-type]
    lambda: send.options(then=total),  # type: ignore[arg-type]
    lambda: TaskOptions(queue=5),  # type: ignore[arg-type]
    lambda: RetryPolicy(stop=5),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("call", FLAGGED)
def test_what_the_checkers_flag_is_refused_when_it_runs(call: Callable[[], object]) -> None:
    with pytest.raises(CapelinError):
        call()


def test_what_the_checkers_infer_is_what_is_made() -> None:
    assert [type(task) for task in (send, fetch, grouped)] == [AsyncTask] * 3
    assert [type(task) for task in (total, crunch, grouped_too)] == [SyncTask] * 3
    assert type(send.options(delay=1)) is TaskCall
    assert type(send.job("a")) is JobRequest
    assert type(app.task_named("email.send")) is NamedTask
    assert type(app.job("emails.1.x", send)) is Job
