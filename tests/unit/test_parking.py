"""What a worker asks of shards for parked jobs, and what is said of those that nobody can run."""

from collections.abc import AsyncIterator, MutableMapping
from typing import Any

import pytest
import structlog

from capelin.connection import Connection, connect
from capelin.keys import Keys, ShardKeys
from capelin.lua import ParkedRow
from capelin.workers.fleet import Member
from capelin.workers.parking import Parking
from tests.support.waiting import wait_until

KEYS = Keys()
SHARDS = [KEYS.shard("emails", number) for number in range(3)]
TASKS = ["email.send", "email.read"]
UNKNOWN = ParkedRow("email.send", "d1", "")
NEWER = ParkedRow("email.send", "d2", "d1")


@pytest.fixture
async def connection(memory_url: str) -> AsyncIterator[Connection]:
    connection = connect(memory_url)
    yield connection
    await connection.close()


@pytest.mark.leaves_keys(reason="a membership that no worker keeps up")
async def test_that_nobody_can_run_them_is_said_once_until_somebody_can(connection: Connection) -> None:
    asked: list[ShardKeys] = []
    looks = 0
    parking = Parking(connection, KEYS, worker="w1", tasks=TASKS, unpark=asked.append)

    async def look(*rows: ParkedRow) -> None:
        """Find the same in every shard, as an owner does each time it trims them."""
        nonlocal looks
        before = len(asked)
        for shard in SHARDS:
            parking.found(shard, rows)
        looks += 1
        await wait_until(lambda: parking.idle, description=f"look {looks} to be over")
        assert len(asked) in {before, before + len(SHARDS)}

    with structlog.testing.capture_logs() as lines:
        await look(UNKNOWN)
        await look(UNKNOWN)
        assert told(lines) == [("email.send", "unknown task")]
        await look(UNKNOWN, NEWER)
        assert told(lines)[1:] == [("email.send", "its arguments are of another signature")]

        member = Member(
            id="w1", app="a", host="h", pid=1, version="", started=0, queues=("emails",), slots=1,
            tasks={"email.send": "d1"},
        )  # fmt: skip
        await connection.command("HSET", KEYS.fleet_members, "w1", member.to_json())
        await look(UNKNOWN)
        assert asked == SHARDS
        await connection.command("DEL", KEYS.fleet_members)
        await look(UNKNOWN)
        assert told(lines)[2:] == [("email.send", "unknown task")]


@pytest.mark.leaves_keys(reason="sets of parked jobs without any job")
async def test_who_joins_asks_only_shards_where_jobs_of_its_tasks_are_parked(connection: Connection) -> None:
    shards = [KEYS.shard("emails", number) for number in range(450)]
    await connection.command("ZADD", shards[0].parked("of.another"), 1, "j0")
    await connection.command("ZADD", shards[1].parked("email.send"), 1, "j1")
    await connection.command("ZADD", shards[449].parked("email.read"), 1, "j2")
    asked: list[ShardKeys] = []
    parking = Parking(connection, KEYS, worker="w1", tasks=TASKS, unpark=asked.append)
    parking.look(shards)
    await wait_until(lambda: parking.idle, description="all shards to be looked at")
    assert asked == [shards[1], shards[449]]


async def test_who_joins_and_cannot_look_asks_every_shard(connection: Connection) -> None:
    asked: list[ShardKeys] = []
    parking = Parking(connection, KEYS, worker="w1", tasks=TASKS, unpark=asked.append)
    await connection.close()
    parking.look(SHARDS)
    await wait_until(lambda: parking.idle, description="the look to be over")
    assert asked == SHARDS


def told(lines: list[MutableMapping[str, Any]]) -> list[tuple[str, str]]:
    return [(line["task"], line["why"]) for line in lines if line["event"].startswith("no worker can run")]
