"""The proxy breaks exactly what a test names, and nothing else."""

import asyncio
from collections.abc import Callable

import pytest

from tests.support.proxy import RedisProxy, mentions
from tests.support.resp import Connection, encode, read_frame
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until

Proxied = Callable[[str], RedisProxy]


@pytest.fixture
def proxy(redis_server: RedisServer, proxied: Proxied) -> RedisProxy:
    return proxied(redis_server.url)


def test_without_a_fault_everything_passes(proxy: RedisProxy) -> None:
    with Connection(proxy.port) as redis:
        assert redis("SET", "x", "a\r\nb", "EX", 100) == "OK"
        assert redis.pipeline(("GET", "x"), ("GET", "none"), ("KEYS", "*")) == ["a\r\nb", None, ["x"]]
    assert proxy.accepted == 1
    assert proxy.commands == 4


def test_a_cut_reply_means_that_the_server_has_done_it_and_the_client_cannot_know(
    proxy: RedisProxy, redis_server: RedisServer
) -> None:
    fault = proxy.cut_reply_after(mentions("incr", "x"))
    with Connection(proxy.port) as redis:
        redis("SET", "x", 1, "EX", 100)
        with pytest.raises(ConnectionError):
            redis("INCR", "x")
    fault.wait_for(1)
    assert redis_server.command("GET", "x") == "2"
    assert fault.requests == [encode("INCR", "x")]
    with Connection(proxy.port) as redis:
        assert redis("INCR", "x") == 3
    assert fault.hits == 1


def test_in_a_pipeline_replies_before_the_cut_arrive_and_later_ones_do_not(
    proxy: RedisProxy, redis_server: RedisServer
) -> None:
    proxy.cut_reply_after(mentions("incr"))
    with Connection(proxy.port) as redis:
        for words in (("SET", "x", 1, "EX", 100), ("INCR", "x"), ("GET", "x")):
            redis.send(*words)
        assert redis.read() == "OK"
        with pytest.raises(ConnectionError):
            redis.read()
    assert redis_server.command("GET", "x") == "2"


def test_a_cut_before_means_that_the_server_never_saw_it(
    proxy: RedisProxy, redis_server: RedisServer
) -> None:
    fault = proxy.cut_before(mentions("set"), times=2)
    for _ in range(2):
        with Connection(proxy.port) as redis, pytest.raises(ConnectionError):
            redis("SET", "x", 1, "EX", 100)
    fault.wait_for(2)
    assert redis_server.keys() == set()
    with Connection(proxy.port) as redis:
        assert redis("SET", "x", 1, "EX", 100) == "OK"


def test_a_lifted_fault_hits_nobody(proxy: RedisProxy) -> None:
    fault = proxy.cut_reply_after(mentions("ping"), times=None)
    with Connection(proxy.port) as redis, pytest.raises(ConnectionError):
        redis("PING")
    fault.lift()
    with Connection(proxy.port) as redis:
        assert redis("PING") == "PONG"


def test_refused_connections_are_accepted_again_on_the_same_port(proxy: RedisProxy) -> None:
    port = proxy.port
    with Connection(port) as redis:
        assert redis("PING") == "PONG"
        proxy.refuse()
        with pytest.raises(ConnectionError):
            redis("PING")
        with pytest.raises(ConnectionRefusedError):
            Connection(port)
    proxy.accept()
    with Connection(port) as redis:
        assert redis("PING") == "PONG"


@pytest.mark.parametrize("requests_pass", [False, True])
def test_a_black_hole_accepts_and_answers_only_when_it_has_ended(
    proxy: RedisProxy, redis_server: RedisServer, *, requests_pass: bool
) -> None:
    proxy.blackhole(requests_pass=requests_pass)
    with Connection(proxy.port, timeout=0.3) as redis:
        redis.send("SET", "x", 1, "EX", 100)
        with pytest.raises(TimeoutError):
            redis.read()
        assert redis_server.keys() == ({"x"} if requests_pass else set())
    with Connection(proxy.port) as redis:
        redis.send("PING")
        proxy.accept()
        assert redis.read() == "PONG"


def test_a_connection_to_a_server_that_is_down_is_dropped(
    proxy: RedisProxy, redis_server: RedisServer, proxied: Proxied
) -> None:
    before_nobody = proxied("redis://127.0.0.1:1/0")
    with Connection(before_nobody.port) as redis, pytest.raises(ConnectionError):
        redis("PING")
    assert redis_server.running
    assert proxy.accepted == 0


async def test_dropping_all_ends_every_open_connection(proxy: RedisProxy) -> None:
    with Connection(proxy.port) as one, Connection(proxy.port) as other:
        assert [one("PING"), other("PING")] == ["PONG", "PONG"]
        assert proxy.connections == 2
        proxy.drop_all()
        for redis in (one, other):
            with pytest.raises(ConnectionError):
                redis("PING")
    await wait_until(lambda: proxy.connections == 0, description="the connections to be gone")


def test_messages_to_a_subscriber_pass(proxy: RedisProxy, redis_server: RedisServer) -> None:
    with Connection(proxy.port) as redis:
        assert redis("SUBSCRIBE", "news") == ["subscribe", "news", 1]
        redis_server.command("PUBLISH", "news", "hello")
        assert redis.read() == ["message", "news", "hello"]


@pytest.mark.parametrize(
    "frame",
    [
        b"+OK\r\n",
        b"$-1\r\n",
        b"*-1\r\n",
        b"*0\r\n",
        b"_\r\n",
        b"$4\r\na\r\nb\r\n",
        b"*2\r\n*1\r\n:1\r\n$0\r\n\r\n",
        b"%1\r\n+a\r\n*2\r\n#t\r\n,1.5\r\n",
        b">2\r\n+message\r\n=7\r\ntxt:abc\r\n",
        b"|1\r\n+ttl\r\n:5\r\n*1\r\n+x\r\n",
    ],
)
async def test_a_frame_is_read_whole_and_no_further(frame: bytes) -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(frame + b":7\r\n")
    reader.feed_eof()
    assert await read_frame(reader) == frame
    assert await read_frame(reader) == b":7\r\n"
