"""The other end of the range of redis-py: what clients and workers do also holds with the oldest one.

The newest is what every other test runs with.
"""

import os
import subprocess
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OLDEST = "redis[hiredis]==5.0.*"


def run(*words: str | Path, env: dict[str, str]) -> str:
    done = subprocess.run(
        [str(word) for word in words],
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, f"{words} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout


@pytest.mark.slow
@pytest.mark.usefixtures("redis_server")  # skipped, or failed in CI, where there is no server
def test_clients_and_workers_do_the_same_with_the_oldest_redis_py(tmp_path: Path) -> None:
    venv.create(tmp_path / "oldest", with_pip=True)
    python = tmp_path / "oldest" / "bin" / "python"
    env = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))
    }
    install = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    # What the tests themselves need, beside capelin with its in-process server.
    run(*install, f"{ROOT}[embedded]", OLDEST, "pytest>=9", "pytest-asyncio", "hypothesis", "psutil", env=env)
    assert "Version: 5.0." in run(python, "-m", "pip", "show", "redis", env=env)

    report = run(
        python,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "tests/conformance",
        "tests/guarantees/test_workers_on_a_cluster.py",
        "-k",
        "not test_firing",  # scripts alone: no client
        env=env,
    )

    assert " passed" in report, report
    assert " failed" not in report, report
