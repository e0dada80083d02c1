"""Lines that process tasks log, on their way to the worker's own stream.

A child of the process pool has no output of its own. It sends each line as a datagram to a socket of the
worker, whose name it finds in an environment variable; datagrams arrive whole, whoever else sends. Where
there are no such sockets (Windows), process tasks log nothing.
"""

import contextlib
import json
import os
import shutil
import socket
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable
from typing import Any, Final, TextIO, cast

_VARIABLE: Final = "CAPELIN_CLI_LOG_RELAY"
_LONGEST_LINE: Final = 60_000  # what every system takes as one datagram
_CUT: Final = "… (cut)\n"


class Relay:
    """The worker's end. It serves until the process ends, or `close`.

    Args:
        write: Writes a line to the worker's own stream.
        style: How children write lines: what `logs.configure` takes, as plain JSON.
    """

    def __init__(self, write: Callable[[str], object], style: dict[str, Any]) -> None:
        self._write = write
        # Linux has names for sockets that leave nothing behind, even after a SIGKILL.
        self._folder = None if sys.platform == "linux" else tempfile.mkdtemp(prefix="capelin-log-")
        self._address = f"{self._folder}/lines" if self._folder else f"\0capelin-log-{uuid.uuid4().hex}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self._address)
        os.environ[_VARIABLE] = json.dumps({"address": self._address, "style": style})
        self._thread = threading.Thread(target=self._serve, name="capelin log relay", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving; what was sent so far is written."""
        os.environ.pop(_VARIABLE, None)
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.sendto(b"", self._address)
            self._thread.join()
        self._socket.close()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _serve(self) -> None:
        while line := self._socket.recv(_LONGEST_LINE + len(_CUT.encode())):
            self._write(line.decode(errors="replace"))


def can_relay() -> bool:
    """Return whether this system has the sockets that it takes."""
    return hasattr(socket, "AF_UNIX") and os.name == "posix"


_attached = False


def attach(configure: Callable[..., None]) -> None:
    """Have a child of the process pool log to its worker's stream, if there is one. Does its work once.

    Args:
        configure: `logs.configure`.
    """
    global _attached  # noqa: PLW0603 -- a process logs to one place
    given = os.environ.get(_VARIABLE)
    if _attached or given is None:
        return
    _attached = True
    relay = json.loads(given)
    configure(**relay["style"], stream=cast(TextIO, _Sender(relay["address"])))


class _Sender:
    """The child's end, as a stream."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        with contextlib.suppress(OSError):  # the worker is gone, and this process will be
            self._socket.connect(address)

    def write(self, line: str) -> None:
        data = line.encode(errors="replace")
        if len(data) > _LONGEST_LINE:
            data = data[:_LONGEST_LINE] + _CUT.encode()
        self._socket.send(data)

    def flush(self) -> None:
        """Each line is sent as it is written."""

    def isatty(self) -> bool:
        return False
