"""Who takes which lease and when: candidates on one Redis whose clock, and theirs, the test moves.

Each has its rounds as its heartbeat would: after an interval, or at the moment that it asked for.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest

from capelin.connection import Connection, connect
from capelin.keys import Keys
from capelin.lua.singletons import Declared
from capelin.scheduler.candidacy import LATE, Candidacy
from capelin.scheduler.leases import Leases
from capelin.scheduler.spreading import spread
from capelin.workers.fleet import Member
from capelin.workers.heartbeat import SHUTDOWN, STALLED
from tests.scripts.servers import MemoryServer, opened

KEYS = Keys()
TTL = 6.0
INTERVAL = TTL / 3
TICK = 0.006
"""Seconds: a round that is asked for comes so much later at the earliest."""


def member(name: str, singletons: tuple[str, ...]) -> Member:
    """A member that may host these."""
    return Member(
        id=name,
        app="x",
        host="h",
        pid=1,
        version="1",
        started=0,
        queues=(),
        slots=1,
        tasks={},
        singletons=singletons,
    )


def at_once(function: Callable[..., None], *args: Any) -> None:
    function(*args)


class Candidate:
    """A candidate, and the host that does at once what it is told.

    Attributes:
        alive: Whether it has rounds at all.
        hosts: Epochs of what runs here, by name.
        obeys: Whether what is to move is given up.
        occupied: Names whose code still runs here though they were lost.
    """

    def __init__(self, sim: "Simulation", name: str, singletons: tuple[str, ...]) -> None:
        self.name, self.alive, self.obeys, self.closing = name, True, True, False
        self.hosts: dict[str, int] = {}
        self.moves: list[str] = []
        self.occupied: set[str] = set()
        self.distrusted: list[tuple[str, int]] = []
        self.next_at = sim.clock()
        self.leases = Leases(KEYS, owner=name, ttl=int(TTL * 1000), clock=sim.clock)
        self.candidacy = Candidacy(
            KEYS,
            leases=self.leases,
            ttl=TTL,
            interval=INTERVAL,
            declared=[Declared(one, '{"app":"x"}') for one in singletons],
            app="x",
            host=self,
            post=at_once,
            clock=sim.clock,
        )

    def busy(self, name: str) -> bool:
        return name in self.hosts or name in self.occupied

    def take_distrusted(self) -> list[tuple[str, int]]:
        taken, self.distrusted = self.distrusted, []
        return taken

    def gained(self, name: str, epoch: int) -> None:
        assert name not in self.hosts
        self.hosts[name] = epoch

    def lost(self, name: str, epoch: int) -> None:
        assert self.hosts.pop(name) == epoch

    def move(self, name: str, epoch: int) -> None:
        assert self.hosts[name] == epoch
        self.moves.append(name)


class Simulation:
    """Candidates and their Redis."""

    def __init__(self, server: MemoryServer, connection: Connection, names: tuple[str, ...]) -> None:
        self.server, self.connection, self.names = server, connection, names
        self.candidates: dict[str, Candidate] = {}
        self.members: Mapping[str, Member] = {}

    def clock(self) -> float:
        return self.server.now / 1000

    def join(self, *workers: str, singletons: tuple[str, ...] | None = None) -> None:
        """Add candidates, whom all see at their next round."""
        for worker in workers:
            may_host = self.names if singletons is None else singletons
            self.candidates[worker] = Candidate(self, worker, may_host)
            self.members = {**self.members, worker: member(worker, may_host)}

    def leave(self, worker: str) -> None:
        """Take one out of the membership."""
        self.members = {name: one for name, one in self.members.items() if name != worker}

    async def round(self, worker: str) -> None:
        """One round of one candidate."""
        one = self.candidates[worker]
        due = await one.candidacy.round(self.connection, self.members, standing=True)
        now = self.clock()
        assert due is None or due > now, "a moment that is over would make it spin"
        one.next_at = min(now + INTERVAL, max(now + TICK, due if due is not None else now + INTERVAL))
        for name in one.moves if one.obeys else ():
            await one.candidacy.release(self.connection, name, one.hosts.pop(name))
            self.hurry()
        one.moves = []

    def hurry(self) -> None:
        """Have everybody do a round now: what the fleet is told when a lease was given up."""
        for one in self.candidates.values():
            one.next_at = min(one.next_at, self.clock() + TICK)

    async def run(self, seconds: float) -> None:
        """Let time pass, with everybody's rounds in it."""
        end = self.clock() + seconds
        while True:
            living = [one for one in self.candidates.values() if one.alive]
            first = min(living, key=lambda one: one.next_at, default=None)
            moment = min(end, first.next_at) if first is not None else end
            self.server.advance(max(0, round((moment - self.clock()) * 1000)))
            if first is None or first.next_at > self.clock() + TICK / 2 or self.clock() >= end:
                if self.clock() >= end:
                    return
                continue
            await self.round(first.name)

    def hosts(self) -> dict[str, str]:
        """Who hosts what, among the living."""
        found = {name: one.name for one in self.candidates.values() if one.alive for name in one.hosts}
        assert len(found) == sum(len(one.hosts) for one in self.candidates.values() if one.alive)
        return found

    def meant(self, without: str = "") -> dict[str, str]:
        """Who is to host what."""
        candidates: dict[str, list[str]] = {}
        for one in self.members.values():
            for name in one.singletons:
                if one.id != without:
                    candidates.setdefault(name, []).append(one.id)
        return spread(candidates)

    async def freed_after(self, dead: str) -> dict[str, float]:
        """Let one die; return after how many seconds each of what it hosted was hosted again."""
        lost = set(self.candidates[dead].hosts)
        assert lost
        self.candidates[dead].alive = False
        died = self.clock()
        found: dict[str, float] = {}
        while lost - set(found):
            await self.run(0.05)
            found |= {name: self.clock() - died for name in lost & set(self.hosts()) if name not in found}
            assert self.clock() - died < 20
        return found


@pytest.fixture
async def simulation() -> AsyncIterator[Simulation]:
    """An empty fleet with six singletons."""
    with opened(MemoryServer()) as server:
        assert isinstance(server, MemoryServer)
        connection = connect(server.url)
        yield Simulation(server, connection, tuple(f"s{n}" for n in range(6)))
        await connection.close()


async def test_each_takes_what_is_meant_for_it_in_its_first_round(simulation: Simulation) -> None:
    simulation.join("a", "b", "c")
    for worker in ("a", "b", "c"):
        await simulation.round(worker)
    assert simulation.hosts() == simulation.meant()
    before = {one.name: dict(one.hosts) for one in simulation.candidates.values()}
    await simulation.run(10 * TTL)
    assert {one.name: one.hosts for one in simulation.candidates.values()} == before


async def test_a_member_that_joins_is_handed_its_share_and_no_more(simulation: Simulation) -> None:
    simulation.join("a", "b")
    await simulation.run(INTERVAL)
    before = simulation.hosts()
    simulation.join("c")
    await simulation.run(2 * INTERVAL)
    assert simulation.hosts() == simulation.meant()
    assert sorted(simulation.hosts().values()) == ["a", "a", "b", "b", "c", "c"]
    moved = [name for name, host in simulation.hosts().items() if before[name] != host]
    assert len(moved) <= 4


@pytest.mark.parametrize("offset", [0, 0.3, 1.0, 1.7, 1.99])
async def test_the_dead_are_succeeded_within_8_s_while_the_membership_still_has_them(
    simulation: Simulation, offset: float
) -> None:
    simulation.join("a", "b", "c")
    await simulation.run(3 * TTL + offset)
    dead = simulation.hosts()["s0"]
    after = await simulation.freed_after(dead)
    assert all(TTL - INTERVAL <= seconds < TTL + 0.2 for seconds in after.values()), after
    # They went where they belong without the dead one, and stay there when it is found dead.
    meant = simulation.meant(without=dead)
    assert all(simulation.hosts()[name] == meant[name] for name in after)
    simulation.leave(dead)
    await simulation.run(5 * TTL)
    assert simulation.hosts() == meant


async def test_two_that_die_together_are_succeeded_within_8_s(simulation: Simulation) -> None:
    simulation.join("a", "b", "c", "d")
    await simulation.run(3 * TTL)
    hosts = simulation.hosts()
    first, second = hosts["s0"], next(host for host in hosts.values() if host != hosts["s0"])
    simulation.candidates[first].alive = False
    after = await simulation.freed_after(second)
    assert max(after.values()) < TTL + TTL * LATE + 0.2
    assert sorted(simulation.hosts()) == sorted(simulation.names)


async def test_what_the_one_that_is_meant_does_not_take_anybody_takes_a_little_later(
    simulation: Simulation,
) -> None:
    simulation.join("a", "b")
    mute = simulation.meant()["s0"]
    simulation.candidates[mute].alive = False
    await simulation.run(INTERVAL + TTL * LATE + 0.1)
    assert sorted(simulation.hosts()) == sorted(simulation.names)
    # It is not handed to the one that was passed over, as long as that does not change.
    await simulation.run(3 * TTL)
    other = next(name for name in ("a", "b") if name != mute)
    assert set(simulation.hosts().values()) == {other}
    # Until it has had time to become able.
    simulation.candidates[mute].alive = True
    simulation.candidates[mute].next_at = simulation.clock()
    await simulation.run(10 * TTL)
    assert simulation.hosts() == simulation.meant()


async def test_after_an_outage_owners_keep_what_they_hold(simulation: Simulation) -> None:
    simulation.join("a", "b", "c")
    await simulation.run(3 * TTL)
    before = {one.name: dict(one.hosts) for one in simulation.candidates.values()}
    simulation.server.advance(10_000)
    # Whoever is first finds every lease ended.
    for delay, worker in enumerate(("c", "b", "a")):
        simulation.candidates[worker].next_at = simulation.clock() + delay * 0.5
    await simulation.run(3 * TTL)
    assert {one.name: one.hosts for one in simulation.candidates.values()} == before


async def test_the_dead_are_succeeded_after_an_outage_too(simulation: Simulation) -> None:
    simulation.join("a", "b")
    await simulation.run(3 * TTL)
    dead = simulation.hosts()["s0"]
    simulation.candidates[dead].alive = False
    simulation.server.advance(60_000)
    for one in simulation.candidates.values():
        one.next_at = simulation.clock()
    await simulation.run(INTERVAL + 0.1)
    assert sorted(simulation.hosts()) == sorted(simulation.names)


async def test_a_lease_whose_code_is_over_is_taken_anew_with_another_epoch(simulation: Simulation) -> None:
    simulation.join("a")
    await simulation.run(INTERVAL)
    one = simulation.candidates["a"]
    epoch = one.hosts.pop("s0")
    one.distrusted = [("s0", epoch), ("s1", 5)]
    await simulation.run(INTERVAL + 0.1)
    assert one.hosts["s0"] > epoch
    assert sorted(one.hosts) == sorted(simulation.names)


async def test_what_still_runs_here_is_not_taken_again_and_goes_to_another(simulation: Simulation) -> None:
    simulation.join("a", "b")
    await simulation.run(3 * TTL)
    one = simulation.candidates[simulation.hosts()["s0"]]
    epoch = one.hosts.pop("s0")
    one.occupied.add("s0")
    one.distrusted = [("s0", epoch)]
    await simulation.run(TTL + TTL * LATE + INTERVAL)
    assert simulation.hosts()["s0"] != one.name


async def test_one_that_blocks_gives_everything_up_and_one_that_stops_leaves_it_to_its_code(
    simulation: Simulation,
) -> None:
    simulation.join("a")
    await simulation.run(INTERVAL)
    one = simulation.candidates["a"]
    await one.candidacy.give_up(simulation.connection, why=SHUTDOWN)
    assert sorted(one.hosts) == sorted(simulation.names)
    await one.candidacy.give_up(simulation.connection, why=STALLED)
    assert one.hosts == {}
    assert one.leases.names == []
    simulation.join("b")
    one.alive = False
    await simulation.run(INTERVAL + TTL * LATE + 0.2)
    assert sorted(simulation.candidates["b"].hosts) == sorted(simulation.names), "it waited for a TTL"


async def test_one_that_does_not_stand_renews_and_takes_nothing(simulation: Simulation) -> None:
    simulation.join("a")
    await simulation.run(INTERVAL)
    one = simulation.candidates["a"]
    epoch = one.hosts.pop("s0")
    one.distrusted = [("s0", epoch)]
    for _ in range(10):
        simulation.server.advance(round(INTERVAL * 1000))
        assert await one.candidacy.round(simulation.connection, simulation.members, standing=False) is None
    assert "s0" not in one.hosts
    assert all(one.leases.holds(name) for name in one.hosts)


async def test_an_old_release_does_not_take_what_only_the_new_one_has(simulation: Simulation) -> None:
    simulation.join("old", singletons=("s0", "s1"))
    simulation.join("new", singletons=("s0", "s1", "fresh"))
    await simulation.run(2 * TTL)
    assert simulation.hosts()["fresh"] == "new"
    simulation.candidates["new"].alive = False
    await simulation.run(3 * TTL)
    assert simulation.hosts() == {"s0": "old", "s1": "old"}


async def test_what_was_lost_is_told_though_other_leases_were_not_answered(
    simulation: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulation.join("a")
    await simulation.run(INTERVAL)
    one = simulation.candidates["a"]
    simulation.server.command("DEL", KEYS.lease("s1"))
    real = Connection.run_many

    async def partly(connection: Connection, calls: Any) -> list[Any]:
        from capelin.errors import Unreachable

        replies = await real(connection, calls)
        return [Unreachable(url="redis://x", cause="gone"), *replies[1:]]

    monkeypatch.setattr(Connection, "run_many", partly)
    with pytest.raises(ConnectionError):
        await one.candidacy.round(simulation.connection, simulation.members, standing=True)
    assert sorted(one.hosts) == sorted(set(simulation.names) - {"s1"})
