"""Free TCP ports on loopback, for servers that cannot be told to pick their own.

Between asking and binding, anybody may take the port: who uses `free_port` must be ready to ask again.
Ports are drawn below the range that the system gives to outgoing connections, so that no client of some
other test lands on one.
"""

import random
import socket

LOOPBACK = "127.0.0.1"
_FIRST, _LAST = 12_000, 31_999
_random = random.SystemRandom()


def free_port() -> int:
    """A port on which nobody listens right now."""
    for _ in range(1_000):
        port = _random.randint(_FIRST, _LAST)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"no free port between {_FIRST} and {_LAST} on {LOOPBACK}")
