"""Whatever happens to a singleton's lease, in whatever order: never two can save, and no epoch comes twice.

Three owners take, renew, give up and lose a lease, Redis forgets it, and everybody who ever held it tries to
save with every epoch that it was given. A model of a few lines says what must come of it.
"""

import os
from collections.abc import Callable
from random import Random

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from capelin import lua
from capelin.keys import Keys
from capelin.lua.singletons import Note, singleton_begin, singleton_note, singleton_save
from tests.scripts.driving import TTL
from tests.scripts.servers import MemoryServer, RealServer, Server
from tests.support.cluster import RedisCluster
from tests.support.servers import RedisServer

NIGHTLY = os.environ.get("CAPELIN_HYPOTHESIS") == "nightly"
KEYS = Keys()
NAME = "indexer"
OWNERS = ("w1", "w2", "w3")
JUMPS = (0, 1, TTL // 3, TTL - 1, TTL, 10 * TTL)
FAILOVER = 1_000
"""A failover takes longer than that, ms: meanwhile the clock has passed every epoch that was given."""

owners = st.sampled_from(OWNERS)
picks = st.integers(min_value=0, max_value=10_000)


class SingletonMachine(RuleBasedStateMachine):
    """A lease and what it fences, beside their model."""

    def __init__(self, server: Server) -> None:
        super().__init__()
        self.server = server
        self.holder: tuple[str, int] | None = None
        self.ends = 0
        self.granted: list[tuple[str, int]] = []
        self.state: str | None = None
        self.number = 0

    def teardown(self) -> None:
        self.server.close()

    def pick(self, number: int) -> tuple[str, int]:
        """Some pair of owner and epoch; mostly one of the last."""
        return self.granted[-1 - number % min(len(self.granted), 4)]

    @rule(ms=st.sampled_from(JUMPS))
    def pass_time(self, ms: int) -> None:
        self.server.advance(ms)

    @rule(owner=owners)
    def acquire(self, owner: str) -> None:
        lease = self.server.run(lua.lease_acquire(KEYS.lease(NAME), owner=owner, ttl=TTL))
        free = self.holder is None or self.holder[0] in {"", owner} or self.ends <= self.server.now
        assert (lease.epoch > 0) == free
        if free:
            assert all(lease.epoch > epoch for _, epoch in self.granted), "an epoch came twice"
            self.holder = owner, lease.epoch
            self.granted.append(self.holder)
            self.ends = self.server.now + TTL

    @precondition(lambda self: bool(self.granted))
    @rule(number=picks)
    def renew(self, number: int) -> None:
        owner, epoch = self.pick(number)
        kept = self.server.run(lua.lease_renew(KEYS.lease(NAME), owner=owner, epoch=epoch, ttl=TTL))
        assert kept == (self.holder == (owner, epoch))
        if kept:
            self.ends = self.server.now + TTL

    @precondition(lambda self: bool(self.granted))
    @rule(number=picks)
    def release(self, number: int) -> None:
        owner, epoch = self.pick(number)
        given_up = self.server.run(lua.lease_release(KEYS.lease(NAME), owner=owner, epoch=epoch))
        assert given_up == (self.holder == (owner, epoch))
        if given_up:
            self.holder = "", epoch

    @precondition(lambda self: bool(self.granted))
    @rule(number=picks)
    def save(self, number: int) -> None:
        owner, epoch = self.pick(number)
        self.number += 1
        text = f"{owner} {epoch} {self.number}"
        call = singleton_save(KEYS, NAME, owner=owner, epoch=epoch, number=self.number, text=text.encode())
        saved = self.server.run(call)
        assert saved == (self.holder == (owner, epoch))
        if saved:
            self.state = text

    @precondition(lambda self: bool(self.granted))
    @rule(number=picks)
    def begin(self, number: int) -> None:
        owner, epoch = self.pick(number)
        loaded = self.server.run(singleton_begin(KEYS, NAME, owner=owner, epoch=epoch))
        assert (loaded is not None) == (self.holder == (owner, epoch))
        if loaded is not None:
            assert (loaded.state or b"").decode() == (self.state or "")

    @rule(state_too=st.booleans())
    def fail_over(self, *, state_too: bool) -> None:
        """Redis comes back without the lease, maybe without the state."""
        self.server.advance(FAILOVER)
        self.server.command("DEL", KEYS.lease(NAME))
        if state_too:
            self.server.command("DEL", KEYS.lease_state(NAME))
            self.state = None
        self.holder = None

    @invariant()
    def never_two_are_able_to_write(self) -> None:
        able = [
            pair
            for pair in self.granted[-6:]
            if self.server.run(
                singleton_note(KEYS, NAME, owner=pair[0], epoch=pair[1], what=Note.BEAT, error="")
            )
        ]
        assert able == ([self.holder] if self.holder is not None and self.holder[0] else [])

    @invariant()
    def what_was_saved_last_is_there(self) -> None:
        assert self.server.command("HGET", KEYS.lease_state(NAME), "state") == self.state


def look_for_two(make_server: Callable[[], Server], examples: int, steps: int) -> None:
    class Machine(SingletonMachine):
        def __init__(self) -> None:
            super().__init__(make_server())

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
            derandomize=not NIGHTLY,
            database=None,
        ),
    )


def test_no_order_of_events_lets_two_save() -> None:
    look_for_two(MemoryServer, *((1_000, 100) if NIGHTLY else (20, 40)))


def test_nor_on_a_real_server(shared_redis: RedisServer) -> None:
    def fresh() -> RealServer:
        shared_redis.flush()
        return RealServer(shared_redis)

    look_for_two(fresh, *((300, 100) if NIGHTLY else (25, 50)))


def test_nor_on_a_cluster(shared_cluster: RedisCluster) -> None:
    def fresh() -> RealServer:
        shared_cluster.flush()
        return RealServer(shared_cluster)

    look_for_two(fresh, *((300, 100) if NIGHTLY else (10, 50)))


@pytest.mark.parametrize("seed", range(300 if NIGHTLY else 3))
def test_a_long_life_by_even_chance(shared_redis: RedisServer, seed: int) -> None:
    shared_redis.flush()
    machine, random = SingletonMachine(RealServer(shared_redis)), Random(seed)  # noqa: S311 -- repeatable
    steps: list[Callable[[], None]] = [
        lambda: machine.pass_time(random.choice(JUMPS)),
        lambda: machine.acquire(random.choice(OWNERS)),
        lambda: machine.acquire(random.choice(OWNERS)),
        lambda: machine.renew(random.randrange(99)),
        lambda: machine.save(random.randrange(99)),
        lambda: machine.save(random.randrange(99)),
        lambda: machine.begin(random.randrange(99)),
        lambda: machine.release(random.randrange(99)),
        lambda: machine.fail_over(state_too=random.random() < 0.5),
    ]
    try:
        machine.acquire("w1")
        for _ in range(400):
            random.choice(steps)()
            machine.never_two_are_able_to_write()
            machine.what_was_saved_last_is_there()
    finally:
        machine.teardown()
