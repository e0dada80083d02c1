"""`capelin leader`, `capelin scheduler`, `--no-scheduler`: who leads, and processes that do nothing else."""

import time
from typing import Any

import psutil

from tests.cli.conftest import APP, Run
from tests.support.processes import ChildProcess, Processes
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until_sync

TIMED = "tests.cli.apps.timed:app"


def scheduler(processes: Processes, redis_url: str, name: str, *words: str) -> ChildProcess:
    return processes.capelin("scheduler", TIMED, "--redis", redis_url, "--name", name, *words)


def leader(run: Run) -> Any:
    return run("leader", "--json").json


def test_nobody_leads_where_no_worker_runs(run: Run) -> None:
    said = run("leader")
    assert (said.status, said.out) == (0, "")
    assert "Nobody leads, so no schedule ticks. No worker runs" in " ".join(said.err.split())
    assert leader(run)["worker"] is None


def test_nobody_leads_where_all_workers_run_without_the_scheduler(
    run: Run, processes: Processes, redis_url: str
) -> None:
    supervisor = processes.worker(TIMED, "--no-scheduler", "--processes", "2", redis_url=redis_url)
    supervisor.wait_for_line_sync("worker started")
    wait_until_sync(lambda: leader(run)["workers"] == 2, description="both to be members")
    said = " ".join(run("leader").err.split())
    assert "2 workers run, with --no-scheduler: start capelin scheduler APP" in said
    assert {worker["candidate"] for worker in run("workers", "--json").json} == {False}
    shown = run("workers", "show", run("workers", "--json").json[0]["id"])
    assert "does not stand for it" in shown.out
    assert not supervisor.events("leads the scheduler")


def test_a_scheduler_alone_leads_and_fires_and_another_takes_over_when_it_ends(
    run: Run, processes: Processes, redis_url: str, redis_server: RedisServer
) -> None:
    redis_server.command("CONFIG", "RESETSTAT")
    first = scheduler(processes, redis_url, "first")
    first.wait_for_line_sync("leads the scheduler")
    second = scheduler(processes, redis_url, "second")
    second.wait_for_line_sync("worker started")

    def fired() -> int:
        return int(run("schedules", "show", "beat", "--json").json["fired"])

    wait_until_sync(lambda: len(leader(run)["candidates"]) == 1, description="the other to be a candidate")
    wait_until_sync(lambda: fired() >= 2, description="ticks to be fired")
    said = run("leader")
    assert said.lines[0].startswith(f"first-{first.pid}-")
    assert said.lines[0].endswith(" leads")
    assert f"second-{second.pid}-" in said.out
    by_name = {worker["id"].split("-")[0]: worker for worker in run("workers", "--json").json}
    assert by_name["first"]["leads"]
    assert not by_name["second"]["leads"]
    assert by_name["second"]["candidate"]
    assert by_name["first"]["queues"] == by_name["first"]["shards"] == []
    assert run("workers").row("first-")[-2:] == ["leads", "alive"]
    assert run("workers").row("second-")[-2:] == ["stands", "alive"]
    assert "leads the scheduler" in run("workers", "show", "first").out
    assert "stands for it" in run("workers", "show", "second").out
    statuses = {job["status"] for job in run("jobs", "--json").json["jobs"]}
    assert statuses == {"queued"}, "they run no jobs"
    assert "cmdstat_blpop" not in str(redis_server.command("INFO", "commandstats")), "they wait for no jobs"

    began = time.monotonic()
    first.terminate()
    assert first.wait_sync() == 0
    second.wait_for_line_sync("leads the scheduler")
    assert time.monotonic() - began < 3, "it waited for the end of the lease, 4 s away at least"
    before = fired()
    wait_until_sync(lambda: fired() > before, description="the next leader to fire")
    assert leader(run)["candidates"] == []
    assert "when it dies, no schedule ticks" in run("leader").out


def test_ctrl_c_ends_a_scheduler_and_wrong_input_is_one_line(
    processes: Processes, redis_url: str, run: Run
) -> None:
    one = scheduler(processes, redis_url, "one")
    one.wait_for_line_sync("worker started")
    one.interrupt()
    assert one.wait_sync() == 0
    said = run("scheduler", "tests.cli.apps.timd:app")
    assert (said.status, len(said.err.splitlines())) == (2, 1)
    assert "did you mean 'tests.cli.apps.timed'?" in said.err


def test_a_workers_schedules_are_fired_by_a_scheduler_of_another_app(
    run: Run, processes: Processes, redis_url: str
) -> None:
    alone = processes.capelin("scheduler", APP, "--redis", redis_url)
    alone.wait_for_line_sync("leads the scheduler")
    worker = processes.worker(TIMED, "--no-scheduler", redis_url=redis_url)
    worker.wait_for_line_sync("worker started")
    wait_until_sync(lambda: run("schedules", "--json").json, description="its schedules to be in place")
    wait_until_sync(
        lambda: run("schedules", "show", "beat", "--json").json["last_run"], description="a run to complete"
    )
    assert run("schedules").row("beat")[-2] == "active"
    assert not worker.events("leads the scheduler")
    assert psutil.Process(alone.pid).is_running()
