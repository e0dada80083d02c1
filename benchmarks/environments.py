"""A virtual environment for every peer, and one for plots: their pins differ from capelin's and each other's.

Made with pip when first needed, and kept in a cache folder under a name that says what is in it.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.catalog import System

_INSTALL_LIMIT = 600


class PeerUnavailable(Exception):
    """A peer's environment cannot be made here; the message says why."""


def cache_folder() -> Path:
    """Return where environments are kept: ``$XDG_CACHE_HOME/capelin-benchmarks``."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "capelin-benchmarks"


def interpreter(system: System) -> Path:
    """Return the interpreter that has the system, making its environment if need be.

    Raises:
        PeerUnavailable: It cannot be installed.
    """
    if not system.requirements:
        return Path(sys.executable)
    return environment(system.name, system.requirements)


def environment(name: str, requirements: Sequence[str]) -> Path:
    """Return the interpreter of an environment that has what is required, making it if need be.

    Raises:
        PeerUnavailable: It cannot be made.
    """
    content = json.dumps([sys.version, *requirements])
    digest = hashlib.sha256(content.encode()).hexdigest()[:12]
    folder = cache_folder() / f"{name.lower()}-{digest}"
    python = folder / "bin" / "python"
    if (folder / "complete").exists():
        return python
    print(f"making an environment for {name} ({', '.join(requirements)}) …", file=sys.stderr, flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(folder)], name)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, *requirements], name)
    (folder / "complete").touch()
    return python


def versions(system: System, python: Path) -> dict[str, str]:
    """Return the versions of a system's packages in its environment."""
    code = (
        "import importlib.metadata as m, json, sys\n"
        "print(json.dumps({p: m.version(p) for p in sys.argv[1:] if list(m.distributions(name=p))}))"
    )
    done = subprocess.run(  # noqa: S603 -- our own words
        [str(python), "-c", code, *system.packages], check=True, capture_output=True, text=True
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found


def _run(words: list[str], name: str) -> None:
    try:
        subprocess.run(words, check=True, capture_output=True, text=True, timeout=_INSTALL_LIMIT)  # noqa: S603 -- our own words
    except subprocess.CalledProcessError as error:
        lines = str(error.stderr).strip().splitlines() or ["it said nothing"]
        raise PeerUnavailable(f"{name} cannot be installed: {lines[-1]}") from error
    except subprocess.TimeoutExpired as error:
        raise PeerUnavailable(f"{name} was not installed within {_INSTALL_LIMIT} s") from error
