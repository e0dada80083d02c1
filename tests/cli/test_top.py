"""`capelin top` on a real terminal: it is started, looks into a job, replays a dead one, and is left."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Do, Run
from tests.support.screens import Terminal
from tests.support.waiting import wait_until_sync

TOP = [sys.executable, "-m", "capelin", "top", "--every", "0.2"]


def test_a_session_looks_into_a_dead_job_replays_it_and_leaves(
    shop: Any, do: Do, drain: Callable[[], None], redis_url: str
) -> None:
    job: str = do(lambda: shop.fail.enqueue("it fell over")).id
    drain()
    with Terminal(TOP, env={"CAPELIN_REDIS_URL": redis_url}) as top:
        top.until("capelin top redis://", "1 dead", "QUEUE", "IN/s", "default")
        top.press("5")
        top.until("REASON", "it fell over", job)
        top.press("enter")
        top.until(f"job {job}", "status      failed", "it fell over", "Traceback")
        top.press("r")
        top.until(f"Run {job} again?")
        top.press("y")
        top.until(f"{job} runs again", "status      queued")
        top.press("escape")
        top.until("Nothing is dead", "0 dead")
        top.press("q")
        assert top.ended() == 0
    assert do(lambda: shop.app.job(job).status()) == "queued"


def test_logs_of_an_outage_do_not_get_onto_the_screen() -> None:
    with Terminal(TOP, env={"CAPELIN_REDIS_URL": "redis://127.0.0.1:1/0"}) as top:
        shown = top.until("never seen: Redis at redis://127.0.0.1:1/0 does not answer")
        assert "[warning" not in shown
        top.press("q")
        assert top.ended() == 0


def test_without_a_terminal_it_says_what_prints_instead(run: Run) -> None:
    said = run("top")
    assert (said.status, said.out) == (2, "")
    assert said.err.startswith("capelin: capelin top draws on a terminal, and here is none")
    assert said.err.count("\n") == 1


def test_without_its_extra_it_says_in_a_line_how_to_install_it(tmp_path: Path) -> None:
    hidden = tmp_path / "textual.py"
    hidden.write_text("raise ModuleNotFoundError(\"No module named 'textual'\", name='textual')\n")
    with Terminal([*TOP, "--redis", "redis://127.0.0.1:1/0"], env={"PYTHONPATH": str(tmp_path)}) as top:
        assert top.ended() == 2
        wait_until_sync(
            lambda: (
                top.text.replace("\n", "")
                == "capelin: capelin top needs the extra `top` (textual is not installed): "
                "pip install 'capelin[top]'"
            ),
            description="one line that says how to install it",
        )


@pytest.mark.parametrize("every", ["0", "61", "x"])
def test_it_looks_neither_too_often_nor_too_rarely(run: Run, every: str) -> None:
    said = run("top", "--every", every)
    assert said.status == 2
    assert "--every" in said.err
