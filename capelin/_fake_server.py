"""``python -m capelin._fake_server PORT``: fakeredis's TCP server, until standard input ends.

A process of its own, since it answers with Python's speed and should not slow down whoever started it.
"""

import os
import sys
import threading


def main(port: int) -> None:
    """Serve on the loopback until whoever started this process is gone."""
    from fakeredis import TcpFakeServer

    server = TcpFakeServer(("127.0.0.1", port), server_version=(7,))
    server.daemon_threads = True
    threading.Thread(target=_end_with_parent, daemon=True).start()
    server.serve_forever()


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)  # threads that serve clients end with their clients, which may be a while


if __name__ == "__main__":
    main(int(sys.argv[1]))
