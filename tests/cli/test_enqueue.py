"""`capelin enqueue`: one job from a shell, its arguments as the task's signature says."""

from typing import Any

import pytest

from tests.cli.conftest import APP, Do, Run
from tests.support.processes import Processes
from tests.support.waiting import wait_until_sync


def test_it_prints_the_id_of_a_job_that_waits(run: Run) -> None:
    said = run("enqueue", APP, "greet", '{"name": "Ada"}')
    assert said.status == 0
    [job_id] = said.lines
    job = run("jobs", "show", job_id, "--json").json
    assert (job["task"], job["status"], job["kwargs"]) == ("greet", "queued", {"name": "Ada"})


def test_arguments_come_by_name_by_position_or_not_at_all(run: Run) -> None:
    by_position = run("enqueue", APP, "greet", '["Ada"]', "--json").json
    assert run("jobs", "show", by_position["id"], "--json").json["args"] == ["Ada"]
    assert by_position["duplicate"] is False
    assert run("enqueue", APP, "fail").status == 0


def test_delay_priority_and_queue_are_the_jobs(run: Run) -> None:
    said = run("enqueue", APP, "greet", '["Ada"]', "--delay", "90", "--priority", "high", "-q", "slow")
    job = run("jobs", "show", said.out.strip(), "--json").json
    assert (job["status"], job["priority"], job["queue"]) == ("scheduled", "high", "slow")


def test_the_app_comes_from_the_environment_too(processes: Processes, redis_url: str) -> None:
    env = {"CAPELIN_APP": APP, "CAPELIN_REDIS_URL": redis_url}
    worker = processes.capelin("worker", "--burst", env=env)
    assert worker.wait_sync() == 0
    assert worker.events("worker started", app=APP)


def test_with_an_app_from_the_environment_the_task_comes_first(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "which task?" in run("enqueue", APP).err
    monkeypatch.setenv("CAPELIN_APP", APP)
    for words in (("greet", '["Ada"]'), (APP, "greet", '["Ada"]'), ("fail",), (APP, "fail")):
        said = run("enqueue", *words)
        assert said.status == 0, said.err
        assert run("jobs", "show", said.out.strip(), "--json").json["task"] in words


def test_a_result_is_waited_for_and_printed_as_json(
    run: Run, processes: Processes, redis_url: str, shop: Any, do: Do
) -> None:
    worker = processes.worker(APP, redis_url=redis_url)
    worker.wait_for_line_sync("worker started")
    said = run("enqueue", APP, "shop.birthday", '{"name": "Ada", "on": "1815-12-10"}', "--wait")
    assert said.json == "Ada: 10.12."
    job_id = said.err.strip()
    assert run("enqueue", APP, "greet", '["Ada"]', "--wait", "--json").json["result"] == "Hello, Ada!"
    assert job_id.startswith("letters.")

    failed = run("enqueue", APP, "fail", "--wait")
    assert failed.status == 1
    assert failed.err.splitlines()[-1].endswith("failed: ValueError: it fell over")

    late = run("enqueue", APP, "hold", "[30]", "--timeout", "0.1")
    assert late.status == 1
    assert "did not end within 0.1 s" in late.err
    held = late.err.splitlines()[0]
    assert run("jobs", "cancel", held, "--yes").out == f"{held} runs; its worker is told to stop it\n"
    wait_until_sync(
        lambda: do(lambda: shop.app.job(held).status()) == "cancelled", description="the job to be cancelled"
    )


def test_a_full_queue_is_told_as_one(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAPELIN_MAX_QUEUE_LENGTH", "8")  # one a shard
    said = [run("enqueue", APP, "greet", '["Ada"]') for _ in range(9)]
    assert {one.status for one in said[:8]} == {0}
    assert said[8].status != 0
    assert "not enqueued" in said[8].err
    assert "max_queue_length=8" in said[8].err
