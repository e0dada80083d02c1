"""Logs: one stream for structlog and `logging`, each line with its job, and no surprise for libraries."""

import io
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from capelin import logs
from capelin.context import JobContext, running

JOB = {"job": "emails.3.abc", "task": "send", "queue": "emails", "attempt": 2, "worker": "w-1"}


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Closed(io.StringIO):
    """A stream whose reader is gone."""

    def write(self, _: str) -> int:
        raise BrokenPipeError


def fall_over() -> None:
    raise ValueError("it fell over")


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """Put back how this process logs when the test is over."""
    root = logging.getLogger()
    handlers, level, config = list(root.handlers), root.level, structlog.get_config()
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**config)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def job() -> JobContext:
    return JobContext(
        id="emails.3.abc", task="send", queue="emails", shard=3, attempt=2, token=5, worker_id="w-1"
    )


def test_lines_are_json_where_no_terminal_reads_them() -> None:
    stream = io.StringIO()
    logs.configure(stream=stream)
    structlog.get_logger("mine").info("hello", number=3)
    logging.getLogger("theirs").warning("number %d", 4, extra={"more": "words"})
    first, second = lines(stream)
    assert list(first) == ["timestamp", "level", "logger", "event", "number"]
    assert (first["level"], first["logger"], first["event"], first["number"]) == ("info", "mine", "hello", 3)
    assert (second["level"], second["logger"], second["event"]) == ("warning", "theirs", "number 4")
    assert second["more"] == "words"


def test_lines_are_readable_on_a_terminal() -> None:
    stream = Terminal()
    logs.configure(stream=stream)
    structlog.get_logger("mine").info("hello", number=3)
    logging.getLogger("theirs").warning("number %d", 4)
    text = stream.getvalue()
    assert "hello" in text
    assert "number 4" in text
    assert "\x1b[" in text
    with pytest.raises(ValueError, match="Expecting value"):
        json.loads(text.splitlines()[0])


@pytest.mark.parametrize(("format_", "stream"), [("json", Terminal()), ("console", io.StringIO())])
def test_a_format_that_is_asked_for_is_used_whoever_reads(format_: Any, stream: io.StringIO) -> None:
    logs.configure(format=format_, stream=stream)
    structlog.get_logger("mine").info("hello")
    assert stream.getvalue().startswith("{") == (format_ == "json")
    assert "\x1b[" not in stream.getvalue()


@pytest.mark.parametrize("format_", ["json", "console"])
def test_every_line_of_a_job_says_which_job_it_was(format_: Any) -> None:
    stream = io.StringIO()
    logs.configure(format=format_, stream=stream)
    mine, theirs = structlog.get_logger("mine"), logging.getLogger("theirs")
    mine.info("outside")
    with running(job()):
        mine.info("inside")
        theirs.warning("inside")
    theirs.warning("outside")
    for line in stream.getvalue().splitlines():
        for value in JOB.values():
            assert (str(value) in line.split("outside")[-1]) == ("inside" in line), line
    if format_ == "json":
        found = lines(stream)
        assert [{name: line.get(name) for name in JOB} for line in found[1:3]] == [JOB, JOB]


def test_what_a_line_says_itself_stays() -> None:
    stream = io.StringIO()
    logs.configure(stream=stream)
    with running(job()):
        structlog.get_logger("mine").info("another", job="other.0.x")
    assert lines(stream)[0]["job"] == "other.0.x"


def test_what_is_bound_in_structlogs_own_context_is_in_both() -> None:
    stream = io.StringIO()
    logs.configure(stream=stream)
    with structlog.contextvars.bound_contextvars(request="r-1"):
        structlog.get_logger("mine").info("hello")
        logging.getLogger("theirs").warning("hello")
    assert [line["request"] for line in lines(stream)] == ["r-1", "r-1"]


@pytest.mark.parametrize(
    ("level", "heard"), [("debug", 5), ("info", 4), ("warning", 3), ("error", 2), ("critical", 1)]
)
def test_lines_below_the_level_are_dropped(level: Any, heard: int) -> None:
    stream = io.StringIO()
    logs.configure(level=level, stream=stream)
    for logger in (structlog.get_logger("mine"), logging.getLogger("theirs")):
        for name in ("debug", "info", "warning", "error", "critical"):
            getattr(logger, name)("line")
    assert len(lines(stream)) == heard * 2


def test_a_dropped_line_costs_next_to_nothing() -> None:
    logs.configure(level="info", stream=io.StringIO())
    log = structlog.get_logger("mine")
    log.info("the logger is made when it is first used")

    def functions_called(act: Callable[[], object]) -> int:
        events: list[str] = []
        sys.setprofile(lambda _frame, event, _arg: events.append(event))
        try:
            act()
        finally:
            sys.setprofile(None)
        return events.count("call")

    with running(job()):
        dropped = functions_called(lambda: log.debug("x", a=1))
        written = functions_called(lambda: log.info("x", a=1))
    assert dropped <= 5 < written / 5, "it is made into a line"


def test_exceptions_are_written_in_one_line_without_local_variables() -> None:
    stream = io.StringIO()
    logs.configure(stream=stream)
    mark = "hush"
    try:
        fall_over()
    except ValueError:
        structlog.get_logger("mine").exception("failed")
        logging.getLogger("theirs").exception("failed")
    for line in lines(stream):
        assert line["level"] == "error"
        assert line["exception"].endswith("ValueError: it fell over")
    terminal = Terminal()
    logs.configure(stream=terminal)
    try:
        fall_over()
    except ValueError:
        structlog.get_logger("mine").exception("failed")
    assert "it fell over" in terminal.getvalue()
    assert mark not in terminal.getvalue()


def test_what_json_does_not_know_is_written_as_its_repr() -> None:
    stream = io.StringIO()
    logs.configure(stream=stream)
    structlog.get_logger("mine").info("odd", thing=threading, several={1}, text="ü")
    [line] = lines(stream)
    assert line["thing"].startswith("<module 'threading'")
    assert line["several"] == ["1"]
    assert "ü" in stream.getvalue()


def test_lines_of_many_threads_are_written_whole() -> None:
    stream = io.StringIO()
    logs.configure(stream=stream)

    def work(number: int) -> None:
        for _ in range(200):
            structlog.get_logger("mine").info("line", number=number, filler="x" * 500)
            logging.getLogger("theirs").warning("line %s", "y" * 500)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lines(stream)) == 4 * 200 * 2


def test_a_stream_that_nobody_reads_any_more_stops_no_work() -> None:
    logs.configure(stream=Closed())
    structlog.get_logger("mine").info("into the void")
    logging.getLogger("theirs").warning("into the void")


def test_importing_capelin_and_using_it_as_a_library_changes_no_logging() -> None:
    script = """
import asyncio, logging, structlog

def state():
    root = logging.getLogger()
    return list(root.handlers), root.level, structlog.is_configured()

before = state()
import capelin, capelin.app, capelin.logs, capelin.workers.worker, capelin.cli.main, capelin.testing

app = capelin.Capelin("memory://x")

@app.task
async def task() -> None: ...

async def main():
    await task.enqueue()
    await capelin.workers.worker.Worker(app, burst=True).run()
    await app.close()

asyncio.run(main())
assert before == state() == ([], logging.WARNING, False), (before, state())
"""
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, timeout=60)


def test_the_processor_fits_into_a_configuration_of_ones_own() -> None:
    captured = structlog.testing.CapturingLogger()
    structlog.configure(processors=[logs.add_job, structlog.processors.JSONRenderer()], wrapper_class=None)
    log = structlog.wrap_logger(captured)
    with running(job()):
        log.info("hello")
    assert json.loads(captured.calls[0].args[0])["task"] == "send"
