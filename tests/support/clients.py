"""The connection check: a test that is over has closed what it opened.

A connection of capelin's that is still there belongs to an app that nobody closed, or to a part of the
product that leaks it. The kernel tells the server of a closed socket a moment later, hence the patience.
"""

import time

from tests.support.servers import RedisServer
from tests.support.waiting import POLL_SECONDS

NAME = "capelin"
PATIENCE = 2.0


def clients_left(servers: list[RedisServer], *, patience: float = PATIENCE) -> list[str]:
    """One line for each connection of capelin's that these servers still have after so many seconds."""
    deadline = time.monotonic() + patience
    while True:
        last = time.monotonic() >= deadline
        left = [line for server in servers if server.answering for line in _clients(server)]
        if not left or last:
            return left
        time.sleep(POLL_SECONDS)


def _clients(server: RedisServer) -> list[str]:
    lines = [
        dict(word.split("=", 1) for word in line.split(" ") if "=" in word)
        for line in str(server.command("CLIENT", "LIST")).splitlines()
    ]
    return [
        f"connection {line['id']} to port {server.port}, {line['age']} s old, last command {line['cmd']}"
        for line in lines
        if line.get("name") == NAME
    ]
