"""Guarantee 8 whatever happens between any two calls: several leaders, and a network that loses and delays.

What runs are real leaders, each stopped at each of its calls until the machine decides what becomes of it.
Leaders come, are deposed, go on regardless, and die; calls and replies are lost, and calls arrive long after
their callers have given them up; records are trimmed; schedules change. The model is plain: which tick has
become how many jobs, and which is owed one.

`CAPELIN_HYPOTHESIS=nightly` looks for longer.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import hypothesis.strategies as st
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from capelin.errors import Unreachable
from capelin.scheduler.firing import Deposed
from capelin.schedules import Schedule
from capelin.ticks import CatchUp, Overlap
from tests.support.cluster import AnyServer, RedisCluster
from tests.support.schedules import START, TTL, Fate, Leader, Stage, made
from tests.support.servers import RedisServer

T = TypeVar("T")
NIGHTLY = os.environ.get("CAPELIN_HYPOTHESIS") == "nightly"
PERIOD = 10_000


def schedules(args: str = "") -> list[Schedule]:
    return [
        made("each", args=args),
        made("newest", args=args, catch_up=CatchUp.LATEST, stale_after=60_000),
        made("alone", args=args, overlap=Overlap.SKIP),
        made("in-turn", args=args, overlap=Overlap.QUEUE),
        made("paused", args=args),
    ]


class TicksMachine(RuleBasedStateMachine):
    """Moves leaders on, call by call."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.stage = stage
        self.leaders: list[Leader] = []
        self.known: set[str] = set()
        self.born: Counter[tuple[str, int]] = Counter()
        self.since = dict.fromkeys([one.name for one in schedules()], START)
        self.paused = False
        self.changes = 0
        self.run(self.stage.put(*schedules()))
        self.acquire("w1")

    def run(self, step: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(step)

    def look(self) -> None:
        """Count the jobs that are new: no tick has two in all its life."""
        jobs = {job.id: (job.schedule, job.tick) for job in self.stage.jobs()}
        self.born.update(jobs[new] for new in jobs.keys() - self.known)
        self.known = set(jobs)
        assert [tick for tick, count in self.born.items() if count > 1] == [], "a tick became two jobs"

    # -- time and Redis

    @rule(ms=st.sampled_from([1_000, 4_000, PERIOD, PERIOD, 3 * PERIOD, TTL, 125_000]))
    def time_passes(self, ms: int) -> None:
        self.stage.advance(ms)

    @rule()
    def records_are_trimmed(self) -> None:
        self.stage.forget_jobs()
        self.known = set()

    @rule()
    def other_arguments(self) -> None:
        self.changes += 1
        self.run(self.stage.put(*schedules(f"[[{self.changes}],{{}}]")))

    @rule()
    def pause_or_go_on(self) -> None:
        if self.paused:
            self.run(self.stage.timetable.resume("paused"))
            self.since["paused"] = self.stage.now
        else:
            self.run(self.stage.timetable.pause("paused"))
        self.paused = not self.paused

    # -- leaders

    @rule(owner=st.sampled_from(["w1", "w2", "w3"]))
    def acquire(self, owner: str) -> None:
        if epoch := self.run(self.stage.acquire(owner)):
            self.leaders.append(self.stage.led(owner, epoch, shut=True))

    @precondition(lambda self: self.leaders)
    @rule(pick=st.integers(0, 5), calls=st.integers(1, 6))
    def go_on(self, pick: int, calls: int) -> None:
        leader = self.leaders[-1 - pick % len(self.leaders)]
        for _ in range(calls):
            if leader in self.leaders:
                self.run(self.step(leader, Fate.ANSWERED))
                self.look()

    @precondition(lambda self: self.leaders)
    @rule(pick=st.integers(0, 5), fate=st.sampled_from([Fate.REPLY_LOST, Fate.REQUEST_LOST, Fate.LATE]))
    def a_call_goes_wrong(self, pick: int, fate: Fate) -> None:
        leader = self.leaders[-1 - pick % len(self.leaders)]
        self.run(self.step(leader, fate))
        self.look()

    @precondition(lambda self: any(leader.connection.late for leader in self.leaders))
    @rule(pick=st.integers(0, 5))
    def what_was_late_arrives(self, pick: int) -> None:
        late = [leader for leader in self.leaders if leader.connection.late]
        calls = late[pick % len(late)].connection.late.pop(0)
        self.run(self.stage.connection.run_many(calls))
        self.look()

    @precondition(lambda self: len(self.leaders) > 1)
    @rule(pick=st.integers(0, 5))
    def one_dies(self, pick: int) -> None:
        self.run(self.end(self.leaders[pick % len(self.leaders)]))

    async def step(self, leader: Leader, fate: Fate) -> None:
        """Let one call of a leader meet its fate, and the leader go on to the next."""
        if leader.turning is None:
            leader.turning = asyncio.create_task(leader.turn())
        else:
            for asked in list(leader.connection.waiting):
                asked.fate.set_result(fate)
        await self.rest(leader)

    async def rest(self, leader: Leader) -> None:
        """Return when a leader waits for a call, or its turn is over."""
        assert leader.turning is not None
        while True:
            if leader.turning.done() or any(not asked.fate.done() for asked in leader.connection.waiting):
                break
            await asyncio.sleep(0)
        if not leader.turning.done():
            return
        turning, leader.turning = leader.turning, None
        try:
            await turning
        except Deposed:
            await self.end(leader)
        except Unreachable:
            return

    async def end(self, leader: Leader) -> None:
        """A process ends. What it sent may still arrive."""
        if leader.turning is not None:
            leader.turning.cancel()
            await asyncio.wait([leader.turning])
            leader.turning = None
        if not leader.connection.late:
            self.leaders.remove(leader)

    # -- the end

    def teardown(self) -> None:
        try:
            self.run(self.settle())
        finally:
            for leader in list(self.leaders):
                leader.connection.late.clear()
                self.run(self.end(leader))
            self.run(self.stage.close())
            self.loop.close()

    async def settle(self) -> None:
        """At last one leads, and nothing goes wrong any more."""
        self.stage.advance(TTL)
        heir = await self.stage.leader("heir")
        for _ in range(3):  # a turn ends early when something has changed under it
            await heir.turn()
        for leader in self.leaders:
            for calls in leader.connection.late:
                await self.stage.connection.run_many(calls)
        last = await self.stage.leader("last")
        for _ in range(3):
            await last.turn()
        self.look()
        for name in self.since:
            await self.check(name)

    async def check(self, name: str) -> None:
        entry = await self.stage.entry(name)
        if name == "paused" and self.paused:
            return
        assert entry.since == self.since[name]
        due = range(self.since[name] // PERIOD * PERIOD + PERIOD, self.stage.now + 1, PERIOD)
        ticks = [tick for tick in due if tick > self.since[name]]
        assert entry.decided == max([entry.since, *ticks]), f"{name}: all is decided about"
        assert entry.intent is None or entry.intent.tick <= entry.decided
        state, jobs = entry.state, [tick for tick in ticks if self.born[name, tick]]
        if name in {"each", "paused"}:
            assert jobs == ticks, f"{name}: no tick is lost"
        if name != "paused":
            counted = state.fired + sum(state.skipped.values())
            assert counted == len(ticks), f"{name}: every tick is counted once"
            assert state.fired == len(jobs), f"{name}: what was fired is what became jobs"


def look_for_a_tick_too_many(make_stage: Callable[[], Stage], examples: int, steps: int) -> None:
    class Machine(TicksMachine):
        def __init__(self) -> None:
            super().__init__(make_stage())

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
            phases=[Phase.explicit, Phase.generate, *([Phase.shrink] if NIGHTLY else [])],
            derandomize=not NIGHTLY,
            database=None,
        ),
    )


def on(server: AnyServer) -> Callable[[], Stage]:
    """Makes stages of a server, which it empties each time."""

    def fresh() -> Stage:
        server.flush()
        return Stage(server=server)

    return fresh


def test_no_order_of_events_makes_a_tick_two_jobs_or_loses_one_that_is_owed() -> None:
    look_for_a_tick_too_many(Stage, *((300, 150) if NIGHTLY else (30, 50)))


def test_nor_on_a_real_server(shared_redis: RedisServer) -> None:
    look_for_a_tick_too_many(on(shared_redis), *((100, 150) if NIGHTLY else (30, 50)))


def test_nor_on_a_cluster(shared_cluster: RedisCluster) -> None:
    look_for_a_tick_too_many(on(shared_cluster), *((100, 150) if NIGHTLY else (30, 50)))
