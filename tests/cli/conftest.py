"""What the tests of the command line share: running it as a person does, in 80 columns, on a real Redis."""

import asyncio
import importlib
import json
import logging
import sys
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import psutil
import pytest
import structlog

from capelin.cli import main
from capelin.workers.worker import Worker
from tests.support.workers import QUICK

MODULE = "tests.cli.apps.shop"
APP = f"{MODULE}:app"
COLUMNS = 80


@dataclass(frozen=True, kw_only=True)
class Said:
    """How a command ended, and what it wrote."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, read as JSON."""
        assert self.status == 0, self.err
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        """The lines that it printed."""
        return self.out.splitlines()

    def row(self, start: str) -> list[str]:
        """The cells of the one row of its table that begins like this."""
        [row] = [line for line in self.lines if line.startswith(start)]
        return [cell.strip() for cell in row.split("  ") if cell.strip()]


class Run(Protocol):
    """Runs the command line in this process."""

    def __call__(self, *words: str) -> Said: ...


@pytest.fixture
def own_logging() -> Iterator[None]:
    """Put back how this process logs when the test is over: commands configure it for the whole of theirs."""
    root = logging.getLogger()
    handlers, level, config = list(root.handlers), root.level, structlog.get_config()
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**config)


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    redis_url: str,
    own_logging: None,  # noqa: ARG001 -- it puts back what commands change
) -> Run:
    """Run `capelin` with these words, against the test's Redis, in 80 columns, with no terminal to ask on."""
    # What commands change for the whole of their process is put back when the test is over.
    for name in ("CAPELIN_CLI_REDIS_URL", "CAPELIN_CLI_PREFIX", "CAPELIN_APP"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("CAPELIN_REDIS_URL", redis_url)
    monkeypatch.setenv("COLUMNS", str(COLUMNS))
    monkeypatch.delitem(
        sys.modules, MODULE, raising=False
    )  # an app is bound once, and each test has its Redis

    def run(*words: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["capelin", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        written = capsys.readouterr()
        status = end.value.code
        return Said(status=status if isinstance(status, int) else 0, out=written.out, err=written.err)

    return run


@pytest.fixture
def shop(run: Run) -> Any:  # noqa: ARG001 -- it is imported anew for each test, by then
    """Return the module of the app, `tests/cli/apps/shop.py`."""
    return importlib.import_module(MODULE)


class Do(Protocol):
    """Runs a coroutine with the shop's app, and closes the app."""

    def __call__(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any: ...


@pytest.fixture
def do(shop: Any) -> Do:
    """Use the shop's app from a test that is not asynchronous."""

    def do(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        async def main() -> Any:
            async with shop.app:
                return await work()

        return asyncio.run(main())

    return do


@pytest.fixture
def drain(shop: Any, do: Do) -> Callable[[], None]:
    """Have a worker run what is due, and end."""

    async def work() -> None:
        await Worker(shop.app, burst=True, settings=QUICK).run()

    return lambda: do(work)


def has_ended(process: psutil.Process) -> bool:
    """Whether a process runs no more; nobody need have asked for its exit status."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def one_line(said: Said) -> str:
    """The one line of an error: exit status 2, nothing printed, no traceback."""
    assert said.status == 2, said
    assert said.out == ""
    [line] = said.err.splitlines()
    assert line.startswith("capelin: ")
    return line.removeprefix("capelin: ")
