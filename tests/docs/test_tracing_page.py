"""What docs/tracing.md shows works as shown: with OpenTelemetry, and with Sentry."""

from collections.abc import Iterator
from typing import Any

import pytest
import sentry_sdk
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport
from tenacity import stop_after_attempt
from typing_extensions import override

from capelin import Capelin, RetryPolicy, Snooze, current_job
from tests.docs.snippets import executed, shown


class Kept(Transport):
    """Sends nothing anywhere, and keeps what was to be sent."""

    def __init__(self) -> None:
        super().__init__()
        self.items: list[tuple[str, dict[str, Any]]] = []

    @override
    def capture_envelope(self, envelope: Envelope) -> None:
        self.items += [(str(item.type), item.payload.json or {}) for item in envelope.items]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [content for found, content in self.items if found == kind]


@pytest.fixture
def kept() -> Iterator[Kept]:
    """A Sentry that keeps what it gets."""
    transport = Kept()
    sentry_sdk.init(
        dsn="https://key@sentry.invalid/1",
        traces_sample_rate=1.0,
        transport=transport,
        default_integrations=False,
        auto_enabling_integrations=False,
        auto_session_tracking=False,
    )
    yield transport
    sentry_sdk.init()


async def test_an_app_is_traced_with_a_provider_of_its_own() -> None:
    names = executed(shown("tracing.md", "instrument(app, tracer_provider=provider)"))
    exporter = InMemorySpanExporter()
    names["provider"].add_span_processor(SimpleSpanProcessor(exporter))
    app: Capelin[Any] = names["app"]
    async with app.testing() as t:
        await names["greet"].enqueue("Ada")
        await t.drain(raise_errors=True)
    send, process = exporter.get_finished_spans()
    assert (send.kind, process.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    assert send.context is not None
    assert process.parent is not None
    assert process.parent.span_id == send.context.span_id
    assert send.resource.attributes["service.name"] == "shop"


async def test_sentry_hears_of_errors_and_not_of_snoozes(kept: Kept) -> None:
    app: Capelin[Any] = executed(shown("tracing.md", "async def sentry("))["app"]

    @app.task(retry=RetryPolicy(stop=stop_after_attempt(1)))
    async def fails() -> None:
        if current_job().token == 1:
            raise Snooze(delay=0)
        raise ValueError("it fell over")

    headers = {"sentry-trace": "771a43a4192642f0b136d5159a501700-7992dcff9d9b4a5d-1"}
    async with app.testing() as t:
        job = await fails.options(headers=headers).enqueue()
        await t.drain()
    [event] = kept.of("event")
    [exception] = event["exception"]["values"]
    assert (exception["type"], exception["value"]) == ("ValueError", "it fell over")
    assert event["contexts"]["job"]["id"] == job.id
    assert event["contexts"]["trace"]["trace_id"] == "771a43a4192642f0b136d5159a501700"
    assert {one["transaction"] for one in kept.of("transaction")} == {event["transaction"]}


async def test_sentrys_trace_travels_in_the_headers(kept: Kept) -> None:
    names = executed(shown("tracing.md", "async def signup"))
    app: Capelin[Any] = names["app"]
    async with app.testing() as t:
        with sentry_sdk.start_transaction(name="request") as request:
            await names["signup"]("Ada")
        [job] = t.enqueued(names["greet"])
    assert job.headers["sentry-trace"].startswith(request.trace_id)
    assert f"sentry-trace_id={request.trace_id}" in job.headers["baggage"]
    assert kept.of("transaction")
