"""The page on the doctor: every check is explained, and every command that a check advises exists."""

import re
from itertools import pairwise

import pytest
from typer.testing import CliRunner

from capelin.admin.doctor import CHECKS
from capelin.cli.main import cli
from tests.docs.snippets import ROOT, typed_commands

PAGE = (ROOT / "docs" / "doctor.md").read_text(encoding="utf-8")
CHECKED = "".join(path.read_text("utf-8") for path in sorted((ROOT / "capelin/admin/doctor").glob("*.py")))
ADVISED = sorted(
    set(
        re.findall(
            r"capelin ((?:workers?|schedulers?|schedules|queues|jobs|dlq|shards|leader|singletons|doctor)\b"
            r"(?: (?:ls|show|replay|pause|resume)\b)?(?: (?:APP|parked|-[a-z]\b|--[a-z]+|\{[^}]+\}))*)",
            CHECKED,
        )
    )
)


def test_every_check_is_explained_in_the_order_in_which_it_is_told() -> None:
    assert re.findall(r"^### (\w+)$", PAGE, re.MULTILINE) == [check.name for check in CHECKS]


@pytest.mark.parametrize("advised", ADVISED)
def test_every_command_that_a_check_advises_exists(advised: str) -> None:
    words = re.sub(r"\{[^}]+\}", "name", advised).split()
    # `--help` comes last, so that the words before it are parsed.
    typed = CliRunner().invoke(cli, [*words, "--help"])
    assert typed.exit_code == 0, typed.output
    assert "Usage" in typed.output


def test_pages_name_checks_as_they_are_called() -> None:
    named = [
        (where, name)
        for where, words in typed_commands()
        if words[0] == "doctor"
        for option, name in pairwise(words)
        if option in {"--only", "--skip"}
    ]
    assert len(named) > 2
    known = {check.name for check in CHECKS}
    assert [(where, name) for where, name in named if name not in known] == []


def test_the_advice_was_found() -> None:
    assert {"worker APP -q {queue}", "dlq replay -q {queue}", "schedules show {one.name}"} <= set(ADVISED)
