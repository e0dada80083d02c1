"""`capelin singletons`: who hosts each, and whether it gives signs of life."""

import asyncio
import re
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

from capelin import Capelin, Leader
from capelin.workers.worker import Worker
from tests.cli.conftest import COLUMNS, Do, Run, one_line
from tests.support.waiting import wait_until
from tests.support.workers import QUICK


class Position(BaseModel):
    """A state."""

    at: int = 0


@pytest.fixture
def hosted(shop: Any, do: Do) -> Callable[[Callable[[], object]], None]:
    """Host singletons of the shop until something holds."""

    def hosted(until: Callable[[], object]) -> None:
        async def work() -> None:
            worker = Worker(shop.app, settings=QUICK, name="host")
            running = asyncio.create_task(worker.run())
            try:
                await wait_until(until, description="the singletons to have done what they do")
            finally:
                worker.stop()
                await running

        do(work)

    return hosted


@pytest.fixture
def ran(shop: Any, hosted: Callable[[Callable[[], object]], None]) -> None:
    """Two singletons that were hosted: one that ran, and one that failed at once."""
    said: list[str] = []
    app: Capelin[Any] = shop.app

    @app.singleton("search.indexer", state=Position, interval=60)
    async def indexer(leader: Leader[Position]) -> None:
        leader.state.at = 7
        await leader.save()
        said.append("ran")

    @app.singleton(interval=60)
    async def feed(leader: Leader) -> None:
        said.append(leader.name)
        raise ValueError("no such feed")

    hosted(lambda: {"ran", "feed"} <= set(said))


def test_none_is_said_to_a_person_and_is_an_empty_list_to_a_program(run: Run) -> None:
    said = run("singletons")
    assert (said.status, said.out) == (0, "")
    assert "@app.singleton declares one" in said.err
    assert run("singletons", "--json").json == []


@pytest.mark.usefixtures("ran")
def test_they_are_listed_in_80_columns(run: Run) -> None:
    said = run("singletons")
    assert max(map(len, said.lines)) <= COLUMNS
    assert said.lines[0].split() == ["SINGLETON", "HOST", "EVERY", "BEAT", "RUNS", "FAILED", "STATE"]
    assert re.fullmatch(r"search\.indexer +nobody +1 m +[\d.]+ s +[01] +0 +healthy *", said.lines[-1])
    assert re.fullmatch(r"feed +nobody +1 m +never +0 +1 +healthy *", said.lines[-2])


@pytest.mark.usefixtures("ran")
def test_programs_get_everything(run: Run) -> None:
    feed, indexer = run("singletons", "ls", "--json").json
    assert (feed["name"], feed["failures"], feed["last_error"]) == ("feed", 1, "ValueError: no such feed")
    assert (feed["beat"], feed["state_bytes"], feed["interval"]) == (None, None, 60)
    assert (indexer["name"], indexer["holder"], indexer["healthy"]) == ("search.indexer", None, True)
    assert indexer["epoch"] > 0
    assert indexer["state_bytes"] == len('{"at":7}')


@pytest.mark.usefixtures("ran")
def test_one_is_shown_with_what_it_keeps(run: Run) -> None:
    shown = run("singletons", "show", "search.indexer").out
    assert '{"at":7}' in shown
    assert "nobody" in shown
    failed = run("singletons", "show", "feed").out
    assert "ValueError: no such feed" in failed
    assert re.search(r"failures +1, the last ", failed)
    assert run("singletons", "show", "search.indexer", "--json").json["state"] == '{"at":7}'


@pytest.mark.usefixtures("ran")
def test_a_state_that_was_set_aside_is_told_and_shown(run: Run, shop: Any, do: Do) -> None:
    async def spoil() -> None:
        key = shop.app.keys.lease_state("search.indexer")
        await shop.app.client().connection.command("HSET", key, "aside", '{"at":"x"}')

    do(spoil)
    assert "healthy, state set aside" in run("singletons").out
    assert '{"at":"x"}' in run("singletons", "show", "search.indexer").out


@pytest.mark.usefixtures("ran")
def test_a_misspelt_name_is_answered_with_the_nearest(run: Run) -> None:
    assert one_line(run("singletons", "show", "search.indxer")) == (
        "no singleton 'search.indxer'; did you mean 'search.indexer'?"
    )


def test_one_that_is_silent_says_so(
    run: Run, shop: Any, hosted: Callable[[Callable[[], object]], None]
) -> None:
    said: list[str] = []
    app: Capelin[Any] = shop.app

    @app.singleton(interval=0.01)
    async def mute(leader: Leader) -> None:
        said.append(leader.name)
        await asyncio.Event().wait()

    hosted(lambda: said)
    assert run("singletons").row("mute")[-1] == "silent"
