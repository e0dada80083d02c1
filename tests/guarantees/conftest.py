"""What the tests of the guarantees share: workers in this process, a ledger of what ran, the log."""

from collections.abc import AsyncIterator, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
import structlog

from tests.guarantees.fleet import Fleet
from tests.support.ledger import Ledger
from tests.support.processes import Processes
from tests.support.servers import RedisServer


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Where this test's tasks write down what they do, in whatever process."""
    return Ledger(tmp_path / "ledger")


@pytest.fixture
def logged() -> Iterator[list[MutableMapping[str, Any]]]:
    """What this process logs, line by line: `event` and its fields."""
    with structlog.testing.capture_logs() as lines:
        yield lines


@pytest.fixture
async def fleet(processes: Processes, redis_server: RedisServer, ledger: Ledger) -> AsyncIterator[Fleet]:
    """Worker processes on a shared server, with a client."""
    fleet = Fleet(processes, redis_server, ledger)
    async with fleet.app:
        yield fleet
