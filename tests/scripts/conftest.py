"""A shard on each kind of server, with a clock that the test moves."""

from collections.abc import Iterator

import pytest

from tests.scripts.driving import Shard
from tests.scripts.servers import MemoryServer, RealServer, opened
from tests.support.servers import RedisServer


@pytest.fixture
def memory_shard() -> Iterator[Shard]:
    """A shard of an in-process server."""
    with opened(MemoryServer()) as server:
        yield Shard(server)


@pytest.fixture
def real_shard(redis_server: RedisServer) -> Iterator[Shard]:
    """A shard of a real server."""
    with opened(RealServer(redis_server)) as server:
        yield Shard(server)


@pytest.fixture(params=["memory", "real"])
def shard(request: pytest.FixtureRequest) -> Shard:
    """The same shard on both."""
    found = request.getfixturevalue(f"{request.param}_shard")
    assert isinstance(found, Shard)
    return found
