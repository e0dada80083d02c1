"""Traces with OpenTelemetry: a span for each enqueue and for each start, in one trace.

Names and attributes are those of the semantic conventions for messaging. The context travels in the job's
headers, as W3C ``traceparent`` and ``tracestate`` (whatever propagator OpenTelemetry is configured with), so
that what runs is a child of what enqueued it, however often it is tried and whoever runs it. Needs the extra
``otel``; nothing of it is loaded by an app that is not traced.
"""

import json
import weakref
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from capelin.connection.urls import parse_url
from capelin.context import JobContext, current_job
from capelin.errors import ConfigurationError
from capelin.lua import OutcomeKind
from capelin.middleware import CallNext
from capelin.narrow import is_mapping
from capelin.requests import JobRequest

try:
    from opentelemetry import propagate, trace
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, SpanKind, StatusCode, TracerProvider
except ModuleNotFoundError as cause:  # pragma: no cover -- tried in a process of its own
    raise ConfigurationError(
        "tracing needs the extra `otel` (opentelemetry-api is not installed): pip install 'capelin[otel]'"
    ) from cause

if TYPE_CHECKING:
    from capelin.app import Capelin
    from capelin.jobs import Job
    from capelin.lua import OutcomeRow
    from capelin.workers.running import Start

Attributes = dict[str, str | int | bool]

_SYSTEM: Final = "capelin"
_SCHEMA: Final = "https://opentelemetry.io/schemas/1.28.0"
_EVENTS: Final[Mapping[str, str]] = {
    OutcomeKind.RETRY.value: "capelin.retry",
    OutcomeKind.DEAD.value: "capelin.dead_letter",
    OutcomeKind.SNOOZE.value: "capelin.snooze",
    OutcomeKind.RETURN.value: "capelin.return",
    OutcomeKind.PARK.value: "capelin.park",
    OutcomeKind.CANCEL.value: "capelin.cancel",
}
_FAILED: Final = frozenset({OutcomeKind.RETRY.value, OutcomeKind.DEAD.value})
_LOST: Final = "lost"


def instrument(app: "Capelin[Any]", *, tracer_provider: TracerProvider | None = None) -> None:
    """Trace an app: what this process enqueues, and what it runs if it is a worker.

    The same as ``CAPELIN_TRACING=true``, but for the provider. Call it where the app is made, before it is
    used. A second call changes the provider.

    Args:
        app: The app.
        tracer_provider: Makes the spans; OpenTelemetry's global one by default.

    Example:
        app = Capelin()
        instrument(app)
    """
    app.tracer = Tracing(app, tracer_provider=tracer_provider)


class Tracing:
    """The tracer of one app; see ``capelin.tracer.Tracer``.

    Args:
        app: The app.
        tracer_provider: Makes the spans; OpenTelemetry's global one by default.
    """

    def __init__(self, app: "Capelin[Any]", *, tracer_provider: TracerProvider | None = None) -> None:
        # Weakly: the app holds this, and is to go with its last reference.
        self._app = weakref.ref(app)
        self._tracer = trace.get_tracer(
            "capelin", version("capelin"), tracer_provider=tracer_provider, schema_url=_SCHEMA
        )
        self._open: dict[tuple[str, int], Span] = {}
        self._abandoned: set[tuple[str, int]] = set()

    # Producers.

    @contextmanager
    def sending(self, requests: Sequence[JobRequest[Any]]) -> "Generator[_Sending]":
        """See ``Tracer``."""
        queues = {request.queue for request in requests}
        attributes = self._about("enqueue", "send", queues.pop() if len(queues) == 1 else None)
        if len(requests) > 1:
            attributes["messaging.batch.message_count"] = len(requests)
        elif requests:
            attributes["capelin.task"] = requests[0].task
        with self._tracer.start_as_current_span(
            _name("enqueue", attributes),
            context=_of_process_task(),
            kind=SpanKind.PRODUCER,
            attributes=attributes,
        ) as span:
            yield _Sending(span, requests)

    def fired(self, schedule: str, request: JobRequest[Any]) -> JobRequest[Any]:
        """See ``Tracer``."""
        attributes = self._about("enqueue", "send", request.queue)
        attributes |= {"capelin.task": request.task, "capelin.schedule": schedule}
        with self._tracer.start_as_current_span(
            _name("enqueue", attributes), context=Context(), kind=SpanKind.PRODUCER, attributes=attributes
        ):
            return _carrying(request, _carrier())

    # Consumers.

    async def around(self, job: JobContext, call_next: CallNext) -> Any:
        """See ``Tracer``."""
        span = self._begin(job.task, job.queue, job.id, job.headers)
        span.set_attributes(
            {
                "messaging.client.id": job.worker_id,
                "messaging.message.conversation_id": job.correlation_id,
                "capelin.shard": job.shard,
                "capelin.attempt": job.attempt,
                "capelin.start": job.token,
            }
        )
        if job.schedule is not None:
            span.set_attribute("capelin.schedule", job.schedule)
            if job.tick is not None:
                span.set_attribute("capelin.tick", job.tick.isoformat())
        self._open[job.id, job.token] = span
        with trace.use_span(span, record_exception=False, set_status_on_exception=False):
            return await call_next()

    def ended(self, start: "Start", row: "OutcomeRow | None") -> None:
        """See ``Tracer``."""
        span = self._open.pop((start.job_id, start.token), None)
        if span is None:  # it ended before its attempt began: parked, its arguments refused, cancelled
            delivery = start.delivery
            span = self._begin(delivery.task, start.shard.queue, start.job_id, _headers(delivery.headers))
        if (start.job_id, start.token) in self._abandoned:
            self._abandoned.discard((start.job_id, start.token))
        else:
            _tell(span, row)
        span.end()

    def abandoned(self, start: "Start", row: "OutcomeRow") -> None:
        """See ``Tracer``."""
        span = self._open.get((start.job_id, start.token))
        if span is not None:
            self._abandoned.add((start.job_id, start.token))
            _tell(span, row)

    def _begin(self, task: str, queue: str, job_id: str, headers: Mapping[str, str]) -> Span:
        attributes = self._about("process", "process", queue)
        attributes |= {"messaging.message.id": job_id, "capelin.task": task}
        # No start is a child of whatever made the worker run it.
        context = propagate.extract(dict(headers), context=Context())
        return self._tracer.start_span(
            _name("process", attributes), context=context, kind=SpanKind.CONSUMER, attributes=attributes
        )

    def _about(self, operation: str, kind: str, queue: str | None) -> Attributes:
        attributes: Attributes = {
            "messaging.system": _SYSTEM,
            "messaging.operation.name": operation,
            "messaging.operation.type": kind,
        }
        if queue is not None:
            attributes["messaging.destination.name"] = queue
        app = self._app()
        return attributes if app is None else attributes | _server(app.url)


class _Sending:
    """An enqueue under way; see ``capelin.tracer.Sending``."""

    def __init__(self, span: Span, requests: Sequence[JobRequest[Any]]) -> None:
        self._span = span
        carrier = _carrier()
        self.requests = [_carrying(request, carrier) for request in requests]

    def made(self, jobs: "Sequence[Job[Any]]") -> None:
        """See ``Sending``."""
        if len(jobs) == 1:
            self._span.set_attribute("messaging.message.id", jobs[0].id)
        if duplicates := sum(job.duplicate for job in jobs):
            self._span.set_attribute("capelin.duplicates", duplicates)


def _carrier() -> dict[str, str]:
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier


def _carrying(request: JobRequest[Any], carrier: Mapping[str, str]) -> JobRequest[Any]:
    """Return a request with the context in its headers; words of the caller's own stand."""
    if not carrier:  # nothing is recorded
        return request
    then = None if request.then is None else _carrying(request.then, carrier)
    return replace(request, headers={**carrier, **request.headers}, then=then)


def _of_process_task() -> Context | None:
    """Return the context of the job that runs here when no span does: in the child of a process task."""
    if trace.get_current_span().get_span_context().is_valid:
        return None
    job = current_job(None)
    return None if job is None else propagate.extract(dict(job.headers))


def _tell(span: Span, row: "OutcomeRow | None") -> None:
    """Say how a start ended; one that completed needs no words."""
    kind = _LOST if row is None else row.kind
    span.set_attribute("capelin.outcome", kind)
    if row is None:
        span.add_event("capelin.lost")
        return
    if row.failure:
        _record_failure(span, row.failure)
    if (event := _EVENTS.get(kind)) is None:
        return
    details: dict[str, str | float] = {}
    if kind == OutcomeKind.DEAD.value:
        details["capelin.reason"] = str(row.body)
    elif row.due:
        text = str(row.due)
        if text.startswith("+"):
            details["capelin.delay"] = int(text[1:]) / 1000
        else:
            details["capelin.due"] = text
    span.add_event(event, details)
    if kind in _FAILED:
        span.set_status(StatusCode.ERROR, event.removeprefix("capelin."))


def _record_failure(span: Span, failure: str) -> None:
    error: dict[str, Any] = json.loads(failure)
    told = {
        "exception.type": error.get("type"),
        "exception.message": error.get("message"),
        "exception.stacktrace": error.get("traceback"),
    }
    span.add_event("exception", {name: str(words) for name, words in told.items() if words})
    span.set_attribute("error.type", str(error.get("type") or "_OTHER"))


def _name(operation: str, attributes: Attributes) -> str:
    queue = attributes.get("messaging.destination.name")
    return operation if queue is None else f"{operation} {queue}"


@lru_cache(maxsize=16)
def _server(url: str) -> Attributes:
    addresses = parse_url(url).addresses
    if not addresses:
        return {}
    first = addresses[0]
    return {"server.address": first.host} | ({"server.port": first.port} if first.port else {})


def _headers(text: bytes | None) -> dict[str, str]:
    try:
        headers: object = json.loads(text or b"{}")
    except ValueError:
        return {}
    return {str(name): str(word) for name, word in headers.items()} if is_mapping(headers) else {}
