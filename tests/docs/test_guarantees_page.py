"""The page of guarantees names every promise and tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
NUMBERED = sorted((ROOT / "tests" / "guarantees").glob("test_[01][0-9]_*.py"))


def test_every_test_that_is_named_exists() -> None:
    named = set(re.findall(r"tests/[\w/]+\.py", PAGE))
    assert named
    assert {path for path in named if not (ROOT / path).exists()} == set()


def test_every_numbered_guarantee_is_promised_and_shown() -> None:
    rows = [line for line in PAGE.splitlines() if re.match(r"\| \d+ \|", line)]
    promised = {int(line.split("|")[1]) for line in rows if "**" in line}
    shown = {int(line.split("|")[1]): line for line in rows if "tests/guarantees/test_" in line}
    assert promised == set(shown) == set(range(1, 14))
    assert len(NUMBERED) == len(shown)
    for path in NUMBERED:
        assert path.name in shown[int(path.name[5:7])]
