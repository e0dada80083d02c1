"""Plots of a run, drawn from its JSON with matplotlib, in an environment of its own: nobody else needs it."""

import subprocess
from pathlib import Path

from benchmarks.environments import PeerUnavailable, environment

_REQUIREMENTS = ("matplotlib==3.11.2",)
_ROOT = Path(__file__).parent.parent


def draw(results: Path, folder: Path) -> list[Path]:
    """Draw a run's figures.

    Args:
        results: The JSON of a run.
        folder: Where the SVG files go; made if need be.

    Returns:
        The files.

    Raises:
        PeerUnavailable: matplotlib cannot be installed, or failed.
    """
    python = environment("plots", _REQUIREMENTS)
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(  # noqa: S603 -- our own words
        [str(python), "-m", "benchmarks.drawing", str(results.resolve()), str(folder.resolve())],
        capture_output=True,
        text=True,
        cwd=_ROOT,
        check=False,
    )
    if done.returncode:
        raise PeerUnavailable(f"matplotlib failed: {done.stderr.strip().splitlines()[-1:]}")
    return [Path(line) for line in done.stdout.split()]
