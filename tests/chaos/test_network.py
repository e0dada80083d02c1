"""The relays of chaos hit those whom they are told to hit, and nobody else."""

from collections.abc import Iterator

import pytest

from tests.chaos.network import Network
from tests.support.resp import Connection
from tests.support.servers import RedisServer

WAITS = 0.2
"""Seconds within which a reply comes, or does not."""


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as network:
        yield network


def named(port: int, name: str) -> Connection:
    """A connection through a relay that has said who it is."""
    connection = Connection(port)
    assert connection("CLIENT", "SETNAME", name) == "OK"
    return connection


def test_a_client_that_is_cut_off_gets_its_replies_when_the_network_heals(
    redis_server: RedisServer, network: Network
) -> None:
    port = network.before(redis_server.port)
    with named(port, "a") as a, named(port, "b") as b:
        network.cut_off("a")
        a.send("INCR", "from-a")
        a.settimeout(WAITS)
        with pytest.raises(TimeoutError):
            a.read()
        assert b("GET", "from-a") is None, "what it sent has passed"
        network.heal("a")
        with named(port, "a") as again:
            again("DEL", "from-a")


def test_one_that_connects_while_it_is_cut_off_waits_too(redis_server: RedisServer, network: Network) -> None:
    port = network.before(redis_server.port)
    network.cut_off("a")
    with Connection(port, timeout=WAITS) as late:
        late.send("CLIENT", "SETNAME", "a")
        with pytest.raises(TimeoutError):
            late.read()
    with named(port, "b") as other:
        assert other("PING") == "PONG"


def test_connections_are_cut_by_name(redis_server: RedisServer, network: Network) -> None:
    port = network.before(redis_server.port)
    with named(port, "a") as a, named(port, "b") as b:
        assert network.cut(["a"]) == 1
        with pytest.raises(OSError, match=r"closed|reset"):
            a("PING")
        assert b("PING") == "PONG"
        assert network.cut() == 1


def test_a_server_that_is_down_ends_the_connections_to_it(
    redis_server: RedisServer, network: Network
) -> None:
    del redis_server
    with Connection(network.before(1)) as nobody, pytest.raises(OSError, match=r"closed|reset"):
        nobody("PING")
