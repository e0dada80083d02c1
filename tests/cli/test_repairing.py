"""Cancel, retry, replay, purge: each does what it says, says what it did, and asks before it destroys."""

import io
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.cli.conftest import COLUMNS, Do, Run, one_line
from tests.support.servers import RedisServer


@pytest.fixture
def dead(shop: Any, do: Do, drain: Callable[[], None]) -> list[str]:
    """Ids of three dead jobs: two of `fail`, one of `refuse`."""

    async def work() -> list[str]:
        jobs = [await shop.fail.enqueue("one"), await shop.fail.enqueue("two"), await shop.refuse.enqueue()]
        return [job.id for job in jobs]

    ids: list[str] = do(work)
    drain()
    return ids


def dead_ids(run: Run) -> set[str]:
    return {job["id"] for job in run("dlq", "--json").json["jobs"]}


def status_of(run: Run, job_id: str) -> str:
    return str(run("jobs", "show", job_id, "--json").json["status"])


def test_the_dlq_is_listed_with_what_went_wrong(run: Run, dead: list[str]) -> None:
    said = run("dlq")
    assert all(len(line) <= COLUMNS for line in said.lines)
    assert said.row(dead[0])[1:2] == ["fail"]
    assert said.row(dead[0])[-1].startswith("ValueError: one")
    assert [job["id"] for job in run("dlq", "ls", "--task", "refuse", "--json").json["jobs"]] == [dead[2]]
    assert len(run("dlq", "--queue", "default", "--limit", "2", "--json").json["jobs"]) == 2
    assert "There are 3 in all." in run("dlq", "--limit", "1").err


def test_a_dead_job_is_shown_like_any_other(run: Run, dead: list[str]) -> None:
    assert "no such customer" in run("dlq", "show", dead[2]).out
    assert run("dlq", "show", dead[0], "--json").json["error"]["type"] == "ValueError"


def test_replay_by_id_runs_those_jobs_again_as_new(
    run: Run, dead: list[str], drain: Callable[[], None]
) -> None:
    assert run("dlq", "replay", dead[0], dead[2]).out == "2 jobs set to run again\n"
    assert dead_ids(run) == {dead[1]}
    assert status_of(run, dead[0]) == "queued"
    drain()
    assert dead_ids(run) == set(dead)
    whole = run("jobs", "show", dead[0], "--json").json
    assert (whole["attempt"], whole["token"]) == (1, 2)


def test_replay_of_a_task_of_a_queue_and_of_all(run: Run, dead: list[str]) -> None:
    assert run("dlq", "replay", "--task", "refuse").out == "1 job set to run again\n"
    assert dead_ids(run) == set(dead[:2])
    assert run("dlq", "replay", "--queue", "default", "--json").json == {"done": 2, "refused": {}}
    assert dead_ids(run) == set()
    assert run("dlq", "replay", "--all").out == "0 jobs set to run again\n"


def test_replay_of_a_job_that_is_not_dead_is_refused(run: Run, dead: list[str]) -> None:
    run("dlq", "replay", dead[0])
    assert f"job {dead[0]} is queued; only a dead job is in the DLQ" in one_line(
        run("dlq", "replay", dead[0])
    )


def test_replay_beside_a_live_job_of_the_same_dedupe_key_is_told(
    run: Run, shop: Any, do: Do, drain: Callable[[], None]
) -> None:
    first = do(lambda: shop.fail.options(dedupe_key="k").enqueue()).id
    drain()
    second = do(lambda: shop.fail.options(dedupe_key="k").enqueue()).id
    said = run("dlq", "replay", first)
    assert said.status == 1
    assert said.out == "0 jobs set to run again\n"
    assert f"its dedupe key is held by {second}" in said.err
    assert "its dedupe key is held by" in one_line(run("jobs", "retry", first))


@pytest.mark.leaves_keys(reason="torn entries are made by hand, and what they say leads to no record")
def test_entries_that_cannot_be_read_are_listed_told_and_purged(
    run: Run, dead: list[str], redis_server: RedisServer
) -> None:
    dlq = "capelin:{default:0}:dlq"
    redis_server.command("XADD", dlq, "*", "j", "?", "task", "?", "reason", "torn")
    redis_server.command("XADD", dlq, "*", "alien", "entry")
    assert len(run("dlq", "--json").json["jobs"]) == 5
    assert "torn" in run("dlq").out
    said = run("dlq", "replay", "--all")
    assert (said.status, said.out) == (1, "3 jobs set to run again\n")
    assert "cannot be read; purge it" in said.err
    assert run("dlq", "purge", "--all", "--yes").out == "2 jobs removed\n"
    assert dead_ids(run) == set()
    del dead


def test_purge_needs_a_yes(run: Run, dead: list[str]) -> None:
    assert "remove 3 jobs for good: there is no terminal to ask on; add --yes" in one_line(
        run("dlq", "purge", "--all")
    )
    assert dead_ids(run) == set(dead)


class Terminal(io.StringIO):
    """A terminal at which somebody types."""

    def isatty(self) -> bool:
        return True


def test_on_a_terminal_purge_asks(run: Run, dead: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    said = run("dlq", "purge", "--all")
    assert said.status == 2
    assert "Remove 3 jobs for good? [y/N]" in said.out
    assert "nothing was changed" in said.err
    assert dead_ids(run) == set(dead)
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    assert run("dlq", "purge", "--all").out.endswith("3 jobs removed\n")
    assert dead_ids(run) == set()


def test_purge_removes_jobs_and_their_records_for_good(run: Run, dead: list[str]) -> None:
    assert run("dlq", "purge", dead[0], "--yes").out == "1 job removed\n"
    assert run("dlq", "purge", "--task", "refuse", "-y", "--json").json == {"done": 1, "refused": {}}
    assert dead_ids(run) == {dead[1]}
    assert "no job" in one_line(run("jobs", "show", dead[0]))
    assert run("dlq", "purge", "--all", "--yes").out == "1 job removed\n"
    assert run("dlq", "purge", "--all").out == "0 jobs removed\n", "it asked though there was nothing to lose"


def test_more_dead_jobs_than_one_page_holds_are_all_replayed(
    run: Run, shop: Any, do: Do, drain: Callable[[], None]
) -> None:
    do(lambda: shop.app.enqueue([shop.refuse.options(shard_key="one").job() for _ in range(450)]))
    drain()
    assert len(run("dlq", "ls", "--limit", "500", "--json").json["jobs"]) == 450
    assert len(run("dlq", "ls", "--task", "refuse", "--limit", "300", "--json").json["jobs"]) == 300
    assert run("dlq", "replay", "--task", "refuse").out == "450 jobs set to run again\n"
    drain()
    assert run("dlq", "purge", "--all", "--yes").out == "450 jobs removed\n"


def test_cancel_ends_jobs_that_wait(run: Run, shop: Any, do: Do) -> None:
    async def work() -> list[str]:
        jobs = [await shop.greet.enqueue("A"), await shop.greet.options(delay=60).enqueue("B")]
        return [job.id for job in jobs]

    first, second = do(work)
    assert "there is no terminal to ask on; add --yes" in one_line(run("jobs", "cancel", first))
    assert status_of(run, first) == "queued"
    assert run("jobs", "cancel", first, "--yes").out == f"{first} is cancelled\n"
    assert run("jobs", "cancel", second, "--yes", "--json").json == {second: "cancelled"}
    assert status_of(run, first) == status_of(run, second) == "cancelled"
    line = one_line(run("jobs", "cancel", first, "--yes"))
    assert line == f"job {first} is cancelled; only a job that has not ended can be cancelled"


def test_retry_runs_a_dead_job_again_and_a_scheduled_one_at_once(
    run: Run, dead: list[str], shop: Any, do: Do, drain: Callable[[], None]
) -> None:
    later = do(lambda: shop.greet.options(delay=3600).enqueue("Ada")).id
    said = run("jobs", "retry", dead[0], later)
    assert said.out.splitlines() == [f"{dead[0]} runs again", f"{later} is due now"]
    drain()
    assert status_of(run, later) == "completed"
    assert "only a dead job, or one that waits for its time, can be retried" in one_line(
        run("jobs", "retry", later)
    )
