"""`capelin queues reshard`: says what it would do, asks, does it, and tells what is left."""

from typing import Any

import pytest

from tests.cli.conftest import COLUMNS, Do, Run


@pytest.fixture
def held(shop: Any, do: Do) -> str:
    """The id of a job that holds a dedupe key in the last of 8 shards."""

    async def work() -> str:
        for number in range(100):
            job = await shop.fail.options(dedupe_key=f"k{number}").enqueue("x")
            if job.shard == 7:
                return str(job.id)
            await job.cancel()
        raise AssertionError("no key leads to shard 7")

    return str(do(work))


def test_without_a_number_it_tells_how_the_queue_is_cut(run: Run, held: str) -> None:
    said = run("queues", "reshard", "default")
    assert said.lines == [
        "queue default is cut into 8 shards, as it was before",
        "nothing is left of an older layout",
    ]
    assert held


def test_a_dry_run_says_what_would_happen_and_does_nothing(run: Run, held: str) -> None:
    said = run("queues", "reshard", "default", "2", "--dry-run")
    assert said.lines[0] == "queue default would be cut into 2 shards instead of 8"
    assert run("queues", "show", "default", "--json").json["shards"] == 8
    assert held


def test_it_asks_before_it_cuts(run: Run, held: str) -> None:
    said = run("queues", "reshard", "default", "2")
    assert (said.status, said.out) == (2, "")
    assert "add --yes" in said.err
    assert run("jobs", "show", held, "--json").json["status"] == "queued"


def test_it_tells_what_is_left_of_the_older_layout(run: Run, held: str) -> None:
    said = run("queues", "reshard", "default", "2", "--yes")
    assert said.lines == [
        "queue default is cut into 2 shards instead of 8",
        "shards 2 to 7 are served until they are empty",
        "they hold 1 job that has not ended, and the records of others",
        "dedupe keys are asked for in the homes of layout 1 (8 shards), too",
        "jobs hold 1 key there",
    ]
    assert all(len(line) <= COLUMNS for line in said.lines)
    assert "default was cut anew" in run("queues").err
    assert "6 shards of a larger layout" in run("queues", "show", "default").out
    assert run("shards", "--queue", "default").row("default:7")
    assert run("jobs", "show", held, "--json").json["status"] == "queued"


def test_programs_read_it_as_json(run: Run, held: str) -> None:
    found = run("queues", "reshard", "default", "2", "--yes", "--json").json
    assert (found["before"], found["shards"], found["layout"], found["changed"]) == (8, 2, 2, True)
    assert (found["reach"], found["live"], found["keys"]) == (8, 1, 1)
    assert found["older"] == [{"version": 1, "shards": 8}]
    again = run("queues", "reshard", "default", "2", "--json").json
    assert (again["changed"], again["layout"]) == (False, 2)
    assert held


@pytest.mark.parametrize("number", ["0", "1025"])
def test_a_number_out_of_range_is_refused(run: Run, held: str, number: str) -> None:
    said = run("queues", "reshard", "default", number, "--yes")
    assert said.status == 2
    assert "1 to 1024" in said.err
    assert held
