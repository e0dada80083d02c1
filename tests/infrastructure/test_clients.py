"""The connection check sees what is left open, and waits for what is about to close."""

import threading

from capelin import Capelin
from tests.support.clients import clients_left
from tests.support.servers import RedisServer


async def test_a_connection_that_is_left_open_is_named(redis_server: RedisServer) -> None:
    app = Capelin(redis_server.url)
    await app.client().connection.command("PING")
    [line] = clients_left([redis_server], patience=0)
    assert f"to port {redis_server.port}" in line
    assert line.endswith("last command ping")
    await app.close()
    assert clients_left([redis_server]) == []


def test_connections_of_others_do_not_count(redis_server: RedisServer) -> None:
    with redis_server.connect() as redis:
        redis("PING")
        assert clients_left([redis_server], patience=0) == []


def test_one_that_closes_in_time_is_none(redis_server: RedisServer) -> None:
    with redis_server.connect() as redis:
        redis("CLIENT", "SETNAME", "capelin")
        assert len(clients_left([redis_server], patience=0)) == 1
        closing = threading.Timer(0.1, redis.close)
        closing.start()
        assert clients_left([redis_server], patience=20) == []
        closing.join()
