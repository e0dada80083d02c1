"""What the tests of probes and metrics share: workers that are asked over HTTP, and a client."""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

import pytest

from capelin import Capelin
from tests.probes.asking import ANY_PORT, Asked
from tests.support.processes import Processes

WATCHED = "tests.probes.apps.watched:app"
QUICK = {"CAPELIN_LEASE_TTL": "1", "CAPELIN_GRACE": "2"}


class Ask(Protocol):
    """Starts a worker that serves HTTP."""

    def __call__(
        self, app: str = ..., *words: str, redis_url: str | None = ..., env: Mapping[str, str] | None = ...
    ) -> Asked: ...


@pytest.fixture
def ask(request: pytest.FixtureRequest, processes: Processes) -> Ask:
    """Start `capelin worker --http` on the test's Redis, or another, with a short TTL."""

    def start(
        app: str = WATCHED, *words: str, redis_url: str | None = None, env: Mapping[str, str] | None = None
    ) -> Asked:
        url = redis_url or request.getfixturevalue("redis_url")
        worker = processes.worker(
            app, "--http", ANY_PORT, *words, redis_url=url, env={**QUICK, **(env or {})}
        )
        return Asked(worker)

    return start


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Capelin[Any]]:
    """An app that enqueues for the workers: it has none of their code."""
    async with Capelin(redis_url, name="client") as app:
        yield app
