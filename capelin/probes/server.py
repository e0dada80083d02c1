"""The HTTP server: probes for an orchestrator, metrics for Prometheus.

It runs in threads of its own, with the standard library's server, as prometheus_client's does: nothing that
the worker's code does to its event loop keeps it from answering.
"""

import asyncio
import contextlib
import json
import socket
import socketserver
import threading
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, NamedTuple, TypeVar, cast

import structlog
from typing_extensions import override

from capelin.errors import ConfigurationError
from capelin.metrics.exposition import exposed
from capelin.probes.answers import Question, Source, said

T = TypeVar("T")
log = structlog.get_logger("capelin.worker")

_PATHS: Final = {
    "/health": Question.HEALTH,
    "/health/live": Question.LIVE,
    "/health/ready": Question.READY,
}
_METRICS: Final = "/metrics"
_PATIENCE: Final = 8.0
_IDLE: Final = 10.0
_MOST_PORTS: Final = 65_535
_MOST_CONNECTIONS: Final = 64


class Address(NamedTuple):
    """Where to listen: a host, empty for all of this machine's addresses, and a port, 0 for any."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Read ``HOST:PORT``, ``:PORT`` or ``[::1]:PORT``.

        Raises:
            ConfigurationError: It is none of them.
        """
        host, colon, port = text.rpartition(":")
        bare = host.removeprefix("[").removesuffix("]")
        if not colon or not port.isascii() or not port.isdigit() or int(port) > _MOST_PORTS:
            raise ConfigurationError(f"--http {text}: it is written HOST:PORT, or :PORT for every address")
        if ":" in bare and bare == host:
            raise ConfigurationError(f"--http {text}: an IPv6 address stands in brackets: [{host}]:{port}")
        return cls(bare, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class ProbeServer:
    """Listens from the moment it is made, and answers once it is told who knows.

    Args:
        address: Where.

    Raises:
        ConfigurationError: Nobody can listen there.

    Example:
        server = ProbeServer(Address.parse(":9000"))
        server.serve(source, loop)
        ...
        server.close()
    """

    def __init__(self, address: Address) -> None:
        try:
            self._server = _Server(address)
        except (OSError, OverflowError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise ConfigurationError(f"cannot listen on --http {address}: {why}") from error
        self._thread: threading.Thread | None = None

    @property
    def address(self) -> Address:
        """Where it listens, with the port that it was given."""
        host, port = self._server.server_address[:2]
        return Address(str(host), int(port))

    def serve(self, source: Source, loop: asyncio.AbstractEventLoop) -> None:
        """Answer from now on.

        Args:
            source: Who knows.
            loop: Where it is asked; not one that runs the code of an app.
        """
        self._server.source, self._server.loop = source, loop
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="capelin http", daemon=True
        )
        self._thread.start()
        log.info("serves health and metrics", http=str(self.address))

    def close(self) -> None:
        """End it."""
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._thread = None
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # An answer that takes a moment must not hold up the end of a worker.
    block_on_close = False

    def __init__(self, address: Address) -> None:
        if ":" in address.host:
            self.address_family = socket.AF_INET6
        self.source: Source
        self.loop: asyncio.AbstractEventLoop
        self._open: dict[socket.socket, None] = {}
        self._open_lock = threading.Lock()
        super().__init__((address.host, address.port), _Handler)

    @override
    def server_bind(self) -> None:
        # HTTPServer's own asks for the name of the host, which may take long.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "capelin", self.server_address[1]

    @override
    def process_request(self, request: Any, client_address: Any) -> None:
        # Who asks slowly, or never, holds a thread: the oldest makes room, so that probes are answered
        # whatever else knocks.
        with self._open_lock:
            self._open[request] = None
            oldest = next(iter(self._open)) if len(self._open) > _MOST_CONNECTIONS else None
        if oldest is not None:
            with contextlib.suppress(OSError):
                oldest.shutdown(socket.SHUT_RDWR)
        super().process_request(request, client_address)

    @override
    def shutdown_request(self, request: Any) -> None:
        with self._open_lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    @override
    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("an answer could not be sent", client=str(client_address))

    def ask(self, question: Callable[[Source], Awaitable[T]]) -> T:
        """Ask the source, on its own loop."""

        async def asking() -> T:
            return await question(self.source)

        return asyncio.run_coroutine_threadsafe(asking(), self.loop).result(_PATIENCE)


class _Handler(BaseHTTPRequestHandler):
    server_version = "capelin"
    sys_version = ""
    timeout = _IDLE

    def do_GET(self) -> None:
        path, _, _ = self.path.partition("?")
        try:
            if path == _METRICS:
                figures = self._asked.ask(lambda source: source.figures())
                text, content_type = exposed(figures, self.headers.get("Accept", ""))
                self._send(HTTPStatus.OK, text, content_type)
            elif path in _PATHS:
                self._send_checks(_PATHS[path])
            else:
                self._send_json(HTTPStatus.NOT_FOUND, {"paths": [*_PATHS, _METRICS]})
        except TimeoutError:
            silent = {"status": "failing", "detail": "no answer in time"}
            self._send_json(HTTPStatus.SERVICE_UNAVAILABLE, silent)
        except OSError:  # whoever asked is gone
            raise
        except Exception as error:
            log.exception("a probe could not be answered: a bug of capelin", path=path)
            broken = {"status": "failing", "detail": f"{type(error).__name__}: {error}"}
            self._send_json(HTTPStatus.INTERNAL_SERVER_ERROR, broken)

    do_HEAD = do_GET  # noqa: N815 -- the same

    @property
    def _asked(self) -> _Server:
        return cast(_Server, self.server)

    def _send_checks(self, question: Question) -> None:
        answer = said(self._asked.ask(lambda source: source.checks(question)))
        fine = answer["status"] == "ok"
        self._send_json(HTTPStatus.OK if fine else HTTPStatus.SERVICE_UNAVAILABLE, answer)

    def _send_json(self, status: HTTPStatus, answer: dict[str, Any]) -> None:
        self._send(status, json.dumps(answer).encode() + b"\n", "application/json")

    def _send(self, status: HTTPStatus, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    @override
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: probes come every few seconds."""
