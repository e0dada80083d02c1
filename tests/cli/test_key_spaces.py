"""Operators before a huge key space, and before a torn one."""

import asyncio
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from capelin import lua
from capelin.connection import connect
from capelin.keys import Keys
from capelin.lua import NewJob
from capelin.settings import SCHEMA
from tests.cli.conftest import COLUMNS, Do, Run
from tests.support.commands import counting_commands
from tests.support.servers import RedisServer

HUGE = 200_000
SHARDS = 8
DEAD = 5_000
A_CALL = 500


async def fill(url: str) -> None:
    """Enqueue very many jobs, as clients do, and bury some."""
    keys = Keys()
    connection = connect(url, socket_timeout=60)
    try:
        await connection.run(lua.open_queue(keys, "default", shards=SHARDS, schema=SCHEMA))
        await connection.command("SADD", keys.queues, "default")
        calls = [
            lua.enqueue(
                keys.shard("default", batch % SHARDS),
                most=None,
                resend_window=1000,
                jobs=[NewJob(f"{batch}-{number}", "greet") for number in range(A_CALL)],
            )
            for batch in range(HUGE // A_CALL)
        ]
        for begin in range(0, len(calls), 20):
            for reply in await connection.run_many(calls[begin : begin + 20]):
                assert not isinstance(reply, Exception)
        error = '{"type":"TimeoutError","message":"no answer"}'
        for shard in (keys.shard("default", number) for number in range(SHARDS)):
            commands: list[tuple[str | int, ...]] = []
            for number in range(DEAD // SHARDS):
                uid, entry = f"dead-{number}", f"{number + 1}-0"
                job = shard.job(uid)
                commands += [
                    ("XADD", shard.dlq, entry, "j", uid, "task", "greet", "reason", "failed"),
                    ("HSET", job, "task", "greet", "status", "failed", "place", f"dlq:{entry}"),
                    ("HSET", job, "at", 1, "finished", 1, "error", error),
                ]
            await connection.commands(commands)
    finally:
        await connection.close()


@pytest.fixture(scope="module")
def huge() -> Iterator[RedisServer]:
    """A server with 200,000 jobs that wait and 5,000 dead ones: filled once, for tests that repair little."""
    with RedisServer() as server:
        asyncio.run(fill(server.url))
        yield server


def keys_read(counts: Counter[str]) -> int:
    return counts["hmget"] + counts["hgetall"] + counts["hget"]


@pytest.mark.usefixtures("redis_server")
def test_a_listing_of_50_reads_some_hundred_records_of_200_000(run: Run, huge: RedisServer) -> None:
    with counting_commands(huge) as counts:
        page = run("jobs", "--redis", huge.url, "--json").json
    assert (len(page["jobs"]), page["scanned"]) == (50, 50)
    assert keys_read(counts) < 1000
    assert not {"keys", "scan"} & set(counts)
    with counting_commands(huge) as counts:
        more = run("jobs", "--redis", huge.url, "--after", page["next"], "--json").json
    assert keys_read(counts) < 1000
    assert {job["id"] for job in more["jobs"]}.isdisjoint(job["id"] for job in page["jobs"])
    with counting_commands(huge) as counts:
        run("queues", "--redis", huge.url, "--json")
    assert counts.total() < 1500


@pytest.mark.usefixtures("redis_server")
def test_a_filtered_listing_reads_a_bounded_part_and_goes_on_where_it_stopped(
    run: Run, huge: RedisServer
) -> None:
    with counting_commands(huge) as counts:
        said = run("jobs", "--task", "nobody", "--redis", huge.url)
    assert "Looked at 10,000 entries; there is more. To go on, add" in said.err
    assert keys_read(counts) < 20_000
    more = run("jobs", "--task", "nobody", "--redis", huge.url, "--after", said.err.split()[-1], "--json")
    assert (more.json["scanned"], more.json["jobs"]) == (10_000, [])


@pytest.mark.usefixtures("redis_server")
def test_thousands_of_dead_jobs_are_counted_found_and_replayed(run: Run, huge: RedisServer) -> None:
    def on(*words: str) -> Any:
        return run(*words, "--redis", huge.url, "--json").json

    assert on("dlq")["total"] == DEAD
    assert on("dlq", "replay", "--all", "--dry-run")["jobs"] == DEAD
    assert on("dlq", "replay", "--error", "Timeout*", "--dry-run")["jobs"] == DEAD
    assert on("jobs", "retry", "--status", "failed", "--task", "greet", "--dry-run")["jobs"] == DEAD
    assert on("dlq", "replay", "--error", "timeout*") == {"done": DEAD, "refused": {}}
    assert on("dlq")["total"] == 0
    assert len(run("jobs", "--jsonl", "--limit", "1200", "--redis", huge.url).lines) == 1200


@pytest.fixture
def torn(shop: Any, do: Do, drain: Callable[[], None], redis_server: RedisServer) -> Iterator[dict[str, str]]:
    """A key space in which something is wrong everywhere, beside jobs that are sound."""

    async def work() -> dict[str, str]:
        dead = await shop.fail.options(shard_key="one").enqueue("no")
        return {"dead": dead.id, "done": (await shop.greet.options(shard_key="one").enqueue("Ada")).id}

    ids = do(work)
    drain()
    ids["queued"] = do(lambda: shop.greet.options(shard_key="one").enqueue("Grace")).id
    place = int(ids["dead"].split(".")[1])
    here = Keys().shard("default", place)
    there = Keys().shard("default", (place + 1) % SHARDS)
    alien = (there.scheduled, there.dlq, there.streams[2], there.finished)
    for words in (
        # Entries that say nothing, or lead to no record; records that are none, or say nonsense.
        ("XADD", here.dlq, "*", "alien", "entry"),
        ("XADD", here.dlq, "*", "j", "gone", "task", "fail", "reason", "torn"),
        ("XADD", here.streams[3], "*", "j", "nothing"),
        ("XADD", here.streams[3], "*", "alien", "entry"),
        ("SET", here.job("text"), "no hash at all"),
        ("XADD", here.streams[1], "*", "j", "text"),
        ("ZADD", here.scheduled, "1e15", "lost"),
        ("ZADD", here.scheduled, "+inf", "lost-too"),
        ("ZADD", here.finished, "1e15", "text"),
        ("HSET", here.job("odd"), "status", "dancing", "at", "yesterday", "error", "{"),
        ("ZADD", here.finished, "1e14", "odd"),
        ("HSET", here.job("half"), "status", "failed", "place", "dlq:1-1", "error", "[1]", "finished", "x"),
        ("HSET", here.meta, "parked:ghost", "3", "paused", "not a moment", "stale:4", "many"),
        # Whole places of another type.
        *(("SET", key, "text") for key in alien),
        ("SADD", Keys().queues, "unborn"),
        ("HSET", Keys().fleet_members, "torn-worker", "{"),
    ):
        redis_server.command(*words)
    yield ids
    redis_server.command("DEL", *alien)  # the check of what is left could not read them


@pytest.mark.leaves_keys(reason="what is torn is made by hand")
def test_a_torn_key_space_is_listed_told_and_repaired(run: Run, torn: dict[str, str]) -> None:
    for words in (("jobs",), ("jobs", "-s", "failed"), ("dlq",), ("queues",), ("shards",), ("workers",)):
        said = run(*words)
        assert (said.status, "not read: key capelin:{default:" in said.err) == (1, True), (words, said)
        assert all(len(line) <= COLUMNS for line in said.lines), said.out
        json.loads(run(*words, "--json").out)
        assert all(map(json.loads, run(*words, "--jsonl").lines))
    assert run("jobs", "show", torn["dead"]).status == 0
    listed = json.loads(run("jobs", "--json").out)
    assert set(torn.values()) <= {job["id"] for job in listed["jobs"]}
    assert [key for key in listed["torn"] if key.endswith(".odd")]
    dead = json.loads(run("dlq", "--json").out)["jobs"]
    assert {job["reason"] for job in dead} >= {"torn", "?"}
    found = json.loads(run("jobs", "--error", "Value*", "--json").out)
    assert found["jobs"][0]["id"] == torn["dead"]
    replayed = run("dlq", "replay", "--all", "--json")
    assert replayed.status == 1
    assert re.search(r'"done": 1', replayed.out)
    assert run("dlq", "purge", "--all", "--yes").out.endswith(" jobs removed\n")
    cancelled = run("jobs", "cancel", "--all", "--yes")
    assert cancelled.status == 1
    assert "not: key capelin:{default:" in cancelled.err
    # A count that is no number begins anew, and stops nothing.
    assert run("jobs", "show", torn["queued"], "--json").json["status"] == "cancelled"
