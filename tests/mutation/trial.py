"""Runs the tests aimed at a mutant, in a copy of the project that has it."""

import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from tests.mutation.mutants import PACKAGE, Mutant

ROOT = PACKAGE.parent
_COPIED = ("capelin", "tests", "pyproject.toml")
_FAILED = re.compile(r"^(?:FAILED|ERROR) (?P<test>tests/\S+?::\w+(?:::\w+)?)", re.MULTILINE)
_TIMEOUT = 600.0
_TESTS_FAILED = 1


class Verdict(Enum):
    """What became of a mutant."""

    KILLED = "killed"
    """A test failed."""
    SURVIVED = "survived"
    """Every test aimed at it passed: one is missing."""
    UNTESTED = "untested"
    """The tests could not be run."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """The trial of one mutant.

    Attributes:
        killer: The first test that failed, if one did.
        output: What the tests printed.
    """

    mutant: str
    verdict: Verdict
    killer: str | None
    seconds: float
    output: str


def copy_project(to: Path) -> Path:
    """Copy what the tests need.

    Raises:
        RuntimeError: What runs there would import another copy.
    """
    for name in _COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, to / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, to / name)
    command = [sys.executable, "-c", "import capelin; print(capelin.__file__)"]
    found = subprocess.run(command, cwd=to, env=_environment(to), capture_output=True, text=True, check=True)
    if not Path(found.stdout.strip()).is_relative_to(to):
        raise RuntimeError(f"tests in {to} would import {found.stdout.strip()}")
    return to


def run_trial(mutant: Mutant, copy: Path) -> Trial:
    """Put a mutant into a copy of the project, run its tests, and take it out again."""
    files = {edit.file for edit in mutant.edits}
    begun = time.monotonic()
    try:
        for edit in mutant.edits:
            path = copy / "capelin" / edit.file
            path.write_text(edit.applied(path.read_text()))
        code, output = _run_tests(mutant, copy)
    finally:
        for file in files:
            shutil.copy2(PACKAGE / file, copy / "capelin" / file)
    found = _FAILED.search(output)
    verdict = Verdict.UNTESTED
    if code == 0:
        verdict = Verdict.SURVIVED
    elif code == _TESTS_FAILED and found is not None:
        verdict = Verdict.KILLED
    return Trial(
        mutant=mutant.name,
        verdict=verdict,
        killer=None if found is None else found["test"],
        seconds=time.monotonic() - begun,
        output=output,
    )


def _run_tests(mutant: Mutant, copy: Path) -> tuple[int, str]:
    options = ("-x", "-q", "-rfE", "--tb=line", "-p", "no:cacheprovider")
    command = [sys.executable, "-m", "pytest", *options, *mutant.aimed]
    try:
        done = subprocess.run(
            command,
            cwd=copy,
            env=_environment(copy),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        return -1, f"no end within {error.timeout:g} s"
    return done.returncode, done.stdout


def _environment(copy: Path) -> dict[str, str]:
    # Workers that the tests start as processes must have the mutant, too.
    return {**os.environ, "PYTHONPATH": str(copy)}
