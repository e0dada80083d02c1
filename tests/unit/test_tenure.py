"""One tenure: its code is cancelled the moment its lease cannot be trusted, and gone from when it ends.

The lease is a piece of paper here, and Redis is in this process: what is tested is when code runs.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator, MutableMapping
from contextvars import copy_context
from functools import partial
from typing import Any

import pytest
import structlog
from pydantic import BaseModel

from capelin import Leader, LeadershipLost, lua
from capelin._backoff import Backoff
from capelin.connection import Connection, connect
from capelin.errors import Unreachable
from capelin.keys import Keys
from capelin.scheduler import tenure as tenures
from capelin.scheduler.holding import Hold
from capelin.scheduler.leases import Leases
from capelin.scheduler.tenure import End, Tenure
from capelin.singletons import Body, Singleton
from tests.support.waiting import wait_until

KEYS = Keys()
TTL = 0.3
"""Seconds for which a lease is trusted here, a twentieth less."""


class Count(BaseModel):
    """A state."""

    n: int = 0


@pytest.fixture
def logged() -> Iterator[list[MutableMapping[str, Any]]]:
    """What is logged, line by line."""
    with structlog.testing.capture_logs() as lines:
        yield lines


class House:
    """One host with one lease.

    Attributes:
        said: What code and hooks said.
        released: Leases that were given up by tenures.
    """

    def __init__(self, connection: Connection, ttl: float) -> None:
        self.connection = connection
        self.leases = Leases(KEYS, owner="w1", ttl=int(ttl * 1000))
        self.said: list[Any] = []
        self.released: list[tuple[str, int]] = []
        self.tenure: Tenure

    def say(self, word: Any, *words: Any) -> None:
        self.said.append((word, *words) if words else word)

    async def release(self, name: str, epoch: int) -> None:
        self.say("released")
        self.released.append((name, epoch))
        await self.leases.release(self.connection, [name])

    async def host(self, body: Body[Any], **options: Any) -> Tenure:
        """Gain the lease, and begin."""
        chosen: dict[str, Any] = {"interval": 0.01, "lose_timeout": 0.2} | options
        singleton: Singleton[Any] = Singleton(body, name="s", state=Count, **chosen)
        [held] = await self.leases.acquire(self.connection, ["s"])
        hold = Hold(
            self.connection,
            KEYS,
            name="s",
            epoch=held.epoch,
            leases=self.leases,
            refused=lambda: self.tenure.end(End.LOST),
        )
        self.tenure = Tenure(singleton, hold, worker="w1", release=self.release, context=copy_context())
        return self.tenure

    async def heard(self, word: Any, *words: Any) -> None:
        """Return once that was said."""
        wanted = (word, *words) if words else word
        await wait_until(lambda: wanted in self.said, description=str(wanted))

    async def depose(self) -> None:
        """Have somebody else take the lease."""
        epoch = self.leases.epoch("s")
        assert epoch is not None
        await self.connection.run(lua.lease_release(KEYS.lease("s"), owner="w1", epoch=epoch))
        await self.connection.run(lua.lease_acquire(KEYS.lease("s"), owner="w2", ttl=60_000))


@pytest.fixture
async def connection(memory_url: str) -> AsyncIterator[Connection]:
    """A connection to an in-process Redis."""
    connection = connect(memory_url)
    yield connection
    await connection.close()


@pytest.fixture
def house(connection: Connection) -> House:
    """A host whose lease outlives the test."""
    return House(connection, 60)


@pytest.fixture
def brief_house(connection: Connection) -> House:
    """A host whose lease ends soon unless it is renewed."""
    return House(connection, TTL)


def waiting(house: House) -> Body[Count]:
    """A body that waits, and says when it ends."""

    async def body(leader: Leader[Count]) -> None:
        house.say("runs")
        try:
            await asyncio.Event().wait()
        finally:
            house.say("ended", leader.held)

    return body


def goodbye(house: House) -> Body[Count]:
    """A hook that says whether it could save."""

    async def hook(leader: Leader[Count]) -> None:
        leader.state.n = -1
        try:
            await leader.save()
        except LeadershipLost:
            house.say("goodbye", "refused")
        else:
            house.say("goodbye", "saved")

    return hook


async def state(house: House) -> bytes | None:
    text: bytes | None = await house.connection.command("HGET", KEYS.lease_state("s"), "state")
    return text


def is_over(moment: float) -> bool:
    return time.monotonic() > moment


class TestTrust:
    """The timer that needs neither the heartbeat nor Redis."""

    async def test_the_run_is_cancelled_the_moment_its_lease_is_not_renewed_in_time(
        self, brief_house: House
    ) -> None:
        began = time.monotonic()
        held = await brief_house.host(waiting(brief_house), on_lose_leadership=goodbye(brief_house))
        await asyncio.wait_for(held.task, 20)
        assert time.monotonic() - began >= 0.95 * TTL - 0.01
        assert brief_house.said == ["runs", ("ended", False), ("goodbye", "refused")]
        assert await state(brief_house) is None
        assert brief_house.released == [], "what is not held is not given up"

    async def test_a_lease_that_is_renewed_is_trusted_for_longer(self, connection: Connection) -> None:
        house = House(connection, 1)
        held = await house.host(waiting(house))
        first = held.hold.until
        assert first is not None
        while not is_over(first):
            until = held.hold.until
            assert until is not None
            await wait_until(partial(is_over, until - 0.6), description="some of the trust to be over")
            await house.leases.renew(connection)
        # The timer has looked when the first trust was over, and goes by the present one.
        await wait_until(partial(is_over, first + 0.05), description="the timer to have looked")
        assert house.said == ["runs"]
        held.end(End.LEFT)
        await asyncio.wait_for(held.task, 20)

    async def test_a_hold_of_an_older_epoch_is_not_trusted_by_the_next_ones_lease(self, house: House) -> None:
        held = await house.host(waiting(house))
        await house.heard("runs")
        await house.leases.acquire(house.connection, ["s"])  # anew: another epoch
        assert not held.hold.held
        with pytest.raises(LeadershipLost):
            await held.hold.save(b"{}")
        await asyncio.wait_for(held.task, 20)
        assert ("ended", False) in house.said


class TestEnds:
    """What comes when."""

    async def test_one_that_is_left_says_goodbye_while_it_holds_the_lease_and_then_gives_it_up(
        self, house: House
    ) -> None:
        held = await house.host(waiting(house), on_lose_leadership=goodbye(house))
        await house.heard("runs")
        held.end(End.LEFT)
        await asyncio.wait_for(held.task, 20)
        assert house.said == ["runs", ("ended", True), ("goodbye", "saved"), "released"]
        assert house.released == [("s", held.hold.epoch)]
        assert await state(house) == b'{"n":-1}'
        assert not held.running

    async def test_one_that_is_lost_can_save_nothing_more_not_even_before_redis_is_asked(
        self, house: House
    ) -> None:
        held = await house.host(waiting(house), on_lose_leadership=goodbye(house))
        await house.heard("runs")
        held.end(End.LOST)  # the fence of Redis would still let it write
        await asyncio.wait_for(held.task, 20)
        assert house.said == ["runs", ("ended", False), ("goodbye", "refused")]
        assert await state(house) is None

    async def test_one_that_is_lost_while_it_is_left_gives_up_nothing(self, house: House) -> None:
        left = asyncio.Event()

        async def hook(leader: Leader[Count]) -> None:
            house.say("goodbye", leader.held)
            await left.wait()
            house.say("goodbye", leader.held)

        held = await house.host(waiting(house), on_lose_leadership=hook)
        await house.heard("runs")
        held.end(End.LEFT)
        await house.heard("goodbye", True)
        held.end(End.LOST)
        left.set()
        await asyncio.wait_for(held.task, 20)
        assert house.said[-1] == ("goodbye", False)
        assert house.released == []

    async def test_a_save_that_is_refused_ends_it_and_counts_as_no_failure(
        self, house: House, logged: list[MutableMapping[str, Any]]
    ) -> None:
        deposed = asyncio.Event()

        async def body(leader: Leader[Count]) -> None:
            house.say("runs")
            await deposed.wait()
            await leader.save()

        held = await house.host(body, on_lose_leadership=goodbye(house))
        await house.heard("runs")
        await house.depose()
        deposed.set()
        await asyncio.wait_for(held.task, 20)
        assert house.said == ["runs", ("goodbye", "refused")]
        assert not [line for line in logged if line["log_level"] in {"error", "critical"}]

    async def test_a_body_that_raises_when_it_is_cancelled_is_no_failure_that_runs_again(
        self, house: House, logged: list[MutableMapping[str, Any]]
    ) -> None:
        async def body(leader: Leader[Count]) -> None:
            house.say("runs", leader.held)
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise ValueError("torn away") from None

        held = await house.host(body)
        await house.heard("runs", True)
        held.end(End.LEFT)
        await asyncio.wait_for(held.task, 20)
        assert house.said == [("runs", True), "released"]
        [line] = [line for line in logged if line["event"] == "a singleton failed while it was being stopped"]
        assert str(line["exc_info"]) == "torn away"

    async def test_a_body_that_returns_when_it_is_cancelled_does_not_run_again(self, house: House) -> None:
        async def body(leader: Leader[Count]) -> None:
            house.say("runs", leader.held)
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

        held = await house.host(body)
        await house.heard("runs", True)
        held.end(End.LEFT)
        await asyncio.wait_for(held.task, 20)
        assert house.said == [("runs", True), "released"]
        assert not held.running

    async def test_a_body_that_ignores_cancellation_is_reported_and_saves_nothing_after_its_time(
        self, house: House, logged: list[MutableMapping[str, Any]]
    ) -> None:
        enough = asyncio.Event()

        async def body(leader: Leader[Count]) -> None:
            house.say("runs")
            while not enough.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await enough.wait()
            try:
                await leader.save()
            except LeadershipLost:
                house.say("refused")

        held = await house.host(body)
        await house.heard("runs")
        held.end(End.LEFT)
        await asyncio.wait_for(held.task, 20)
        [line] = [line for line in logged if "does not heed" in line["event"]]
        assert (line["log_level"], line["seconds"]) == ("error", 0.2)
        assert held.running
        assert house.said == ["runs", "released"]
        enough.set()
        await held.code_done()
        assert house.said[-1] == "refused"
        assert await state(house) is None

    async def test_code_that_is_left_behind_saves_nothing_though_its_lease_could_not_be_given_up(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        enough = asyncio.Event()

        async def unreachable(name: str, epoch: int) -> None:
            house.say("tried", name, epoch)
            raise Unreachable(url="redis://x", cause="gone")

        async def body(leader: Leader[Count]) -> None:
            house.say("runs")
            while not enough.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await enough.wait()
            for write in (leader.save, leader.heartbeat):
                with pytest.raises(LeadershipLost):
                    await write()
            house.say("refused")

        monkeypatch.setattr(house, "release", unreachable)
        held = await house.host(body)
        await house.heard("runs")
        held.end(End.LEFT)
        await asyncio.wait_for(held.task, 20)
        assert house.leases.holds("s"), "what would let it write"
        enough.set()
        await held.code_done()
        assert house.said[-1] == "refused"
        assert await state(house) is None

    async def test_a_hook_that_takes_too_long_is_cancelled_and_the_lease_given_up(
        self, house: House, logged: list[MutableMapping[str, Any]]
    ) -> None:
        async def hook(leader: Leader[Count]) -> None:
            house.say("goodbye", leader.held)
            try:
                await asyncio.Event().wait()
            finally:
                house.say("cancelled")

        held = await house.host(waiting(house), on_lose_leadership=hook)
        await house.heard("runs")
        held.end(End.LEFT)
        await asyncio.wait_for(held.task, 20)
        await held.code_done()
        assert sorted(map(str, house.said[-2:])) == ["cancelled", "released"]
        assert any("takes too long" in line["event"] for line in logged)

    async def test_a_hook_that_raises_is_reported_and_the_lease_given_up(
        self, house: House, logged: list[MutableMapping[str, Any]]
    ) -> None:
        async def hook(leader: Leader[Count]) -> None:
            raise ValueError(leader.name)

        held = await house.host(waiting(house), on_lose_leadership=hook)
        await house.heard("runs")
        held.end(End.LEFT)
        await asyncio.wait_for(held.task, 20)
        assert house.said[-1] == "released"
        [line] = [line for line in logged if line["event"] == "on_lose_leadership failed"]
        assert str(line["exc_info"]) == "s"

    async def test_in_a_hurry_nothing_is_waited_for(self, house: House) -> None:
        async def body(leader: Leader[Count]) -> None:
            house.say("runs", leader.held)
            while not house.released:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(0.01)

        held = await house.host(body, on_lose_leadership=goodbye(house), lose_timeout=60)
        await house.heard("runs", True)
        held.hurry()
        await asyncio.wait_for(held.task, 20)
        await held.code_done()
        assert house.said == [("runs", True), "released"]

    async def test_a_lease_that_cannot_be_given_up_is_left_to_end(
        self, house: House, monkeypatch: pytest.MonkeyPatch, logged: list[MutableMapping[str, Any]]
    ) -> None:
        async def unreachable(name: str, epoch: int) -> None:
            house.say("tried", name, epoch)
            raise Unreachable(url="redis://x", cause="gone")

        monkeypatch.setattr(house, "release", unreachable)
        held = await house.host(waiting(house))
        await house.heard("runs")
        held.end(End.LEFT)
        await asyncio.wait_for(held.task, 20)
        assert house.said[-1] == ("tried", "s", held.hold.epoch)
        assert any("ends by itself" in line["event"] for line in logged)


class TestRuns:
    """One run after the other."""

    async def test_on_become_leader_runs_once_before_the_first_run_with_the_state_that_was_saved(
        self, house: House
    ) -> None:
        await house.connection.command("HSET", KEYS.lease_state("s"), "state", '{"n":4}')

        async def hook(leader: Leader[Count]) -> None:
            house.say("became", leader.state.n)
            leader.state.n = 5

        async def body(leader: Leader[Count]) -> None:
            house.say("runs", leader.state.n)
            leader.state.n += 1

        held = await house.host(body, on_become_leader=hook)
        await house.heard("runs", 7)
        held.end(End.LEFT)
        await asyncio.wait_for(held.task, 20)
        assert house.said[:4] == [("became", 4), ("runs", 5), ("runs", 6), ("runs", 7)]

    async def test_a_failing_on_become_leader_is_tried_again_before_any_run(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tenures, "FIRST_PAUSE", 0.01)

        async def hook(leader: Leader[Count]) -> None:
            house.say("became", leader.held)
            if len(house.said) < 3:
                raise ValueError("not yet")

        async def body(leader: Leader[Count]) -> None:
            house.say("runs", leader.held)
            await asyncio.Event().wait()

        held = await house.host(body, on_become_leader=hook)
        await house.heard("runs", True)
        held.end(End.LEFT)
        await asyncio.wait_for(held.task, 20)
        assert house.said[:4] == [("became", True)] * 3 + [("runs", True)]

    async def test_pauses_between_failures_double_and_begin_anew_after_a_run_that_returned(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pauses: list[float] = []

        class Noting(Backoff):
            def step(self) -> float:
                pauses.append(self._next)
                super().step()
                return 0.001

        monkeypatch.setattr(tenures, "Backoff", Noting)
        fails = iter([True, True, True, False, True, True, False])

        async def body(leader: Leader[Count]) -> None:
            failed = next(fails, None)
            if failed is None:
                house.say("done", leader.held)
                await asyncio.Event().wait()
            if failed:
                raise ValueError("again")

        held = await house.host(body)
        await house.heard("done", True)
        held.end(End.LEFT)
        await asyncio.wait_for(held.task, 20)
        assert pauses == [1, 2, 4, 1, 2]
        counted = await house.connection.command("HMGET", KEYS.lease_state("s"), "runs", "failures")
        assert [int(value) for value in counted] == [2, 5]

    async def test_a_pause_is_never_longer_than_a_minute(self) -> None:
        backoff = Backoff(first=tenures.FIRST_PAUSE, most=tenures.LONGEST_PAUSE)
        pauses = [backoff.step() for _ in range(12)]
        assert 0.5 <= pauses[0] <= 1
        assert 30 <= pauses[-1] <= 60

    async def test_a_cancellation_from_inside_a_run_is_a_failure_like_others(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tenures, "FIRST_PAUSE", 0.01)

        async def body(leader: Leader[Count]) -> None:
            house.say("runs", leader.held)
            if len(house.said) == 1:
                raise asyncio.CancelledError
            house.say("again")
            await asyncio.Event().wait()

        held = await house.host(body)
        await house.heard("again")
        held.end(End.LEFT)
        await asyncio.wait_for(held.task, 20)
        failures = await house.connection.command("HGET", KEYS.lease_state("s"), "failures")
        assert int(failures) == 1

    async def test_losing_the_lease_that_a_run_only_claims_is_a_failure(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tenures, "FIRST_PAUSE", 0.01)

        async def body(leader: Leader[Count]) -> None:
            house.say("runs", leader.held)
            if len(house.said) == 1:
                raise LeadershipLost(singleton="another", fencing_token=1)
            house.say("again")
            await asyncio.Event().wait()

        held = await house.host(body)
        await house.heard("again")
        held.end(End.LEFT)
        await asyncio.wait_for(held.task, 20)

    async def test_an_initial_state_that_cannot_be_made_is_a_failure_that_is_tried_again(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tenures, "FIRST_PAUSE", 0.01)
        broken = [False, True, True, False]

        def initial() -> Count:
            if broken.pop(0):
                raise ValueError("not yet")
            return Count(n=9)

        async def body(leader: Leader[Count]) -> None:
            house.say("runs", leader.state.n)
            await asyncio.Event().wait()

        held = await house.host(body, initial=initial)
        await house.heard("runs", 9)
        held.end(End.LEFT)
        await asyncio.wait_for(held.task, 20)
