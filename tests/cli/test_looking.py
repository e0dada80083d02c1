"""What queues, shards, workers and jobs print: in 80 columns for people, as JSON for programs."""

from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import pytest

from capelin import lua
from capelin.keys import Keys
from capelin.workers.fleet import Member
from tests.cli.conftest import COLUMNS, Do, Run, Said
from tests.support.resp import texts
from tests.support.servers import RedisServer

NOUNS = ("queues", "shards", "workers", "jobs", "dlq", "schedules")
LONG = "a-queue-with-quite-a-long-name.for-the-whole-world.and-then-some"


def later_than_now(server: RedisServer) -> None:
    """Wait for two strikes of Redis's clock: an entry may bear the millisecond after that of its record."""

    def clock() -> int:
        seconds, micros = texts(server.command("TIME"))
        return int(seconds) * 1000 + int(micros) // 1000

    now = clock()
    while clock() < now + 2:
        pass


@pytest.fixture
def filled(shop: Any, do: Do, drain: Callable[[], None], redis_server: RedisServer) -> dict[str, str]:
    """Jobs in every status but running and parked: their ids by what became of them."""

    async def first() -> dict[str, str]:
        return {"completed": (await shop.greet.enqueue("Ada")).id}

    async def second() -> dict[str, str]:
        return {"failed": (await shop.fail.enqueue("it fell over\nand broke")).id}

    async def then() -> dict[str, str]:
        later = await shop.greet.options(delay=3600).enqueue("Grace")
        urgent = await shop.greet.options(priority="critical").enqueue("Edsger")
        later_than_now(redis_server)
        waiting = await shop.birthday.enqueue("Alan", date(1912, 6, 23))
        later_than_now(redis_server)
        cancelled = await shop.greet.enqueue("nobody")
        await cancelled.cancel()
        return {"scheduled": later.id, "urgent": urgent.id, "queued": waiting.id, "cancelled": cancelled.id}

    ids: dict[str, str] = {}
    for some in (first, second):
        ids.update(do(some))
        drain()
        later_than_now(redis_server)
    ids.update(do(then))
    return ids


@pytest.mark.parametrize("noun", NOUNS)
def test_a_bare_noun_lists_and_an_empty_redis_says_so(run: Run, noun: str) -> None:
    bare, listed = run(noun), run(noun, "ls")
    assert (bare.status, bare.out) == (0, "")
    assert bare.err.startswith("No ")
    assert bare == listed
    empty = run(noun, "--json").json
    assert (empty["jobs"], empty["next"]) == ([], None) if noun in ("jobs", "dlq") else empty == []
    assert run(noun, "--jsonl") == Said(status=0, out="", err="")


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("noun", NOUNS)
def test_tables_fit_80_columns(run: Run, noun: str) -> None:
    said = run(noun)
    assert said.status == 0
    assert all(len(line) <= COLUMNS for line in said.lines), said.out


def test_queues_show_depth_age_and_who_serves_them(run: Run, filled: dict[str, str]) -> None:
    del filled
    name, waiting, oldest, *counts, state = run("queues").row("default")
    assert (name, waiting, counts, state) == ("default", "1", ["0", "1", "0", "1"], "no worker")
    assert oldest.endswith("s")
    by_name = {queue["queue"]: queue for queue in run("queues", "--json").json}
    assert by_name["default"]["waiting_by_priority"]["critical"] == 1
    assert by_name["letters"]["waiting_by_priority"]["normal"] == 1
    assert by_name["letters"]["oldest_seconds"] >= 0


def test_one_queue_is_shown_by_priority(run: Run, filled: dict[str, str]) -> None:
    del filled
    said = run("queues", "show", "default")
    assert "waiting    1 (1 critical)" in said.out
    assert run("queues", "show", "default", "--json").json["dead"] == 1


def test_a_cancelled_job_does_not_count_as_waiting_nor_as_the_oldest(
    run: Run, shop: Any, do: Do, redis_server: RedisServer
) -> None:
    async def work() -> None:
        first = await shop.greet.options(shard_key="one").enqueue("first")
        redis_server.command("BLPOP", "nothing", 0.1)  # Redis's clock goes on
        await shop.greet.options(shard_key="one").enqueue("second")
        await first.cancel()

    do(work)
    [queue] = run("queues", "--json").json
    assert queue["waiting"] == 1
    # The oldest that still waits is the second one, whose entry is not the first of its stream.
    [second] = run("jobs", "--status", "queued", "--json").json["jobs"]
    assert second["args"] == ["second"]
    apart = datetime.fromisoformat(queue["oldest"]) - datetime.fromisoformat(second["enqueued"])
    assert abs(apart.total_seconds()) < 0.05


def test_a_queue_is_paused_and_resumed(run: Run, shop: Any, do: Do, drain: Callable[[], None]) -> None:
    do(lambda: shop.greet.enqueue("Ada"))
    assert run("queues", "pause", "default").out == "queue default is paused\n"
    assert run("queues").row("default")[-1] == "paused"
    assert run("queues", "pause", "default").out == "queue default is paused, as it was before\n"
    drain()
    assert run("queues", "--json").json[0]["waiting"] == 1, "a paused queue's job was taken"
    assert run("queues", "resume", "default", "--json").json == {
        "queue": "default",
        "state": "open",
        "changed": True,
    }
    drain()
    assert {job["status"] for job in run("jobs", "--json").json["jobs"]} == {"completed"}


def test_shards_show_what_is_in_each(run: Run, filled: dict[str, str]) -> None:
    shards = run("shards", "--json").json
    assert len(shards) == 16
    assert sum(shard["dead"] for shard in shards) == 1
    assert {shard["owner"] for shard in shards} == {None}
    home = ":".join(filled["failed"].split(".")[:2])
    assert run("shards").row(home)[1] == "nobody"
    assert {shard["queue"] for shard in run("shards", "-q", "letters", "--json").json} == {"letters"}


def test_workers_show_who_is_alive_what_runs_and_who_died_with_jobs(
    run: Run, shop: Any, do: Do, redis_server: RedisServer
) -> None:
    keys = Keys()
    living = Member(
        id="host-1-aaaa",
        app="shop:app",
        host="host",
        pid=1,
        version="0.1.0",
        started=0,
        queues=("default",),
        slots=10,
        tasks={"greet": "abc"},
    )

    async def work() -> str:
        job = await shop.greet.enqueue("Ada")
        connection = shop.app.client().connection
        await connection.command("HSET", keys.fleet_members, living.id, living.to_json())
        await connection.command("ZADD", keys.fleet_expiry, 1e15, living.id)
        await connection.run(
            lua.take(
                keys.shard("default", job.shard),
                worker="host-2-dead",
                count=1,
                ttl=60_000,
                waits=False,
                older_than=None,
                resend_window=1000,
                default_retention=1000,
                critical=1,
                high=1,
                normal=1,
                low=1,
            )
        )

        return keys.shard("default", job.shard).stakes

    stakes = do(work)
    assert run("workers").row("host-1-aaaa")[-1] == "alive"
    assert run("workers").row("host-2-dead")[-1] == "stopping", "its stake holds: it has left, and runs a job"
    redis_server.command("ZADD", stakes, 1, "host-2-dead")
    assert run("workers").row("host-2-dead")[-1] == "gone"
    first, second = run("workers", "--json").json
    assert (first["alive"], first["tasks"], first["running"]) == (True, {"greet": "abc"}, {})
    assert (second["alive"], second["running"]) == (False, {"default": 1})
    shown = run("workers", "show", "host-1")
    assert "tasks    greet" in shown.out
    assert "no worker 'host-3'" in run("workers", "show", "host-3").err
    redis_server.command("ZADD", keys.fleet_expiry, 1, living.id)
    assert run("workers").row("host-1-aaaa")[-1] == "gone"


def test_jobs_are_listed_the_newest_first(run: Run, filled: dict[str, str]) -> None:
    listed = run("jobs", "--json").json["jobs"]
    assert {job["id"] for job in listed} == set(filled.values())
    last = [datetime.fromisoformat(job["finished"] or job["enqueued"]) for job in listed if not job["due"]]
    assert last == sorted(last, reverse=True)
    assert listed[-1]["id"] == filled["scheduled"], "what is due in an hour came before what ended just now"
    assert run("jobs").row(filled["completed"])[1:3] == ["greet", "completed"]


def test_jobs_are_listed_by_status_task_and_queue(run: Run, filled: dict[str, str]) -> None:
    def ids(*words: str) -> set[str]:
        return {job["id"] for job in run("jobs", *words, "--json").json["jobs"]}

    assert ids("--status", "completed") == {filled["completed"]}
    assert ids("--status", "cancelled") == {filled["cancelled"]}
    assert ids("--status", "failed") == {filled["failed"]}
    assert ids("--status", "scheduled") == {filled["scheduled"]}
    assert ids("--status", "queued") == {filled["urgent"], filled["queued"]}
    assert ids("--status", "running") == set()
    assert ids("--queue", "letters") == {filled["queued"]}
    assert ids("--task", "fail") == {filled["failed"]}
    assert ids("--task", "greet", "--status", "scheduled") == {filled["scheduled"]}


def test_parked_jobs_are_listed_with_their_task(
    run: Run, shop: Any, do: Do, drain: Callable[[], None]
) -> None:
    do(lambda: shop.app.task_named("not.here.yet").enqueue(1))
    drain()
    [job] = run("jobs", "--status", "parked", "--json").json["jobs"]
    assert (job["task"], job["status"]) == ("not.here.yet", "parked")
    [queue] = [queue for queue in run("queues", "--json").json if queue["queue"] == "default"]
    assert queue["parked"] == {"not.here.yet": 1}
    assert "parked     1 not.here.yet" in run("queues", "show", "default").out
    assert "no worker so far knows its task" in run("jobs", "show", job["id"]).out


def test_a_limit_is_kept_and_told(run: Run, shop: Any, do: Do) -> None:
    do(lambda: shop.app.enqueue([shop.greet.job(str(number)) for number in range(20)]))
    said = run("jobs", "--limit", "5")
    assert len(said.lines) == 2 + 5
    assert "there is more. To go on, add\n  --after " in said.err
    assert run("jobs").err == ""
    seen = {line.split()[0] for line in said.lines[2:]}
    rest = run("jobs", "--limit", "500", "--after", said.err.split()[-1], "--json").json
    assert seen.isdisjoint(job["id"] for job in rest["jobs"])
    assert (len(rest["jobs"]), rest["next"]) == (15, None)


def test_a_job_is_shown_whole(run: Run, filled: dict[str, str]) -> None:
    said = run("jobs", "show", filled["failed"])
    assert "ValueError: it fell over" in said.out
    assert "start 1: ValueError" in said.out
    assert "raise ValueError(message)" in said.out
    assert all(len(line) <= COLUMNS for line in said.lines)
    whole = run("jobs", "show", filled["failed"], "--json").json
    assert (whole["task"], whole["status"], whole["attempt"]) == ("fail", "failed", 1)
    assert whole["failures"][0]["error"]["type"] == "ValueError"
    assert '"Hello, Ada!"' in run("jobs", "show", filled["completed"]).out


def test_ids_are_never_cut(run: Run, shop: Any, do: Do) -> None:
    job_id = do(lambda: shop.greet.options(queue=LONG).enqueue("Ada")).id
    assert job_id in run("jobs").out
    assert all(len(line) <= COLUMNS for line in run("queues").lines)


def test_a_listing_reads_no_more_of_a_long_backlog_than_of_a_short_one(
    run: Run, shop: Any, do: Do, redis_server: RedisServer
) -> None:
    def calls() -> dict[str, int]:
        lines = redis_server.info("commandstats")
        counted = {name.removeprefix("cmdstat_"): int(line.split(",")[0][6:]) for name, line in lines.items()}
        redis_server.command("CONFIG", "RESETSTAT")
        return counted

    do(lambda: shop.app.enqueue([shop.greet.job(str(number)) for number in range(400)]))
    calls()
    run("jobs")
    short = calls()
    do(lambda: shop.app.enqueue([shop.greet.job(str(number)) for number in range(4000)]))
    calls()
    run("jobs")
    long = calls()
    assert not {"keys", "scan", "smembers_"} & set(long)
    for name, count in long.items():
        assert count <= short.get(name, 0) + 100, (name, count, short)


def test_what_was_written_by_a_newer_release_is_refused(run: Run, redis_server: RedisServer) -> None:
    redis_server.command("SADD", "capelin:queues", "future")
    redis_server.command("HSET", "capelin:{future}:meta", "shards", 8, "schema", 99)
    said = run("queues")
    assert said.status == 2
    assert "upgrade this process" in said.err


def test_another_prefix_is_another_world(run: Run, filled: dict[str, str]) -> None:
    del filled
    assert run("queues", "--prefix", "elsewhere", "--json").json == []
