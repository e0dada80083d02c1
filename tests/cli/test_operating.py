"""Every command of an operator, on a plain Redis and on a Cluster: in 80 columns, and for programs."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.cli.conftest import COLUMNS, Do, Run, Said, one_line
from tests.support.processes import Processes
from tests.support.sentinel import Watched
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until_sync

LISTINGS = (
    ("queues",),
    ("queues", "show", "default"),
    ("shards",),
    ("workers",),
    ("jobs",),
    ("jobs", "--status", "failed", "--status", "queued"),
    ("jobs", "--task", "gre*", "--newer-than", "1h"),
    ("dlq",),
    ("dlq", "--error", "Value*"),
    ("schedules",),
    ("singletons",),
    ("leader",),
)


@pytest.fixture(params=["redis", "cluster"])
def redis_url(request: pytest.FixtureRequest) -> str:
    """Each kind of Redis in turn."""
    url: str = (
        request.getfixturevalue("redis_server").url
        if request.param == "redis"
        else request.getfixturevalue("cluster_url")
    )
    return url


@pytest.fixture
def ids(shop: Any, do: Do, drain: Callable[[], None]) -> dict[str, str]:
    """Ids of jobs, by what became of them: four dead, one completed, one scheduled, two that wait."""

    async def first() -> dict[str, str]:
        dead = {f"dead{number}": (await shop.fail.enqueue(f"no {number}")).id for number in range(3)}
        dead["refused"] = (await shop.refuse.enqueue()).id
        return dead | {"done": (await shop.greet.options(then=shop.pid.job()).enqueue("Ada")).id}

    async def then() -> dict[str, str]:
        return {
            "scheduled": (await shop.greet.options(delay=3600).enqueue("Grace")).id,
            "queued": (await shop.greet.enqueue("Edsger")).id,
            "other": (await shop.pid.enqueue()).id,
        }

    found: dict[str, str] = do(first)
    drain()
    found.update(do(then))
    return found


def names(said: Said, ids: dict[str, str]) -> set[str]:
    """What the jobs of a listing are called here."""
    by_id = {job_id: name for name, job_id in ids.items()}
    return {by_id[job["id"]] for job in said.json["jobs"] if job["id"] in by_id}


def test_what_is_printed_fits_80_columns_and_is_json_on_request(run: Run, ids: dict[str, str]) -> None:
    for words in (*LISTINGS, ("jobs", "show", ids["dead0"]), ("dlq", "show", ids["refused"])):
        said = run(*words)
        assert said.status == 0, (words, said)
        assert all(len(line) <= COLUMNS for line in said.lines), said.out
        document = run(*words, "--json").json
        lines = [json.loads(line) for line in run(*words, "--jsonl").lines]
        listed: Any = document["jobs"] if "next" in document else document
        every: list[dict[str, Any]] = listed if words[-1] != "default" and "show" not in words else [listed]
        every = [listed] if words == ("leader",) else every
        assert [sorted(line) for line in lines] == [sorted(one) for one in every], words


def test_filters_choose_jobs(run: Run, ids: dict[str, str]) -> None:
    def found(*words: str) -> set[str]:
        return names(run(*words, "--json"), ids)

    dead = {"dead0", "dead1", "dead2"}
    assert found("jobs", "--error", "value*") == dead == found("dlq", "--error", "ValueError: no ?")
    assert found("jobs", "-s", "queued", "-s", "scheduled") == {"queued", "other", "scheduled"}
    assert found("jobs", "--task", "gr??t", "-s", "queued") == {"queued"}
    assert found("dlq", "--task", "refuse") == {"refused"}
    assert found("jobs", "--older-than", "1h") == set() == found("dlq", "--older-than", "1d")
    assert found("jobs", "--newer-than", "1h") == set(ids)
    [child] = run("jobs", "--parent", ids["done"], "--json").json["jobs"]
    assert child["task"] == "pid"


def test_a_filtered_listing_says_how_much_it_looked_at(run: Run, ids: dict[str, str]) -> None:
    said = run("jobs", "--error", "Value*", "--limit", "1")
    assert len(said.lines) == 3
    looked, cursor = said.err.splitlines()
    assert looked.startswith("Looked at ")
    assert looked.endswith("there is more. To go on, add")
    more = run("jobs", "--error", "Value*", *cursor.split(), "--json").json
    assert len(more["jobs"]) == 2
    assert more["next"] is None
    assert "that is all of them" in run("jobs", "--error", "Value*").err
    assert "that is all of them" in run("dlq", "--error", "nothing like it").err
    del ids


def test_the_dlq_is_replayed_by_what_went_wrong(run: Run, ids: dict[str, str]) -> None:
    value = ("--error", "Value*")
    assert run("dlq", "replay", *value, "--dry-run").out == "would replay 3 jobs; nothing was changed\n"
    assert run("dlq", "replay", "--all", "--dry-run", "--json").json == {"would": "replay 4 jobs", "jobs": 4}
    assert names(run("dlq", "--json"), ids) == {"dead0", "dead1", "dead2", "refused"}
    assert run("dlq", "replay", *value, "--rate", "1000/s").out == "3 jobs set to run again\n"
    assert names(run("dlq", "--json"), ids) == {"refused"}
    assert "no job" not in run("dlq", "replay", "--newer-than", "1h", "--jsonl").out
    assert names(run("dlq", "--json"), ids) == set()


def test_the_dlq_is_purged_by_age_and_by_task(run: Run, ids: dict[str, str]) -> None:
    assert "would remove 0 jobs for good" in run("dlq", "purge", "--older-than", "1h", "--dry-run").out
    assert "remove 1 job for good" in one_line(run("dlq", "purge", "--task", "refuse"))
    assert run("dlq", "purge", "--task", "refuse", "--yes").out == "1 job removed\n"
    assert names(run("dlq", "--json"), ids) == {"dead0", "dead1", "dead2"}


def test_jobs_are_cancelled_and_retried_by_filter(run: Run, ids: dict[str, str]) -> None:
    waiting = ("--status", "queued", "--task", "greet")
    assert run("jobs", "cancel", *waiting, "--dry-run").out == "would cancel 1 job; nothing was changed\n"
    assert "cancel 1 job: there is no terminal to ask on" in one_line(run("jobs", "cancel", *waiting))
    assert run("jobs", "cancel", *waiting, "--yes").out == "1 job cancelled\n"
    assert run("jobs", "show", ids["queued"], "--json").json["status"] == "cancelled"
    assert run("jobs", "show", ids["other"], "--json").json["status"] == "queued"
    assert run("jobs", "retry", "--status", "scheduled").out == "1 job set to run again, or due now\n"
    assert run("jobs", "show", ids["scheduled"], "--json").json["status"] == "queued"
    assert run("jobs", "retry", "--task", "fail", "--dry-run", "--json").json["jobs"] == 3
    assert run("jobs", "retry", "--task", "fail", "--json").json == {"done": 3, "refused": {}}


def test_of_several_ids_one_that_is_refused_stops_no_other(run: Run, ids: dict[str, str]) -> None:
    said = run("jobs", "cancel", ids["done"], ids["queued"], "--yes")
    assert (said.status, said.out) == (1, f"{ids['queued']} is cancelled\n")
    assert f"not: job {ids['done']} is completed" in said.err


def test_a_job_is_told_whole(run: Run, ids: dict[str, str]) -> None:
    said = run("jobs", "show", ids["dead1"])
    assert "enqueued" in said.out
    assert "start 1 on" in said.out
    assert "raise ValueError(message)" in said.out
    whole = run("jobs", "show", ids["dead1"], "--json").json
    assert [event["what"].split(" on ")[0].split(":")[0] for event in whole["events"]] == [
        "enqueued",
        "start 1",
        "failed after 0.0 s",
        "dead",
    ]
    done = run("jobs", "show", ids["done"])
    assert "then" in done.row(f"{ids['done']}-t1")
    assert f"capelin jobs --parent {ids['done']}" in done.err


def test_a_queue_is_drained_and_purged(
    run: Run, shop: Any, do: Do, ids: dict[str, str], drain: Callable[[], None]
) -> None:
    assert "no worker serves queue default and 2 jobs wait in it" in one_line(
        run("queues", "drain", "default")
    )
    run("queues", "pause", "default")
    assert "queue default is paused" in one_line(run("queues", "drain", "default", "--timeout", "5s"))
    run("queues", "resume", "default")
    drain()
    said = run("queues", "drain", "default")
    assert said.status == 0
    assert said.out.startswith("queue default is drained after ")
    assert said.out.endswith("\nin it now: 1 scheduled\n")
    do(lambda: shop.greet.enqueue("Alan"))
    purge = ("queues", "purge", "default")
    assert run(*purge, "--dry-run").out == "would cancel 2 jobs of queue default; nothing was changed\n"
    assert "cancel 2 jobs of queue default" in one_line(run(*purge))
    assert run(*purge, "--yes", "--json").json == {"done": 2, "refused": {}}
    assert run("jobs", "show", ids["scheduled"], "--json").json["status"] == "cancelled"
    drained = run("queues", "drain", "default", "--json").json
    assert (drained["drained"], drained["queue"]["waiting"]) == (True, 0)


def test_a_worker_is_told_to_be_quiet_to_go_on_and_to_stop(
    run: Run, shop: Any, do: Do, processes: Processes, redis_url: str
) -> None:
    worker = processes.worker("tests.cli.apps.shop:app", "--name", "pod", redis_url=redis_url)
    wait_until_sync(lambda: run("workers", "--json").json, description="the worker to join")
    held = do(lambda: shop.hold.enqueue(600.0)).id
    running = ("jobs", "--status", "running", "--json")
    wait_until_sync(lambda: run(*running).json["jobs"], description="the job to run")
    said = run("workers", "quiet", "pod")
    assert said.status == 0, said
    assert said.out.endswith("is quiet; it runs 1 job\n")
    assert run("workers").row("pod-")[-1] == "quiet"
    assert run("queues", "--json").json[0]["workers"] == []
    assert ["state", "quiet"] in [line.split() for line in run("workers", "show", "pod").lines]
    assert run("workers", "resume", "pod", "--json").json[0]["state"] == "alive"
    assert "stop 1 worker: there is no terminal to ask on" in one_line(run("workers", "stop", "pod"))
    assert run("workers", "stop", "pod", "--yes").out.endswith("stops; it runs 1 job\n")
    assert run("workers").row("pod-")[-1] == "stopping"
    assert run("jobs", "cancel", held, "--yes").out == f"{held} runs; its worker is told to stop it\n"
    assert worker.wait_sync() == 0
    assert run("workers", "--json").json == []
    assert "no live worker 'pod'" in one_line(run("workers", "quiet", "pod"))


@pytest.mark.parametrize(
    "words",
    [
        ("jobs", "--older-than", "soon"),
        ("jobs", "--parent", "nonsense"),
        ("jobs", "--after", "nonsense"),
        ("dlq", "--after", "1:d:1-1"),
        ("dlq", "replay", "--all", "--rate", "fast"),
        ("dlq", "replay", "--all", "--rate", "0/s"),
        ("jobs", "cancel"),
        ("jobs", "cancel", "--status", "completed", "--yes"),
        ("jobs", "retry", "--status", "running"),
        ("queues", "drain", "nowhere"),
        ("queues", "drain", "default", "--timeout", "soon"),
        ("queues", "purge", "nowhere", "--yes"),
    ],
    ids=" ".join,
)
def test_what_makes_no_sense_is_refused_in_one_line(run: Run, words: tuple[str, ...]) -> None:
    one_line(run(*words))


def test_repairs_of_nothing_do_nothing(run: Run, shop: Any, do: Do) -> None:
    do(lambda: shop.greet.options(delay=60).enqueue("Ada"))
    assert run("dlq", "replay", "--error", "x*").out == "0 jobs set to run again\n"
    assert run("dlq", "purge", "--all").out == "0 jobs removed\n"
    assert run("jobs", "cancel", "--status", "parked").out == "0 jobs cancelled\n"
    assert run("queues", "drain", "default").status == 0


def test_operators_reach_a_redis_behind_sentinels(run: Run, redis_server: RedisServer) -> None:
    del redis_server  # it skips where there is no Redis
    with Watched() as watched:
        for words in LISTINGS[2:]:
            said = run(*words, "--redis", watched.url, *(() if words == ("leader",) else ("--json",)))
            assert said.status == 0, (words, said)
        assert run("dlq", "replay", "--all", "--redis", watched.url).out == "0 jobs set to run again\n"
        assert "no queue" in one_line(run("queues", "purge", "default", "--redis", watched.url))
