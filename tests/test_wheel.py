"""What is shipped works: the wheel, built and installed into a clean environment, runs a job there."""

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

SCRIPT = """
import asyncio
import importlib.metadata
import sys
from pathlib import Path

import capelin

home = Path(capelin.__file__).resolve()
assert home.is_relative_to(Path(sys.prefix).resolve()), f"capelin was imported from {home}"

app = capelin.Capelin("memory://wheel")
ran = []


@app.task
async def greet(name: str, *, times: int = 1) -> str:
    ran.append(name)
    return f"hello {name} " * times


async def main() -> None:
    async with app.testing() as t:
        job = await greet.enqueue("wheel", times=2)
        assert t.enqueued(greet), "the job was not enqueued"
        await t.drain(raise_errors=True)
        assert ran == ["wheel"], ran
        assert await job.result(timeout=10) == "hello wheel hello wheel "
        assert str(await job.status()).endswith("completed"), await job.status()


asyncio.run(main())
print("ran a job with", importlib.metadata.version("capelin"))
"""


def run(*words: str | Path, cwd: Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
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
def test_the_wheel_in_a_clean_environment_runs_a_job(tmp_path: Path) -> None:
    run(sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path, ROOT, cwd=tmp_path)
    (wheel,) = tmp_path.glob("capelin-*.whl")

    shipped = set(zipfile.ZipFile(wheel).namelist())
    package = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "capelin").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert package <= shipped, f"not in the wheel: {sorted(package - shipped)}"
    assert "capelin/py.typed" in shipped
    assert any(name.startswith("capelin/lua/") and name.endswith(".lua") for name in shipped)
    outside = {name for name in shipped - package if ".dist-info/" not in name}
    assert not outside, f"in the wheel, but not of the package: {sorted(outside)}"

    clean = tmp_path / "clean"
    venv.create(clean, with_pip=True)
    # Nothing of this environment or this checkout may help out.
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "VIRTUAL_ENV", "CAPELIN_"))
    }
    python = clean / "bin" / "python"
    run(
        python,
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        f"{wheel}[embedded]",
        cwd=tmp_path,
        env=env,
    )
    run(python, "-m", "pip", "check", cwd=tmp_path, env=env)

    script = tmp_path / "job.py"
    script.write_text(SCRIPT)
    assert "ran a job with" in run(python, "-W", "error", script, cwd=tmp_path, env=env)
    assert "worker" in run(clean / "bin" / "capelin", "--help", cwd=tmp_path, env=env)
