"""Middleware: around each attempt, the first outermost, at no cost when there is none."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from capelin.context import JobContext
from capelin.errors import InvalidOption
from capelin.middleware import CallNext, Middleware, checked_middleware, compose


@dataclass(frozen=True)
class Start:
    """What an executor runs."""

    job: JobContext
    result: Callable[[], Any]


def start(result: Callable[[], Any]) -> Start:
    job = JobContext(id="q.0.x", task="t", queue="q", shard=0, attempt=1, token=1, worker_id="w")
    return Start(job, result)


async def attempt(start: Start) -> Any:
    return start.result()


def composed(*middleware: Middleware) -> Callable[[Start], Awaitable[Any]]:
    return compose(checked_middleware(middleware), attempt, job_of=lambda start: start.job)


def test_without_middleware_it_is_the_attempt_itself() -> None:
    assert composed() is attempt


async def test_the_first_is_outermost_and_sees_the_job() -> None:
    said: list[str] = []

    def named(name: str) -> Middleware:
        async def middleware(job: JobContext, call_next: CallNext) -> Any:
            said.append(f"{name} before {job.id}")
            result = await call_next()
            said.append(f"{name} after {result}")
            return f"{name}({result})"

        return middleware

    assert await composed(named("a"), named("b"))(start(lambda: "x")) == "a(b(x))"
    assert said == ["a before q.0.x", "b before q.0.x", "b after x", "a after b(x)"]


async def test_an_error_goes_through_each() -> None:
    seen: list[str] = []

    async def middleware(_job: JobContext, call_next: CallNext) -> Any:
        try:
            return await call_next()
        except ZeroDivisionError as error:
            seen.append(str(error))
            raise

    with pytest.raises(ZeroDivisionError):
        await composed(middleware, middleware)(start(lambda: 1 // 0))

    assert len(seen) == 2


async def test_middleware_may_answer_for_the_attempt() -> None:
    async def middleware(_job: JobContext, _call_next: CallNext) -> Any:
        return "instead"

    assert await composed(middleware)(start(lambda: 1 // 0)) == "instead"


async def test_one_composition_serves_starts_side_by_side() -> None:
    async def middleware(_job: JobContext, call_next: CallNext) -> Any:
        return [await call_next()]

    run = composed(middleware)

    assert [await run(start(lambda: "a")), await run(start(lambda: "b"))] == [["a"], ["b"]]


async def test_an_object_may_be_middleware() -> None:
    class Timed:
        async def __call__(self, _job: JobContext, call_next: CallNext) -> Any:
            return ["timed", await call_next()]

    assert await composed(Timed())(start(lambda: 1)) == ["timed", 1]


def plain(_job: JobContext, _call_next: CallNext) -> Any:
    return None


async def takes_one(_job: JobContext) -> Any:
    return None


@pytest.mark.parametrize(
    ("middleware", "why"),
    [
        (plain, "expected async def middleware(job, call_next)"),
        (5, "expected async def middleware(job, call_next)"),
        (takes_one, "it is called with the job and call_next: too many positional arguments"),
    ],
)
def test_what_cannot_be_middleware_is_refused(middleware: Any, why: str) -> None:
    with pytest.raises(InvalidOption) as error:
        checked_middleware([middleware])

    assert why in str(error.value)
