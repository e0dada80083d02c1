"""Plays a scenario: begins the fleet, lets happen what is to happen, lets it settle, and judges."""

import asyncio
import gc
from contextlib import AbstractContextManager, nullcontext
from contextvars import copy_context
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from tests.simulation import checker, records
from tests.simulation.apps import SETTINGS
from tests.simulation.faults import Faults
from tests.simulation.history import History
from tests.simulation.loop import SimLoop, Stuck
from tests.simulation.observer import Observer
from tests.simulation.patches import simulated
from tests.simulation.scenario import Event, Scenario
from tests.simulation.work import Work
from tests.simulation.world import Pod, World

SETTLING = 90.0
"""Seconds after the faults within which everything must have ended."""
_LOOKS_EVERY = 2.3
CLIENTS = ("web0", "web1", "ops")
"""Processes that are no workers; nothing befalls the last one."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a scenario."""

    scenario: Scenario
    trace: list[str]
    problems: list[str]
    coverage: dict[str, int] = field(default_factory=dict[str, int])
    held: dict[int, int] = field(default_factory=dict[int, int])
    virtual: float = 0.0
    callbacks: int = 0
    scripts: int = 0


class Player:
    """Lets happen what a scenario says."""

    def __init__(self, world: World, scenario: Scenario) -> None:
        self.world, self.scenario = world, scenario
        self.history: History = world.history
        self._releases = dict(scenario.workers)
        self._again: dict[str, float] = {}
        self._ending = False
        self._settles = any(event.details.get("settles") for event in scenario.events)
        self._parts = (self, Work(world), Faults(world, self._again))
        world.on_end = self._ended
        world.servers.observed_by(Observer(world))

    async def play(self) -> None:
        world = self.world
        for slot, release in self.scenario.workers.items():
            world.start(slot, release)
        for slot in CLIENTS:
            world.start(slot, 2, worker=False)
        looking = asyncio.ensure_future(self._look())
        for event in self.scenario.events:
            if event.at > self.scenario.faults_until and event.kind not in ("cancel", "replay"):
                continue
            await asyncio.sleep(max(0.0, event.at - world.loop.elapsed))
            self._happens(event)
        await asyncio.sleep(max(0.0, self.scenario.faults_until - world.loop.elapsed))
        await self._settle()
        looking.cancel()
        checker.check(world, self.scenario.faults_until, settles=self._settles)
        self._ending = True
        for pod in world.workers():
            if not self.history.under_way(
                pod.name
            ):  # a request that is late arrives when its sender has ended
                world.stopped_in_peace.add(pod.name)
            pod.stop()
        deadline = world.loop.elapsed + SETTINGS.grace + 12
        while world.workers() and world.loop.elapsed < deadline:  # noqa: ASYNC110 -- virtual time
            await asyncio.sleep(0.25)
        for pod in world.workers():
            self.history.problem(f"{pod.name} does not stop")
        checker.check_end(world)

    def _happens(self, event: Event) -> None:
        part = next(part for part in self._parts if hasattr(part, event.kind))
        getattr(part, event.kind)(event)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(_LOOKS_EVERY)
            if self.world.servers.at_rest:
                checker.look(self.world)

    async def _settle(self) -> None:
        """The faults are over: a fleet that can run everything lives, and has time."""
        self.history.note("", "=== the faults are over")
        world = self.world
        while not self._all_awake():  # noqa: ASYNC110 -- virtual time
            await asyncio.sleep(0.1)
        for pod in list(world.pods.values()):
            world.network.heal(pod.name)
            weather = world.network.weather(pod.name)
            weather.slow, weather.before = 0.0, None
            weather.delays.clear()
        if not any(pod.release == 2 and not pod.stopping for pod in world.workers()):
            world.start("w8", 2)
            self.history.disturb("w8", "added")
        begun = world.loop.elapsed
        while world.loop.elapsed < begun + SETTLING:
            await asyncio.sleep(1.0)
            if self.history.problems:
                return
            if not records.unfinished(world) and self._nothing_is_left_of_older_layouts():
                self.history.note("", f"=== settled after {world.loop.elapsed - begun:.1f} s")
                return

    def _nothing_is_left_of_older_layouts(self) -> bool:
        """Whether keys have one home each; asked only where that was worth the time."""
        return not self._settles or not records.older_layouts(self.world)

    def _all_awake(self) -> bool:
        frozen = [pod for pod in self.world.pods.values() if pod.alive and pod.main.frozen]
        # A server that lags is about to die.
        doomed = [node for node in self.world.servers.nodes if node.lags]
        return self.world.servers.at_rest and not frozen and not doomed

    # Deploys.

    def deploy(self, event: Event) -> None:
        """The pod is replaced: the new one starts at once, the old one ends cleanly."""
        pod = self.world.slots.get(event.slot)
        if pod is None or not pod.alive or pod.stopping:
            return
        self.history.disturb(pod.name, "deploy")
        self._releases[event.slot] = 2
        pod.stop(hurry=event.details["hurry"])
        self.world.start(event.slot, 2)

    def retire(self, event: Event) -> None:
        """The pod ends, and nobody takes its place."""
        pod = self.world.slots.get(event.slot)
        if pod is not None and pod.alive and not pod.stopping:
            self.history.disturb(pod.name, "retired")
            pod.stop()

    def add(self, event: Event) -> None:
        if event.slot not in self.world.slots:
            self._releases[event.slot] = event.details["release"]
            self.history.disturb(event.slot, "added")
            self.world.start(event.slot, event.details["release"])

    def _ended(self, pod: Pod) -> None:
        """Whoever runs pods starts those again that died."""
        slot = pod.name.partition("-")[0]
        if pod.stopping or self.world.slots.get(slot) is not pod or self.history.closed:
            return
        wait = self._again.pop(slot, 0.5)

        def again() -> None:
            if not self._ending and self.world.slots.get(slot) is pod:
                self.world.start(slot, self._releases.get(slot, 2), worker=pod.task is not None)
                self.history.disturb(slot, "restarted")

        self.world.at_home(wait, again)


def run(scenario: Scenario, *, broken: AbstractContextManager[Any] | None = None) -> Outcome:
    """Play a scenario from beginning to end.

    Args:
        scenario: What happens.
        broken: Entered around it: a protocol that is broken on purpose.
    """
    with nullcontext() if broken is None else broken:
        outcome: Outcome = copy_context().run(_run, scenario)
    # Fleets are circles of objects; what is collected a few plays later is found all the same.
    if next(_plays) % _COLLECTS_EVERY == 0:
        gc.collect()
    return outcome


_plays = count(1)
_COLLECTS_EVERY = 5


def _run(scenario: Scenario) -> Outcome:
    loop = SimLoop(scenario.seed)
    with simulated(loop, scenario.seed):
        try:
            world = loop.run_until_complete(_play(loop, scenario))
        finally:
            loop.close()
    history = world.history
    return Outcome(
        scenario=scenario,
        trace=history.trace,
        problems=history.problems,
        coverage=dict(history.coverage),
        held=dict(history.held),
        virtual=loop.elapsed,
        callbacks=loop.callbacks,
        scripts=world.servers.common.scripts_run,
    )


async def _play(loop: SimLoop, scenario: Scenario) -> World:
    world = World(loop, scenario.seed, cluster=scenario.cluster)
    loop.set_exception_handler(lambda _, context: world.complain(context))
    with world.watched():
        try:
            await Player(world, scenario).play()
        except Stuck as error:
            world.history.problem(f"stuck: {error}")
        except Exception as error:
            world.history.problem(f"the simulation failed: {type(error).__name__}: {error}")
            raise
        finally:
            await world.end()
    return world
