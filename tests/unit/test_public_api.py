"""What `import capelin` gives, and what it costs."""

import json
import subprocess
import sys
from collections.abc import Iterable

import pytest

import capelin

# What none of these needs, and what takes long to import.
HEAVY = (
    "fakeredis",
    "lupa",
    "prometheus_client",
    "rich",
    "structlog",
    "typer",
    "uvloop",
    "watchfiles",
    "capelin.cli",
    "capelin.demo",
    "capelin.testing",
    "capelin.workers",
)


def modules_after(program: str) -> set[str]:
    """The names of the modules that are loaded after a program, in a fresh interpreter."""
    program += "\nimport json, sys\nprint(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def heavy_ones(modules: Iterable[str]) -> set[str]:
    return {name for name in modules if any(name == heavy or name.startswith(f"{heavy}.") for heavy in HEAVY)}


def test_importing_the_package_loads_nothing_of_it() -> None:
    modules = modules_after("import capelin")
    assert {name for name in modules if name.partition(".")[0] == "capelin"} == {"capelin"}
    assert not {"redis", "pydantic", "tenacity", "anyio"} & modules


def test_an_app_with_a_task_loads_nothing_heavy() -> None:
    program = """
from capelin import *
app = Capelin()
@app.task
async def nothing() -> None: ...
nothing.job()
"""
    assert heavy_ones(modules_after(program)) == set()


def test_a_worker_that_nobody_asks_loads_no_prometheus_client() -> None:
    modules = modules_after("import capelin.cli.running, capelin.cli.workers, capelin.metrics.tally")
    assert "capelin.workers.worker" in modules
    assert not {name for name in modules if name.startswith(("prometheus_client", "capelin.probes"))}


def test_without_a_cluster_nobody_waits_for_redis_py() -> None:
    modules = modules_after("import capelin.client, capelin.workers.worker")
    assert "capelin.connection.base" in modules
    assert not {name for name in modules if name.partition(".")[0] == "redis"}


def test_everything_that_is_named_is_there() -> None:
    assert len(set(capelin.__all__)) == len(capelin.__all__)
    for name in capelin.__all__:
        assert getattr(capelin, name) is not None


def test_everything_that_is_public_is_named() -> None:
    from capelin import errors

    public = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.CapelinError) and not name.startswith("_")
    }
    assert public <= set(capelin.__all__)
    assert set(capelin.__all__) <= set(dir(capelin))


def test_the_contracts_own_imports_work() -> None:
    program = "from capelin import Capelin, Reject, Retry, RetryPolicy, Snooze, current_job, resource, Tasks"
    assert "capelin.app" in modules_after(program)


def test_a_name_that_does_not_exist_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="module 'capelin' has no attribute 'capelim'"):
        _ = capelin.capelim  # type: ignore[attr-defined] # pyright: ignore[reportAttributeAccessIssue]


def test_names_stay_what_they_are() -> None:
    assert capelin.Capelin is capelin.Capelin
    assert capelin.current_job is sys.modules["capelin.context"].current_job


def test_the_version_is_the_distributions() -> None:
    from importlib.metadata import version

    assert capelin.__version__ == version("capelin")


def test_clients_import_and_work_where_there_is_no_posix() -> None:
    """Windows has none of these modules, functions and signals, and no uvloop."""
    modules = modules_after(
        """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name in {"fcntl", "grp", "pwd", "resource", "termios", "tty", "uvloop"}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())

import asyncio, os, signal, socket
for module, names in {
    os: ("fork", "getloadavg", "getuid", "kill", "killpg", "register_at_fork", "sched_getaffinity", "uname"),
    signal: ("SIGALRM", "SIGCHLD", "SIGCONT", "SIGHUP", "SIGKILL", "SIGSTOP", "SIGUSR1", "pthread_sigmask"),
    socket: ("SO_REUSEPORT", "TCP_KEEPIDLE"),
}.items():
    for name in names:
        if hasattr(module, name):
            delattr(module, name)

import capelin
for name in capelin.__all__:
    getattr(capelin, name)
import capelin.client, capelin.connection, capelin.testing

app = capelin.Capelin("memory://no-posix")

@app.task
async def double(number: int) -> int:
    return 2 * number

async def main() -> None:
    async with app.testing() as t:
        job = await double.enqueue(4)
        await t.drain(raise_errors=True)
        assert await job.result() == 8

asyncio.run(main())
job = double.enqueue_sync(5)
assert job.status_sync() == "queued"
app.close_sync()
"""
    )
    assert "capelin.connection.dial" in modules
    assert not {"fcntl", "pwd", "uvloop"} & modules
