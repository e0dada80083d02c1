"""The fixtures that tests share: servers, URLs of every backend, processes, and the checks of what is left.

A machine without redis-server skips the tests that need one; with `CI=true` they fail, so that a green CI
means that they ran.
"""

import os
import uuid
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import AsyncExitStack, ExitStack
from functools import partial
from typing import Protocol

import pytest

from tests.support import memory
from tests.support.clients import clients_left
from tests.support.cluster import RedisCluster
from tests.support.leaks import find_leaks
from tests.support.processes import Processes
from tests.support.proxy import RedisProxy
from tests.support.servers import RedisServer, redis_server_missing
from tests.support.workers import RunningWorker, start_worker

_failed = pytest.StashKey[bool]()


class OwnRedis(Protocol):
    """Starts a Redis that belongs to this test alone; takes what `RedisServer` takes."""

    def __call__(
        self,
        *,
        appendonly: bool = ...,
        maxmemory: str | None = ...,
        config: dict[str, str | int] | None = ...,
    ) -> RedisServer: ...


class OwnCluster(Protocol):
    """Starts a cluster that belongs to this test alone; takes what `RedisCluster` takes."""

    def __call__(
        self,
        masters: int = ...,
        *,
        replicas: int = ...,
        node_timeout: float = ...,
        config: dict[str, str | int] | None = ...,
    ) -> RedisCluster: ...


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        item.stash[_failed] = True
    return report


def _need_redis_server() -> None:
    if not redis_server_missing():
        return
    if os.environ.get("CI") == "true":
        pytest.fail("redis-server is not installed, and with CI=true nothing is skipped")
    pytest.skip("redis-server is not installed: `make test` installs it on Debian as root")


@pytest.fixture
def redis_binary() -> None:
    """For tests that start servers themselves: skipped, or failed in CI, where there is no redis-server."""
    _need_redis_server()


def leaks_of(servers: list[RedisServer]) -> list[str]:
    """The leaks of those servers that can be asked."""
    leaks: list[str] = []
    for server in servers:
        if server.answering:
            with server.connect() as redis:
                leaks += find_leaks(redis)
    return leaks


class LeakCheck:
    """The servers that are looked at when the test is over, for keys and connections that should be gone.

    See `tests.support.leaks` and `tests.support.clients`.
    """

    def __init__(self, node: pytest.Item) -> None:
        self._node = node
        self._watched: list[Callable[[], list[str]]] = []
        self._servers: list[Callable[[], list[RedisServer]]] = []

    def watch(self, servers: Callable[[], list[RedisServer]]) -> None:
        """Look at these when the test is over; asked then, since nodes come and go."""
        self._watched.append(lambda: leaks_of(servers()))
        self._servers.append(servers)

    def watch_memory(self, redis: memory.MemoryConnection) -> None:
        """Look at this in-process server when the test is over."""

        def leaks() -> list[str]:
            try:
                return find_leaks(redis)
            finally:
                redis.close()

        self._watched.append(leaks)

    def check(self, leaks: list[str]) -> None:
        """Fail the test if there are leaks. A failed test is not blamed twice."""
        marker = self._node.get_closest_marker("leaves_keys")
        if marker is not None and not marker.kwargs.get("reason"):
            pytest.fail("leaves_keys needs a reason: @pytest.mark.leaves_keys(reason='...')")
        if marker is not None or self._node.stash.get(_failed, False):
            return
        if leaks:
            pytest.fail("keys left behind:\n  " + "\n  ".join(leaks), pytrace=False)

    def check_watched(self) -> None:
        """Look at every watched server."""
        self.check([leak for look in self._watched for leak in look()])
        if not self._node.stash.get(_failed, False):
            left = clients_left([server for servers in self._servers for server in servers()])
            if left:
                why = "connections left open; was an app not closed?\n  "
                pytest.fail(why + "\n  ".join(left), pytrace=False)


@pytest.fixture(autouse=True)
def key_leak_check(request: pytest.FixtureRequest) -> Iterator[LeakCheck]:
    """Looks at keys and connections after all other fixtures are torn down: clients closed, workers ended."""
    check = LeakCheck(request.node)
    yield check
    check.check_watched()


@pytest.fixture(scope="session")
def shared_redis() -> Iterator[RedisServer]:
    """The server behind `redis_server`, which is what tests ask for."""
    _need_redis_server()
    with RedisServer() as server:
        yield server


@pytest.fixture
def redis_server(shared_redis: RedisServer, key_leak_check: LeakCheck) -> RedisServer:
    """A shared server, empty at first. For one that is to be killed or configured: `own_redis`."""
    shared_redis.flush()
    key_leak_check.watch(lambda: [shared_redis])
    return shared_redis


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """URL of an empty Redis."""
    return redis_server.url


@pytest.fixture
def own_redis(key_leak_check: LeakCheck) -> Iterator[OwnRedis]:
    """A factory of servers that the test may kill, freeze and fill."""
    _need_redis_server()
    started: list[RedisServer] = []
    with ExitStack() as stack:

        def start(
            *,
            appendonly: bool = False,
            maxmemory: str | None = None,
            config: dict[str, str | int] | None = None,
        ) -> RedisServer:
            server = RedisServer(appendonly=appendonly, maxmemory=maxmemory, config=config)
            started.append(stack.enter_context(server))
            return server

        yield start
        key_leak_check.check(leaks_of(started))


@pytest.fixture(scope="session")
def shared_cluster() -> Iterator[RedisCluster]:
    """The cluster behind `redis_cluster`, which is what tests ask for."""
    _need_redis_server()
    with RedisCluster() as cluster:
        yield cluster


@pytest.fixture
def redis_cluster(shared_cluster: RedisCluster, key_leak_check: LeakCheck) -> RedisCluster:
    """A shared cluster of three masters, empty at first. For one that is to be broken: `own_cluster`."""
    shared_cluster.flush()
    key_leak_check.watch(lambda: list(shared_cluster.running_masters))
    return shared_cluster


@pytest.fixture
def cluster_url(redis_cluster: RedisCluster) -> str:
    """URL of an empty Redis Cluster."""
    return redis_cluster.url


@pytest.fixture
def own_cluster(key_leak_check: LeakCheck) -> Iterator[OwnCluster]:
    """A factory of clusters that the test may break."""
    _need_redis_server()
    started: list[RedisCluster] = []
    with ExitStack() as stack:

        def start(
            masters: int = 3,
            *,
            replicas: int = 0,
            node_timeout: float = 5,
            config: dict[str, str | int] | None = None,
        ) -> RedisCluster:
            cluster = RedisCluster(masters, replicas=replicas, node_timeout=node_timeout, config=config)
            started.append(stack.enter_context(cluster))
            return cluster

        yield start
        key_leak_check.check(leaks_of([node for cluster in started for node in cluster.running_masters]))


@pytest.fixture
def processes() -> Iterator[Processes]:
    """Starts worker processes; all have ended when the test has."""
    with Processes() as children:
        yield children


@pytest.fixture
def proxied() -> Iterator[Callable[[str], RedisProxy]]:
    """A factory of proxies: `proxied(redis_url)` stands before that server and breaks things on demand."""
    with ExitStack() as stack:
        yield lambda url: stack.enter_context(RedisProxy(url))


@pytest.fixture
def memory_url(key_leak_check: LeakCheck) -> str:
    """URL of an empty in-process Redis that no other test shares."""
    url = f"{memory.SCHEME}test-{uuid.uuid4().hex}"
    key_leak_check.watch_memory(memory.MemoryConnection(url))
    return url


@pytest.fixture(params=["memory", "redis", "cluster"])
def backend_url(request: pytest.FixtureRequest) -> str:
    """Each backend in turn: what runs on one must run on all. Pick one with `-k memory`."""
    url = request.getfixturevalue(f"{request.param}_url")
    if not isinstance(url, str):
        raise TypeError(f"{request.param}_url gave {url!r}")
    return url


@pytest.fixture
async def running_worker() -> AsyncIterator[RunningWorker]:
    """A factory of workers in this process; all end with the test."""
    async with AsyncExitStack() as ends:
        yield partial(start_worker, ends)
