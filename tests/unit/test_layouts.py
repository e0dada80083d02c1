"""A client keeps a layout that it has read, but for one that names older ones: that ends."""

from collections.abc import AsyncIterator
from unittest import mock

import pytest

from capelin import lua
from capelin._queues import LOOK_AGAIN, Queues
from capelin.connection import Connection, connect
from capelin.keys import Keys
from capelin.settings import Settings

KEYS = Keys("capelin")


@pytest.fixture
async def connection(memory_url: str) -> AsyncIterator[Connection]:
    connection = connect(memory_url)
    yield connection
    await connection.close()


async def test_a_client_that_knows_older_layouts_looks_again_whether_they_are_over(
    connection: Connection,
) -> None:
    queues = Queues(connection, KEYS, Settings(shards=8))
    with mock.patch("capelin._queues.time.monotonic", return_value=1000.0) as clock:
        await queues.open(["q"])
        cut = lua.queue_reshard(KEYS, "q", shards=4, most_homes=8, remembered=1, floor=1)
        await connection.run(cut)
        queues.moved("q", 2)
        assert len((await queues.open(["q"]))["q"].homes) == 1
        await connection.run(lua.queue_settle(KEYS, "q", [], layout=2, reach=0, looked=8))
        clock.return_value += LOOK_AGAIN - 1
        queues.forget_unsettled()
        assert len((await queues.open(["q"]))["q"].homes) == 1
        clock.return_value += 1
        queues.forget_unsettled()
        assert (await queues.open(["q"]))["q"].settled


async def test_a_client_reads_a_layout_again_only_when_a_shard_has_heard_of_a_newer_one(
    connection: Connection,
) -> None:
    queues = Queues(connection, KEYS, Settings(shards=8))
    known = (await queues.open(["q"]))["q"]
    queues.moved("q", known.version)
    assert queues.known["q"] is known
    queues.moved("q", known.version + 1)
    assert "q" not in queues.known
    assert (await queues.open(["q"]))["q"].version == known.version + 2, (
        "a version that was lost is made good, by one that nobody has seen"
    )
