"""What the shell offers at Tab: commands, options, and names that this Redis knows."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Do, Run
from tests.support.ports import free_port

CAPELIN = Path(sys.executable).with_name("capelin")
"""The command by its name, as shells know it: `python -m capelin` completes nothing."""


def offered(typed: str, **env: str) -> list[str]:
    """What bash is told when somebody has typed this and presses Tab."""
    words = typed.split(" ")
    said = subprocess.run(
        [CAPELIN],
        env=os.environ
        | {"_CAPELIN_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(len(words) - 1)}
        | env,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert said.stderr == ""
    return said.stdout.split()


@pytest.fixture
def filled(run: Run, shop: Any, do: Do) -> None:  # noqa: ARG001 -- it says where Redis is
    """Two queues, and a worker whose tasks are known."""
    from capelin.workers.fleet import Member

    member = Member(
        id="pod-1-x",
        app="shop",
        host="h",
        pid=1,
        version="0",
        started=0,
        queues=(),
        slots=1,
        tasks={"greet": "", "shop.birthday": ""},
    )

    async def work() -> None:
        await shop.greet.enqueue("Ada")
        await shop.greet.options(queue="letters").enqueue("Grace")
        connection, keys = shop.app.client().connection, shop.app.keys
        await connection.command("HSET", keys.fleet_members, member.id, member.to_json())

    do(work)


def test_commands_and_options_are_offered_also_without_the_ls() -> None:
    assert offered("capelin que") == ["queues"]
    assert {"pause", "resume", "drain", "purge"} <= set(offered("capelin queues "))
    assert offered("capelin dlq replay --ra") == ["--rate"]
    assert offered("capelin jobs --older") == ["--older-than"]
    assert offered("capelin jobs --status ca") == ["cancelled"]


@pytest.mark.usefixtures("filled")
def test_names_that_redis_knows_are_offered() -> None:
    assert offered("capelin queues pause ") == ["default", "letters"]
    assert offered("capelin jobs --queue let") == ["letters"]
    assert offered("capelin workers quiet po") == ["pod-1-x"]
    assert offered("capelin dlq --task sh") == ["shop.birthday"]


def test_a_redis_that_does_not_answer_offers_nothing_and_says_nothing() -> None:
    assert offered("capelin queues pause ", CAPELIN_REDIS_URL=f"redis://127.0.0.1:{free_port()}/0") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_each_shell_is_printed(shell: str) -> None:
    said = subprocess.run(
        [CAPELIN, "--show-completion", shell],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env=os.environ | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
    )
    assert "_CAPELIN_COMPLETE" in said.stdout
