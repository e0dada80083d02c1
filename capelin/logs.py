"""Logs of a process that the command line started: structlog and the standard ``logging`` as one stream.

Lines are JSON when nobody reads along and readable on a terminal. Each line that a running job logs, through
either, from a coroutine, a thread or a process of its own, says which job it was: a processor reads the
current job when a line is made, so that a job that logs nothing pays nothing.

Nothing here happens on import: only ``configure`` changes how this process logs, and only the command line
calls it. A program that uses capelin as a library keeps its own configuration, and can put ``add_job`` there.
"""

import json
import logging
import os
import sys
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TextIO, cast

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from capelin._log_relay import Relay, attach, can_relay
from capelin.context import current_job

Level = Literal["debug", "info", "warning", "error", "critical"]
Format = Literal["auto", "json", "console"]

FIRST_FIELDS = ("timestamp", "level", "logger", "event", "job", "task", "queue", "attempt", "worker")
"""Where a JSON line begins; the rest follows in the order in which it was given."""


def add_job(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:  # noqa: ARG001 -- structlog's shape
    """Bind the job that runs here to a line: ``job`` (its id), ``task``, ``queue``, ``attempt``, ``worker``.

    A structlog processor. What the line itself says under one of these names stays.

    Example:
        structlog.configure(processors=[add_job, ...])
    """
    job = current_job(None)
    if job is not None:
        event.setdefault("job", job.id)
        event.setdefault("task", job.task)
        event.setdefault("queue", job.queue)
        event.setdefault("attempt", job.attempt)
        event.setdefault("worker", job.worker_id)
    return event


def configure(
    *,
    level: Level = "info",
    format: Format = "auto",  # noqa: A002 -- the setting's name
    colors: bool | None = None,
    stream: TextIO | None = None,
) -> None:
    """Have this process log to one stream, through structlog and the standard ``logging`` alike.

    Args:
        level: Lines below it are dropped where they are made.
        format: ``json``, ``console``, or ``auto``: readable if the stream is a terminal, else JSON.
        colors: Whether readable lines have colours; None if the stream is a terminal.
        stream: Standard error by default, so that what a command prints can be piped.

    Example:
        configure(level="debug", format="json")
    """
    global _here  # noqa: PLW0603 -- a process logs to one place
    terminal = (stream or sys.stderr).isatty()
    as_json = format == "json" or (format == "auto" and not terminal)
    colored = terminal if colors is None else colors
    style = {"level": level, "format": "json" if as_json else "console", "colors": colored}
    lines = _here = _Lines(sys.stderr if stream is None else stream, style)
    number = logging.getLevelNamesMapping()[level.upper()]
    begin: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        add_job,
        structlog.stdlib.add_logger_name,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso" if as_json else "%H:%M:%S", utc=as_json, key="timestamp"),
        structlog.processors.StackInfoRenderer(),
    ]
    end = _json_end() if as_json else _console_end(colors=colored)
    structlog.configure(
        processors=[*begin, *end],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lines.logger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(cast(TextIO, lines))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*begin, structlog.stdlib.ExtraAdder()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *end],
        )
    )
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(number)


@contextmanager
def relayed() -> Generator[None]:
    """Let process tasks log, too: their lines come to this process, which writes them among its own.

    Does nothing where ``configure`` was not called, or the system cannot.
    """
    if _here is None or not can_relay():
        yield
        return
    relay = Relay(_here.write, _here.style)
    try:
        yield
    finally:
        relay.close()


def attach_to_worker() -> None:
    """Log to the worker's stream: what a child of its process pool does first."""
    attach(configure)


class _Lines:
    """One stream for all lines; each is written whole, whichever thread and library it comes from."""

    def __init__(self, stream: TextIO, style: dict[str, Any]) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self.style = style
        if hasattr(os, "register_at_fork"):  # a task may fork while another thread writes a line
            os.register_at_fork(after_in_child=self._unlock)

    def _unlock(self) -> None:
        self._lock = threading.Lock()

    def write(self, text: str) -> None:
        try:
            with self._lock:
                self._stream.write(text)
                self._stream.flush()
        except (OSError, ValueError):
            # Whoever read the log is gone (a closed pipe, a closed file). Work goes on without it.
            return

    def flush(self) -> None:
        """Lines are flushed as they are written."""

    def logger(self, *names: Any) -> "_LineLogger":
        return _LineLogger(str(names[0]) if names else "", self)


_here: _Lines | None = None


class _LineLogger:
    """What structlog hands finished lines to."""

    __slots__ = ("_lines", "name")

    def __init__(self, name: str, lines: _Lines) -> None:
        self.name = name
        self._lines = lines

    def msg(self, line: str) -> None:
        self._lines.write(line + "\n")

    log = debug = info = warning = error = critical = exception = fatal = msg


def _json_end() -> Sequence[Processor]:
    return structlog.processors.format_exc_info, _render_json


def _render_json(logger: WrappedLogger, method: str, event: EventDict) -> str:  # noqa: ARG001 -- structlog's shape
    ordered: dict[str, Any] = {name: event.pop(name) for name in FIRST_FIELDS if name in event}
    if not ordered.get("logger", True):
        del ordered["logger"]
    ordered.update(event)
    return json.dumps(ordered, ensure_ascii=False, default=_plain)


def _plain(value: object) -> object:
    if isinstance(value, (set, frozenset)):
        return [repr(item) for item in cast("set[object]", value)]
    return repr(value)


def _console_end(*, colors: bool) -> Sequence[Processor]:
    # Plain tracebacks: the fancy ones print local variables, which may be secrets.
    return (
        structlog.dev.ConsoleRenderer(
            colors=colors,
            pad_event_to=0,
            timestamp_key="timestamp",
            exception_formatter=structlog.dev.plain_traceback,
        ),
    )
