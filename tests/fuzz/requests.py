"""Whole HTTP requests to the server of `--http`, as bytes: broken, huge, half, many at once, none."""

import asyncio
import random
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager

from capelin.metrics.figures import Figures
from capelin.probes.answers import Check, Question
from capelin.probes.server import Address, ProbeServer
from tests.fuzz.words import Target, raw

PATIENCE = 20.0
MOST_ANSWERED = 1_000_000
THREADS = 80
"""More than these would have to be the server's fault: it holds 64 connections."""

_PATHS = (
    b"/",
    b"/health",
    b"/health/live",
    b"/health/ready",
    b"/metrics",
    b"/metrics?x=%00",
    b"*",
    b"//",
    b"http://a/",
)
_METHODS = (b"GET", b"HEAD", b"POST", b"OPTIONS", b"get", b"CONNECT", b"")
_VERSIONS = (b"HTTP/1.1", b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/9.9.9", b"HTTP/1", b"HTTP/-1.1", b"")
_HEADERS = (
    *(b"Host: a", b"Host", b": a", b"Connection: keep-alive", b"Connection: close", b"Expect: 100-continue"),
    *(b"Content-Length: 5", b"Content-Length: -1", b"Content-Length: 99999999999999999999", b" folded"),
    *(
        b"Transfer-Encoding: chunked",
        b"Upgrade: websocket",
        b"Accept: application/openmetrics-text",
        b"Accept: \xff",
    ),
)
_LIVE = b"GET /health/live HTTP/1.0\r\n\r\n"


class _Knows:
    """A source that answers at once."""

    async def checks(self, question: Question) -> list[Check]:
        return [Check(name=question.value, ok=True)]

    async def figures(self) -> Figures:
        return Figures()


def request(draw: random.Random) -> bytes:
    """One request, or what is none."""
    if draw.random() < 0.1:
        return draw.randbytes(draw.randrange(200))
    path = draw.choice(_PATHS) if draw.random() < 0.7 else b"/" + raw(draw)
    if draw.random() < 0.02:
        path += b"x" * draw.choice([1_000, 65_000, 66_000, 300_000])
    lines = [
        draw.choice([b" ", b" ", b" ", b"\t", b"  "]).join(
            (draw.choice(_METHODS), path, draw.choice(_VERSIONS))
        )
    ]
    for _ in range(draw.choice([0, 1, 2, 5, 99, 101]) if draw.random() < 0.2 else draw.randrange(4)):
        lines += [draw.choice(_HEADERS) if draw.random() < 0.7 else raw(draw) + b": " + raw(draw)]
    if draw.random() < 0.02:
        lines.append(b"X: " + b"y" * draw.choice([65_000, 66_000, 300_000]))
    end = draw.choice([b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r"])
    text = end.join(lines) + end * draw.choice([0, 1, 2, 2, 2])
    if draw.random() < 0.1 and text:
        text = text[: draw.randrange(len(text))]
    if draw.random() < 0.1:
        where = draw.randrange(len(text) + 1)
        text = text[:where] + draw.randbytes(1) + text[where:]
    return text


class _Asked:
    """A server, and what is thrown at it."""

    def __init__(self, server: ProbeServer, threads: int) -> None:
        self.server, self.threads = server, threads

    def case(self, draw: random.Random) -> None:
        """Send something; the server answers or closes, and answers the next one who asks."""
        sent = b"".join(request(draw) for _ in range(draw.choice([1, 1, 1, 2, 20])))
        answer = self._say(sent, abrupt=draw.random() < 0.1)
        assert len(answer) < MOST_ANSWERED, f"{len(answer)} bytes for {sent[:200]!r}"
        # Whoever speaks the first version of HTTP, which had no headers, gets none.
        known = answer.startswith((b"HTTP/1.", b"<!DOCTYPE", b"{", b"#", b"\n")) or not answer
        assert known, f"{answer[:200]!r} for {sent[:200]!r}"
        live = self._say(_LIVE)
        assert live.startswith(b"HTTP/1.0 200 "), f"after {sent[:200]!r} it says {live[:200]!r}"
        assert threading.active_count() - self.threads < THREADS, f"threads stay after {sent[:200]!r}"

    def _say(self, sent: bytes, *, abrupt: bool = False) -> bytes:
        """Send; return all that comes back until the server closes. Abrupt: hang up and wait for nothing."""
        with socket.create_connection(self.server.address, timeout=PATIENCE) as client:
            try:
                client.sendall(sent)
                if abrupt:
                    return b""
                client.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # it has read enough, and said so
            answer = b""
            try:
                while part := client.recv(65_536):
                    answer += part
            except ConnectionError:
                pass  # closed with bytes unread
            return answer


@contextmanager
def http() -> Generator[Target]:
    """A server that answers for nobody."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = ProbeServer(Address("127.0.0.1", 0))
    server.serve(_Knows(), loop)
    try:
        yield _Asked(server, threading.active_count()).case
    finally:
        server.close()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
