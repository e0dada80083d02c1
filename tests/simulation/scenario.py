"""What is to happen, as data: drawn from a seed, printed when it fails, shrunk by leaving parts out."""

import random
from dataclasses import dataclass, field, replace
from typing import Any

KEYS = ("red", "green")
MODES = ("keep", "replace", "follow")
PRIORITIES = ("critical", "high", "normal", "low")


@dataclass(frozen=True, kw_only=True)
class Event:
    """One thing that happens.

    Attributes:
        at: Seconds from the beginning.
        kind: What: a method of `run.Player`.
        slot: Whom it befalls; empty for Redis, or for all.
        details: Its arguments.
    """

    at: float
    kind: str
    slot: str = ""
    details: dict[str, Any] = field(default_factory=dict[str, Any])

    def __str__(self) -> str:
        words = " ".join(f"{name}={value!r}" for name, value in self.details.items())
        return f"{self.at:8.3f}  {self.kind:<14} {self.slot:<5} {words}"


FAULTS = {
    "kill",
    "pause",
    "block",
    "partition",
    "cut",
    "lose_requests",
    "lose_replies",
    "slow",
    "flush_scripts",
    "restart_redis",
}
"""Kinds that disturb; the rest is work, deploys among it."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A fleet, its work and its faults.

    Attributes:
        seed: Decides what the events leave open: latencies, whose turn it is.
        workers: The first workers, by slot, with their releases.
        faults_until: When the faults are over, s.
    """

    seed: int
    workers: dict[str, int]
    events: tuple[Event, ...]
    faults_until: float

    @property
    def lossy(self) -> bool:
        """Whether Redis forgets what it acknowledged: then some guarantees are bounded only."""
        return any(event.kind == "restart_redis" and event.details["lost"] for event in self.events)

    def without(self, events: set[int]) -> "Scenario":
        """The same without some of its events."""
        kept = tuple(event for place, event in enumerate(self.events) if place not in events)
        return replace(self, events=kept)

    def __str__(self) -> str:
        fleet = ", ".join(f"{slot} (release {release})" for slot, release in self.workers.items())
        lines = "\n".join(f"  {event}" for event in self.events)
        return f"seed {self.seed}: {fleet}; faults until {self.faults_until:g} s\n{lines}"


def draw(seed: int) -> Scenario:
    """The scenario of a seed."""
    pick = random.Random(seed)  # noqa: S311 -- to be repeated, not to be secret
    until = pick.uniform(8, 18)
    count = pick.choice([1, 2, 2, 3, 3, 4, 5])
    workers = {f"w{number}": pick.choice([1, 1, 2]) for number in range(count)}
    events = [
        *_work(pick, until),
        *_faults(pick, until, list(workers)),
        *_deploys(pick, until, list(workers)),
    ]
    return Scenario(
        seed=seed,
        workers=workers,
        events=tuple(sorted(events, key=lambda event: event.at)),
        faults_until=until,
    )


def _work(pick: random.Random, until: float) -> list[Event]:  # noqa: C901, PLR0912 -- one line a choice
    events: list[Event] = []
    for n in range(1, pick.randint(8, 40)):
        slot = pick.choice(["web0", "web1"])
        at = round(pick.uniform(0.2, until), 3)
        details: dict[str, Any] = {"n": n, "task": "work"}
        match pick.choice(
            ["plain"] * 4 + ["slow"] * 3 + ["flaky"] * 2 + ["bad", "snooze", "shaped", "fresh", "then"]
        ):
            case "slow":
                details["args"] = {"seconds": round(pick.uniform(0.1, 6), 2)}
            case "flaky":
                details["args"] = {"fails": pick.choice([1, 2])}
            case "bad":
                details["args"] = {"fails": 99}
            case "snooze":
                details["args"] = {"snoozes": pick.choice([1, 3])}
            case "shaped":
                details["task"] = "shaped"
                if pick.random() < 0.5:
                    details["args"] = {"extra": "new"}
            case "fresh":
                details["task"] = "fresh"
            case "then":
                details["then"] = True
            case _:
                pass
        if pick.random() < 0.3:
            details["priority"] = pick.choice(PRIORITIES)
        if pick.random() < 0.2:
            details["delay"] = round(pick.uniform(0.1, 4), 2)
        if details["task"] == "work" and "then" not in details and pick.random() < 0.3:
            details["key"] = pick.choice(KEYS)
            details["mode"] = pick.choice(MODES)
        if pick.random() < 0.3:
            details["wait"] = True
        events.append(Event(at=at, kind="submit", slot=slot, details=details))
        if pick.random() < 0.15:
            events.append(
                Event(at=round(at + pick.uniform(0, 4), 3), kind="cancel", slot=slot, details={"n": n})
            )
    if pick.random() < 0.3:
        at = round(pick.uniform(1, until), 3)
        events.append(Event(at=at, kind="submit", slot="web0", details={"n": 1000, "task": "poison"}))
    if pick.random() < 0.4:
        at = round(pick.uniform(1, until), 3)
        events.append(
            Event(at=at, kind="submit_many", slot="web1", details={"n": 2000, "count": pick.choice([5, 30])})
        )
    if pick.random() < 0.4:
        events.append(Event(at=round(until, 3), kind="replay", slot="web0"))
    return events


def _faults(pick: random.Random, until: float, slots: list[str]) -> list[Event]:
    kinds = sorted(FAULTS)
    weights = {"restart_redis": 0.5, "kill": 3.0, "lose_replies": 3.0, "block": 0.7}
    # A few kinds a seed, so that some scenarios are pure.
    chosen = pick.sample(kinds, pick.choice([0, 1, 1, 2, 3, len(kinds)]))
    events: list[Event] = []
    for _ in range(pick.randint(1, 8) if chosen else 0):
        kind = pick.choices(chosen, [weights.get(kind, 1.0) for kind in chosen])[0]
        at = round(pick.uniform(0.5, until), 3)
        slot = pick.choice([*slots, *slots, "web0", "web1"])
        details: dict[str, Any] = {}
        match kind:
            case "kill":
                details = {"silent": pick.random() < 0.3, "again": round(pick.uniform(0.1, 4), 2)}
            case "pause" | "partition":
                details = {"seconds": round(pick.choice([0.5, 1.5, 3, 5]) * pick.uniform(0.6, 1.4), 2)}
            case "block":
                slot = pick.choice(slots)
                details = {"seconds": round(pick.choice([1, 3, 6]) * pick.uniform(0.6, 1.4), 2)}
            case "cut":
                slot = pick.choice([slot, ""])
            case "lose_requests" | "lose_replies":
                details = {"count": pick.choice([1, 1, 2, 5])}
            case "slow":
                details = {"seconds": round(pick.uniform(1, 6), 2), "part": pick.choice([0.1, 0.5])}
            case "flush_scripts":
                slot = ""
            case "restart_redis":
                slot = ""
                lost = pick.choice([0.0, 0.0, 0.02, 0.5])
                details = {"down": round(pick.choice([0.1, 1, 4]) * pick.uniform(0.6, 1.4), 2), "lost": lost}
            case _:
                raise ValueError(kind)
        events.append(Event(at=at, kind=kind, slot=slot, details=details))
    return events


def _deploys(pick: random.Random, until: float, slots: list[str]) -> list[Event]:
    events: list[Event] = []
    if pick.random() < 0.4:
        at = pick.uniform(1, until)
        for slot in slots:
            events.append(
                Event(at=round(at, 3), kind="deploy", slot=slot, details={"hurry": pick.random() < 0.2})
            )
            at += pick.uniform(0.1, 2)
    if pick.random() < 0.3:
        events.append(
            Event(at=round(pick.uniform(0.5, until), 3), kind="add", slot="w9", details={"release": 2})
        )
    return events
