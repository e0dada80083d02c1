"""Traces: one from an enqueue to the last of what comes of it, over retries, schedules and threads."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from tenacity import stop_after_attempt, wait_fixed

from capelin import Capelin, FailedJob, JobContext, Reject, RetryPolicy, Snooze, current_job
from capelin.context import running
from capelin.errors import EnqueueError, JobFailed
from capelin.settings import Settings
from capelin.tracing import instrument
from tests.support.processes import ROOT
from tests.support.waiting import wait_until
from tests.support.workers import QUICK, RunningWorker

AT_ONCE = RetryPolicy(stop=stop_after_attempt(2), wait=wait_fixed(0.01))


class Traced:
    """An app that is traced, and its spans."""

    def __init__(self, app: Capelin[Any]) -> None:
        self.app = app
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        instrument(app, tracer_provider=self.provider)

    @property
    def spans(self) -> list[ReadableSpan]:
        """Those that have ended, the first begun first."""
        return sorted(self._exporter.get_finished_spans(), key=lambda span: span.start_time or 0)

    def of(self, task: str, kind: SpanKind = SpanKind.CONSUMER) -> list[ReadableSpan]:
        """The spans of a task's jobs."""
        return [
            span
            for span in self.spans
            if span.kind is kind and (span.attributes or {}).get("capelin.task") == task
        ]

    async def until(self, task: str, count: int) -> list[ReadableSpan]:
        """Wait until so many starts of a task were traced."""
        await wait_until(
            lambda: len(self.of(task)) >= count, description=f"{count} spans of {task}: {self.spans}"
        )
        return self.of(task)


@pytest.fixture
async def traced(redis_url: str) -> AsyncIterator[Traced]:  # noqa: C901 -- a task for each end
    """An app whose tasks end in every way."""
    app = Capelin(redis_url, name="traced", settings=QUICK)

    @app.task(name="fine", queue="work")
    async def fine() -> None:
        if (job := current_job()).batch_id == "more":
            await app.task_named("leaf", queue="work").enqueue()
        del job

    @app.task(name="leaf", queue="work")
    def leaf() -> bool:
        return trace.get_current_span().get_span_context().is_valid

    @app.task(name="thread", queue="work")
    def thread() -> None:
        app.task_named("leaf", queue="work").enqueue_sync()

    @app.task(name="told", queue="work")
    async def told(job: FailedJob) -> None: ...

    @app.task(name="broken", queue="work", retry=AT_ONCE, on_failure=told)
    async def broken() -> None:
        raise ValueError("it fell over")

    @app.task(name="rejects", queue="work")
    async def rejects() -> None:
        raise Reject("no")

    @app.task(name="snoozes", queue="work")
    async def snoozes() -> None:
        if current_job().token == 1:
            raise Snooze(delay=0)

    @app.task(name="slow", queue="work", timeout=0.1, retry=RetryPolicy(stop=stop_after_attempt(1)))
    async def slow() -> None:
        await wait_until(lambda: False, description="the timeout")

    @app.task(name="typed", queue="work")
    async def typed(number: int) -> None: ...

    async with app:
        yield Traced(app)


def parent_of(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def trace_of(span: ReadableSpan) -> int:
    assert span.context is not None
    return int(span.context.trace_id)


def id_of(span: ReadableSpan) -> int:
    assert span.context is not None
    return int(span.context.span_id)


def events(span: ReadableSpan) -> list[str]:
    return [event.name for event in span.events]


async def test_a_start_is_a_child_of_its_enqueue_and_that_of_whoever_enqueued(
    traced: Traced, running_worker: RunningWorker
) -> None:
    await running_worker(traced.app)
    with traced.provider.get_tracer("test").start_as_current_span("request") as request:
        job = await traced.app.task_named("fine", queue="work").enqueue()
    [process] = await traced.until("fine", 1)
    [send] = traced.of("fine", SpanKind.PRODUCER)
    assert parent_of(send) == request.get_span_context().span_id
    assert parent_of(process) == id_of(send)
    assert (send.name, process.name) == ("enqueue work", "process work")
    sent, processed = dict(send.attributes or {}), dict(process.attributes or {})
    assert sent | processed == processed | sent | {
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
    }
    assert sent["messaging.operation.type"] == "send"
    for attributes in (sent, processed):
        assert attributes["messaging.system"] == "capelin"
        assert attributes["messaging.destination.name"] == "work"
        assert attributes["messaging.message.id"] == job.id
        assert attributes["server.address"] == "127.0.0.1"
    assert processed["capelin.attempt"] == 1
    assert processed["capelin.outcome"] == "complete"
    assert process.status.status_code is StatusCode.UNSET
    assert (await job.info()).headers["traceparent"].split("-")[1] == f"{trace_of(send):032x}"


async def test_retries_are_in_one_trace_and_each_failure_is_an_event(
    traced: Traced, running_worker: RunningWorker
) -> None:
    await running_worker(traced.app)
    job = await traced.app.tasks["broken"].enqueue()
    first, last = await traced.until("broken", 2)
    [told] = await traced.until("told", 1)
    [send] = traced.of("broken", SpanKind.PRODUCER)
    assert {trace_of(span) for span in (first, last, told)} == {trace_of(send)}
    assert parent_of(first) == parent_of(last) == id_of(send)
    assert events(first) == ["exception", "capelin.retry"]
    assert events(last) == ["exception", "capelin.dead_letter"]
    exception, retry = first.events
    assert dict(exception.attributes or {})["exception.type"] == "ValueError"
    assert "it fell over" in str(dict(exception.attributes or {})["exception.stacktrace"])
    assert dict(retry.attributes or {}) == {"capelin.delay": 0.01}
    assert dict(last.events[1].attributes or {}) == {"capelin.reason": "ValueError"}
    assert [dict(span.attributes or {})["capelin.attempt"] for span in (first, last)] == [1, 2]
    assert first.status.status_code is last.status.status_code is StatusCode.ERROR
    assert dict(last.attributes or {})["error.type"] == "ValueError"
    with pytest.raises(JobFailed):
        await job.result(timeout=5)


async def test_children_from_the_loop_and_from_threads_and_what_follows_are_in_the_trace(
    traced: Traced, running_worker: RunningWorker
) -> None:
    await running_worker(traced.app)
    app = traced.app
    job = await app.task_named("thread", queue="work").enqueue()
    [parent] = await traced.until("thread", 1)
    [leaf] = await traced.until("leaf", 1)
    [send] = traced.of("leaf", SpanKind.PRODUCER)
    assert (parent_of(send), parent_of(leaf)) == (id_of(parent), id_of(send))
    child = f"{dict(leaf.attributes or {})['messaging.message.id']}"
    assert await app.job(child).result(timeout=10) is True, "a thread sees the span, too"

    then = app.task_named("leaf", queue="work").job()
    await app.task_named("fine", queue="work").options(batch_id="more", then=then).enqueue()
    await traced.until("leaf", 3)
    assert len({trace_of(span) for span in traced.of("leaf")[1:]} | {trace_of(traced.of("fine")[0])}) == 1
    assert (await job.info()).status == "completed"


async def test_a_batch_is_one_span_and_each_of_its_jobs_carries_it(
    traced: Traced, running_worker: RunningWorker
) -> None:
    fine = traced.app.task_named("fine", queue="work")
    await traced.app.enqueue([fine.job() for _ in range(3)])
    [send] = [span for span in traced.spans if span.kind is SpanKind.PRODUCER]
    assert dict(send.attributes or {})["messaging.batch.message_count"] == 3
    await running_worker(traced.app)
    assert {parent_of(span) for span in await traced.until("fine", 3)} == {id_of(send)}


@pytest.mark.parametrize(
    ("task", "args", "told"),
    [
        ("rejects", (), ["exception", "capelin.dead_letter"]),
        ("slow", (), ["exception", "capelin.dead_letter"]),
        ("typed", ("x",), ["exception", "capelin.dead_letter"]),
        ("snoozes", (), ["capelin.snooze"]),
        ("unknown", (), ["capelin.park"]),
    ],
)
async def test_however_a_start_ends_its_span_says_so(
    traced: Traced,
    running_worker: RunningWorker,
    task: str,
    args: tuple[Any, ...],
    told: list[str],
) -> None:
    await running_worker(traced.app)
    job = await traced.app.task_named(task, queue="work").enqueue(*args)
    span = (await traced.until(task, 1))[0]
    assert events(span) == told
    failed = "exception" in told
    assert span.status.status_code is (StatusCode.ERROR if failed else StatusCode.UNSET)
    assert dict(span.attributes or {})["messaging.message.id"] == job.id
    [send] = traced.of(task, SpanKind.PRODUCER)
    assert parent_of(span) == id_of(send)


async def test_a_tick_is_a_trace_of_its_own_from_the_leader_to_the_run(
    redis_url: str, running_worker: RunningWorker
) -> None:
    app = Capelin(redis_url, name="ticking", settings=QUICK)

    @app.every(timedelta(seconds=1), name="tidy", queue="work")
    async def tidy() -> None: ...

    async with app:
        traced = Traced(app)
        await running_worker(app)
        task = next(iter(app.tasks))
        [run, *_] = await traced.until(task, 1)
        fired = {id_of(span): span for span in traced.of(task, SpanKind.PRODUCER)}
        send = fired[parent_of(run) or 0]
        assert parent_of(send) is None
        for span in (send, run):
            assert dict(span.attributes or {})["capelin.schedule"] == "tidy"
        assert str(dict(run.attributes or {})["capelin.tick"]).endswith("+00:00")


async def test_words_of_the_callers_own_stand(traced: Traced) -> None:
    named = traced.app.task_named("fine", queue="work")
    job = await named.options(headers={"traceparent": "mine", "x": "y"}).enqueue()
    assert (await job.info()).headers == {"traceparent": "mine", "x": "y"}


async def test_an_enqueue_that_fails_says_so(redis_url: str) -> None:
    settings = Settings(max_queue_length=1)
    async with Capelin(redis_url, name="full", settings=settings) as app:
        traced = Traced(app)
        named = app.task_named("fine", queue="work")
        await app.enqueue([named.options(shard_key="a").job() for _ in range(1)])
        with pytest.raises(EnqueueError):
            await named.options(shard_key="a").enqueue()
        span = traced.spans[-1]
        assert span.status.status_code is StatusCode.ERROR
        assert events(span) == ["exception"]


async def test_a_duplicate_is_told(traced: Traced) -> None:
    named = traced.app.task_named("fine", queue="work").options(dedupe_key="one")
    await named.enqueue()
    await named.enqueue()
    assert [dict(span.attributes or {}).get("capelin.duplicates") for span in traced.spans] == [None, 1]


OFF = """
import asyncio, sys
from capelin import Capelin
from capelin.workers.worker import Worker
# redis-py loads opentelemetry by itself where it is installed: what counts is what capelin loads.
app = Capelin()
@app.task
async def fine() -> None: ...
async def main() -> None:
    async with app:
        await fine.enqueue()
        await Worker(app, burst=True).run()
asyncio.run(main())
print("capelin.tracing" in sys.modules)
"""


@pytest.mark.parametrize(("tracing", "loaded"), [("false", False), ("true", True)])
def test_nothing_is_loaded_unless_it_is_asked_for(redis_url: str, tracing: str, *, loaded: bool) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", OFF],
        env={**os.environ, "CAPELIN_TRACING": tracing, "CAPELIN_REDIS_URL": redis_url},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.splitlines()[-1] == str(loaded)


def test_without_its_extra_it_says_how_to_install_it() -> None:
    script = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from capelin import Capelin\nfrom capelin.errors import ConfigurationError\n"
        "try:\n    Capelin('memory://x').tracer\n"
        "except ConfigurationError as error:\n    print(error)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "CAPELIN_TRACING": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "pip install 'capelin[otel]'" in ran.stdout


async def test_what_a_process_task_enqueues_is_a_child_of_the_enqueue_that_it_comes_from(
    traced: Traced,
) -> None:
    # Its child process has no span of its own, and knows the job by its headers alone.
    job = await traced.app.task_named("fine", queue="work").enqueue()
    headers = (await job.info()).headers
    here = JobContext(
        id=job.id, task="fine", queue="work", shard=0, attempt=1, token=1, worker_id="w", headers=headers
    )
    with running(here):
        await traced.app.task_named("leaf", queue="work").enqueue()
    [first], [second] = traced.of("fine", SpanKind.PRODUCER), traced.of("leaf", SpanKind.PRODUCER)
    assert parent_of(second) == id_of(first)
