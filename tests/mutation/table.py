"""`docs/mutations.md`: what each mutant breaks, and the test that notices. The last full run writes it."""

# ruff: noqa: E501 -- lines of a page

import re
from collections.abc import Mapping

from tests.mutation.catalog import MUTANTS, PARTS
from tests.mutation.trial import ROOT

PAGE = ROOT / "docs" / "mutations.md"
_ROW = re.compile(r"^\| (?P<name>[^|]+?) \| (?P<rule>[^|]+?) \| `(?P<killer>[^`|]+)` \|$", re.MULTILINE)
_HEAD = """\
# The protocol, broken on purpose

A test that cannot fail proves nothing. So `make mutate` breaks the scripts and the lease logic in {count} named ways, one at a time, in
a copy of the project, and runs the tests that are aimed at each. Every one must be noticed; the table names the first test that did.
It is written by that run, and CI holds that every mutant still applies to today's text and stands in the table.

A mutant that survives means that a test is missing. A new rule of the protocol gets a mutant: see `tests/mutation/`. Wherever a number
stands in the second column, it is that of the [guarantee](guarantees.md).
"""


def render(killers: Mapping[str, str]) -> str:
    """The page.

    Args:
        killers: The test that noticed each mutant.
    """
    lines = [_HEAD.format(count=len(MUTANTS))]
    for title, mutants in PARTS.items():
        lines += [
            f"## {title}",
            "",
            "| what is broken | what it breaks | who notices |",
            "| --- | --- | --- |",
        ]
        lines += [
            f"| {one.name} | {one.rule} | `{killers[one.name]}` |" for one in mutants if one.name in killers
        ]
        lines.append("")
    return "\n".join(lines)


def read_killers() -> dict[str, str]:
    """The tests that the page names."""
    if not PAGE.exists():
        return {}
    return {row["name"]: row["killer"] for row in _ROW.finditer(PAGE.read_text())}
