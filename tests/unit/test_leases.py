"""The leases that a process holds: it never believes in one for longer than Redis has written down."""

from collections.abc import AsyncIterator

import pytest

from capelin.connection import Connection, connect
from capelin.keys import Keys
from capelin.scheduler.leases import Leases

_TTL = 10_000


class Clock:
    """Seconds that go on by ``step`` each time somebody looks."""

    def __init__(self) -> None:
        self.now, self.step = 100.0, 0.0

    def __call__(self) -> float:
        self.now += self.step
        return self.now


@pytest.fixture
async def connection(memory_url: str) -> AsyncIterator[Connection]:
    made = connect(memory_url)
    yield made
    await made.close()


def leases_of(owner: str, clock: Clock) -> Leases:
    return Leases(Keys("capelin"), owner=owner, ttl=_TTL, clock=clock)


async def test_it_counts_from_before_the_call_was_sent(connection: Connection) -> None:
    clock = Clock()
    leases = leases_of("w1", clock)
    clock.step = 1.0
    [held] = await leases.acquire(connection, ["one"])
    assert held.until <= 101.0 + _TTL / 1000
    await leases.renew(connection)
    renewed = leases.holding("one")
    assert renewed is not None
    assert held.until < renewed.until <= 102.0 + _TTL / 1000


async def test_it_is_not_trusted_from_its_end_on_and_is_again_once_renewed(connection: Connection) -> None:
    clock = Clock()
    leases = leases_of("w1", clock)
    [held] = await leases.acquire(connection, ["one"])
    clock.now = held.until - 0.001
    assert leases.holds("one")
    clock.now = held.until
    assert not leases.holds("one")
    assert leases.epoch("one") == held.epoch
    assert await leases.renew(connection) == []
    assert leases.holds("one")


async def test_what_another_has_is_neither_held_nor_renewed(connection: Connection) -> None:
    clock = Clock()
    mine, theirs = leases_of("w1", clock), leases_of("w2", clock)
    assert await mine.acquire(connection, ["one"])
    assert await theirs.acquire(connection, ["one"]) == []
    assert clock.now < theirs.free_at("one") <= clock.now + _TTL / 1000
    await mine.release(connection, ["one"])
    assert not mine.holds("one")
    assert await theirs.acquire(connection, ["one"])
    assert await mine.renew(connection) == []
