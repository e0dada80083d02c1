"""Words for the command line: it ends by itself, says what is wrong, and destroys nothing unasked."""

import asyncio
import contextlib
import io
import os
import random
import signal
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, cast
from unittest.mock import patch

import structlog
import typer.main

from capelin import Capelin
from capelin.cli.main import cli, main
from tests.fuzz.words import Target, text
from tests.support.resp import texts
from tests.support.servers import RedisServer

SECONDS = 20
"""No command takes so long, as it is asked here."""
STATUSES = {0, 1, 2}
ENDLESS = {"demo", "dev", "top"}
"""Commands that go on until somebody ends them, whatever they are told."""
RUNS = {"worker", "scheduler"}
"""The same, but for an app that cannot be loaded."""
WAITS = {"--wait", "--follow", "--install-completion", "--show-completion", "--timeout", "--rate", "--redis"}
SLOW = {"doctor"}
SURE = ("--yes", "-y")

_VALUES = (
    *(
        "emails",
        "default",
        "nobody",
        "often",
        "1h",
        "5m",
        "-1",
        "0",
        "1",
        "3",
        "1e999",
        "nan",
        "50/s",
        "0/s",
        "*",
        "running",
        "email.send",
    ),
    *(
        "Timeout*",
        "email.*",
        "[]",
        '{"to": 1}',
        "null",
        "emails.0.x",
        "emails.99999999999999999999.x",
        "*/5 * * * *",
    ),
    *(
        "2026-01-01",
        "emails=3",
        "--",
        "-",
        "--no-such",
        "\udcff",
        "a" * 300,
        "--json",
        "--jsonl",
        "--dry-run",
        "--all",
    ),
)
_URLS = (
    "redis://[",
    "nonsense",
    "http://x",
    "redis+sentinel://",
    "memory://",
    "",
    "redis://localhost:99999",
    "\x00",
)

app: Capelin[None] = Capelin("memory://fuzzed", name="fuzzed")


@app.task(name="email.send", queue="emails")
async def send(to: str) -> None:
    del to


@dataclass(frozen=True, kw_only=True)
class Command:
    """What a command takes.

    Attributes:
        words: How it is called.
        arguments: How many values stand behind it, as a rule.
        flags: Names of options without a value.
        options: Names of options with one.
    """

    words: tuple[str, ...]
    arguments: int
    flags: tuple[str, ...]
    options: tuple[str, ...]


def _commands() -> Sequence[Command]:
    found: list[Command] = []

    def walk(command: Any, words: tuple[str, ...]) -> None:
        below = getattr(command, "commands", {})
        for name in below:
            walk(below[name], (*words, name))
        if not words or below or ENDLESS & {*words}:
            return
        named = [one for one in command.params if one.param_type_name == "option" and not WAITS & {*one.opts}]
        found.append(
            Command(
                words=words,
                arguments=sum(one.param_type_name == "argument" for one in command.params),
                flags=tuple(one.opts[0] for one in named if one.is_flag),
                options=tuple(one.opts[0] for one in named if not one.is_flag),
            )
        )

    walk(typer.main.get_command(cli), ())
    return sorted(found, key=lambda command: command.words)


COMMANDS = _commands()


class _Shop:
    """A Redis with something in it, and the command line."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self.ids: list[str] = []
        self.before: Sequence[str] = ()

    def fill(self) -> None:
        """Begin anew: jobs that wait, a schedule, a queue."""
        self.server.flush()
        url = self.server.url

        async def enqueue() -> list[str]:
            async with Capelin(url, name="fuzzed") as there:
                task = there.task_named("email.send", queue="emails")
                jobs = [await task.enqueue(to="a"), await task.options(delay=600).enqueue(to="b")]
                await there.schedule("often", 3600, task.job(to="c"))
                return [job.id for job in jobs]

        self.ids = asyncio.run(enqueue())
        self.before = self.held()

    def held(self) -> list[str]:
        """What may not vanish: records and places of jobs, schedules, the number of shards."""
        with self.server.connect() as redis:
            keys = sorted(key for key in texts(redis("KEYS", "*")) if ":job:" in key)
            schedules = sorted(texts(redis("HKEYS", "capelin:{schedules}:items")))
            shards = str(redis("HGET", "capelin:{emails}:meta", "shards"))
            return [*keys, *schedules, shards]

    def case(self, draw: random.Random) -> None:
        """Run one command."""
        words = self.words(draw)
        if self.held() != self.before:
            self.fill()
        status, out, err = self.run(words)
        said = out + err
        assert status in STATUSES, f"{words} ended with {status}: {err[-500:]}"
        assert "Traceback" not in err, f"{words}: {err[-2000:]}"
        assert status == 0 or said, f"{words} ended with {status} and said nothing"
        if not {*SURE} & {*words}:
            left = self.held()
            gone = [one for one in self.before if one not in left]
            assert not gone or self.ids_in(words), f"{words} destroyed {gone}"

    def ids_in(self, words: Sequence[str]) -> bool:
        """Whether a job is named: who names it means it."""
        return any(job in words for job in self.ids)

    def words(self, draw: random.Random) -> list[str]:
        """A command with what may stand behind it; one of four has something added, twice, or missing."""
        command = draw.choice(COMMANDS)
        if SLOW & {*command.words} and draw.random() < 0.9:
            command = COMMANDS[0]
        words: list[str] = []
        for place in range(command.arguments):
            app_of_no_module = place == 0 and RUNS & {*command.words}
            words.append(f"no.such.{text(draw)}" if app_of_no_module else self.value(draw))
        for _ in range(draw.choice([0, 0, 1, 1, 2, 4])):
            if command.flags and draw.random() < 0.4:
                words.append(draw.choice(command.flags))
            elif command.options:
                words += [draw.choice(command.options), self.value(draw)]
        if words and draw.random() < 0.25 and not RUNS & {*command.words}:
            where = draw.randrange(len(words))
            words[where : where + draw.randrange(2)] = [self.value(draw)] * draw.randrange(3)
        if "drain" in command.words:
            words = ["--timeout", "0", *words]
        if draw.random() < 0.05:
            words += ["--redis", draw.choice(_URLS)]
        return [*command.words, *words]

    def value(self, draw: random.Random) -> str:
        """A job, an app, what means something, or rubbish."""
        match draw.randrange(8):
            case 0 | 1 if self.ids:
                return draw.choice(self.ids)
            case 2:
                return text(draw)
            case 3:
                return "tests.fuzz.commands:app"
            case _:
                return draw.choice(_VALUES)

    def run(self, words: Sequence[str]) -> tuple[int, str, str]:
        """Run `capelin` in this process; return its exit status and what it wrote."""
        written = io.BytesIO()
        out = io.TextIOWrapper(written, encoding="utf-8")
        config = structlog.get_config()
        status: object = -1  # `main` does not return
        err = io.StringIO()
        env = {"CAPELIN_REDIS_URL": self.server.url, "COLUMNS": "80"}
        for name in ("CAPELIN_CLI_REDIS_URL", "CAPELIN_CLI_PREFIX", "CAPELIN_APP"):
            env[name] = ""
        with (
            patch.dict(os.environ, env),
            patch.object(sys, "argv", ["capelin", *words]),
            patch.object(sys, "path", list(sys.path)),
            patch.object(sys, "stdin", io.StringIO()),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            _in_time(words),
        ):
            for name in ("CAPELIN_CLI_REDIS_URL", "CAPELIN_CLI_PREFIX", "CAPELIN_APP"):
                del os.environ[name]
            try:
                main()
            except SystemExit as end:
                status = cast(object, end.code)
            finally:
                structlog.configure(**config)
        out.flush()
        status = status if isinstance(status, int) else 0 if status is None else 1
        return status, written.getvalue().decode(), err.getvalue()


@contextmanager
def _in_time(words: Sequence[str]) -> Generator[None]:
    """A command that goes on is ended, and its case fails."""

    def over(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise AssertionError(f"{words} does not end")

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def command_line() -> Generator[Target]:
    """The command line, with a Redis of its own."""
    with RedisServer() as server:
        shop = _Shop(server)
        shop.fill()
        yield shop.case
