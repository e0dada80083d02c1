"""What is to happen, as data: printed when it fails, shrunk by leaving parts out."""

from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Event:
    """One thing that happens.

    Attributes:
        at: Seconds from the beginning.
        kind: What: a method of `run.Player`, `work.Work` or `faults.Faults`.
        slot: Whom it befalls: a slot of the fleet, or whoever is `leader`, `host` or `runner` then; empty for
            Redis, or for all.
        details: Its arguments.
    """

    at: float
    kind: str
    slot: str = ""
    details: dict[str, Any] = field(default_factory=dict[str, Any])

    def __str__(self) -> str:
        words = " ".join(f"{name}={value!r}" for name, value in self.details.items())
        return f"{self.at:8.3f}  {self.kind:<14} {self.slot:<6} {words}"


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A fleet, its work and its faults.

    Attributes:
        seed: Decides what the events leave open: latencies, whose turn it is.
        workers: The first workers, by slot, with their releases.
        faults_until: When the faults are over, s.
        cluster: Whether Redis is a Cluster.
    """

    seed: int
    workers: dict[str, int]
    events: tuple[Event, ...]
    faults_until: float
    cluster: bool = False

    def without(self, events: set[int]) -> "Scenario":
        """The same without some of its events."""
        kept = tuple(event for place, event in enumerate(self.events) if place not in events)
        return replace(self, events=kept)

    def __str__(self) -> str:
        fleet = ", ".join(f"{slot} (release {release})" for slot, release in self.workers.items())
        lines = "\n".join(f"  {event}" for event in self.events)
        redis = "a Cluster" if self.cluster else "one Redis"
        return f"seed {self.seed}: {fleet} on {redis}; faults until {self.faults_until:g} s\n{lines}"
