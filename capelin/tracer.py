"""What an app, its workers and its leader tell whoever traces them. Nothing here loads a tracing library.

``capelin.tracing`` implements it with OpenTelemetry. An app that is not traced has no tracer: each place
asks once whether there is one.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

from capelin.context import JobContext
from capelin.middleware import CallNext
from capelin.requests import JobRequest

if TYPE_CHECKING:
    from capelin.jobs import Job
    from capelin.lua import OutcomeRow
    from capelin.workers.running import Start


class Sending(Protocol):
    """An enqueue under way."""

    @property
    def requests(self) -> Sequence[JobRequest[Any]]:
        """What is to be enqueued: the requests, each with the trace's context in its headers."""
        ...

    def made(self, jobs: "Sequence[Job[Any]]") -> None:
        """Redis has them."""
        ...


class Tracer(Protocol):
    """Traces one app."""

    def sending(self, requests: Sequence[JobRequest[Any]]) -> AbstractContextManager[Sending]:
        """Go around an enqueue; what is raised inside is noted."""
        ...

    def fired(self, schedule: str, request: JobRequest[Any]) -> JobRequest[Any]:
        """The leader enqueues a tick's job: return its request with the trace's context in its headers."""
        ...

    async def around(self, job: JobContext, call_next: CallNext) -> Any:
        """Go around an attempt, outside all middleware."""
        ...

    def ended(self, start: "Start", row: "OutcomeRow | None") -> None:
        """A start is over, with this outcome; None: another start counts. Called once a start."""
        ...

    def abandoned(self, start: "Start", row: "OutcomeRow") -> None:
        """A start has this outcome, though its thread goes on; ``ended`` comes when that returns."""
        ...
