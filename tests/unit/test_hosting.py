"""The singletons of one process: what begins, what ends, and what is left behind."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextvars import copy_context

import pytest
import structlog

from capelin import Leader
from capelin.connection import Connection, connect
from capelin.errors import Unreachable
from capelin.keys import Keys
from capelin.scheduler.hosting import Hosting
from capelin.scheduler.leases import Leases
from capelin.singletons import Singleton
from tests.support.waiting import wait_until

KEYS = Keys()


class House:
    """A process with two singletons: one that waits, one that heeds nothing until it is let go."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.leases = Leases(KEYS, owner="w1", ttl=60_000)
        self.said: list[str] = []
        self.released: list[str] = []
        self.let_go = asyncio.Event()
        self.unreachable = False

        async def waits(leader: Leader) -> None:
            self.said.append(leader.name)
            await asyncio.Event().wait()

        async def deaf(leader: Leader) -> None:
            self.said.append(leader.name)
            while not self.let_go.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await self.let_go.wait()

        self.hosting = Hosting(
            connection,
            KEYS,
            singletons={
                "waits": Singleton(waits, name="waits"),
                "deaf": Singleton(deaf, name="deaf", lose_timeout=60),
            },
            worker="w1",
            leases=self.leases,
            release=self.release,
            context=copy_context(),
        )

    async def release(self, name: str, epoch: int) -> None:
        if self.unreachable:
            raise Unreachable(url="redis://x", cause="gone")
        assert self.leases.epoch(name) == epoch
        self.released.append(name)
        await self.leases.release(self.connection, [name])

    async def gain(self, name: str) -> int:
        """Gain a lease, and tell."""
        [held] = await self.leases.acquire(self.connection, [name])
        self.hosting.gained(name, held.epoch)
        return held.epoch

    async def heard(self, *names: str) -> None:
        await wait_until(lambda: set(names) <= set(self.said), description=f"{names} to run")


@pytest.fixture
async def house(memory_url: str) -> AsyncIterator[House]:
    """A process on an in-process Redis; what heeds nothing is let go at the end."""
    connection = connect(memory_url)
    house = House(connection)
    yield house
    house.let_go.set()
    await asyncio.wait_for(house.hosting.close(house.let_go), 20)
    await wait_until(lambda: not house.hosting.busy("deaf"), description="everything to have ended")
    await connection.close()


async def test_closing_ends_everything_and_gives_it_up(house: House) -> None:
    await house.gain("waits")
    await house.heard("waits")
    await house.hosting.close(asyncio.Event())
    assert house.released == ["waits"]
    assert house.leases.names == []
    assert (house.hosting.closing, house.hosting.left_behind) == (True, 0)


async def test_a_lease_that_is_gained_while_all_ends_is_given_up_unused(house: House) -> None:
    await house.hosting.close(asyncio.Event())
    await house.gain("waits")
    await wait_until(lambda: house.released == ["waits"], description="it to be given up")
    assert house.said == []


async def test_a_lease_that_is_gained_while_its_code_still_runs_is_given_up_unused(house: House) -> None:
    epoch = await house.gain("deaf")
    await house.heard("deaf")
    house.hosting.lost("deaf", epoch)
    house.leases.forget("deaf")
    await house.gain("deaf")
    await wait_until(lambda: house.released == ["deaf"], description="it to be given up")
    assert house.said == ["deaf"]


async def test_in_a_hurry_what_heeds_nothing_is_left_behind(house: House) -> None:
    hurry = asyncio.Event()
    await house.gain("waits")
    await house.gain("deaf")
    await house.heard("waits", "deaf")
    closing = asyncio.create_task(house.hosting.close(hurry))
    await wait_until(lambda: house.released == ["waits"], description="what heeds to have ended")
    assert not closing.done()
    hurry.set()
    await asyncio.wait_for(closing, 20)
    assert house.released == ["waits", "deaf"]
    assert house.hosting.left_behind == 1
    assert house.hosting.busy("deaf")


async def test_what_ended_is_told_once_so_that_its_lease_is_not_renewed_for_ever(house: House) -> None:
    epoch = await house.gain("waits")
    await house.heard("waits")
    house.hosting.lost("waits", epoch - 1)  # of an older lease: it is not meant
    assert house.hosting.busy("waits")
    house.hosting.lost("waits", epoch)
    await wait_until(lambda: not house.hosting.busy("waits"), description="it to end")
    assert house.hosting.take_distrusted() == [("waits", epoch)]
    assert house.hosting.take_distrusted() == []
    assert house.released == []


async def test_a_lease_that_cannot_be_given_up_ends_by_itself(house: House) -> None:
    await house.hosting.close(asyncio.Event())
    house.unreachable = True
    with structlog.testing.capture_logs() as lines:
        await house.gain("waits")
        await wait_until(lambda: lines, description="it to be tried")
    assert "ends by itself" in lines[0]["event"]
    assert house.released == []
