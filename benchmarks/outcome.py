"""All that a run measured: figures by system and round, and whether every job ran once."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks.figures import Figure, Sample, Unit


@dataclass(kw_only=True)
class Accounts:
    """Whether every job ran once: over all rounds and scenarios of one system.

    Attributes:
        enqueued: Jobs that the system had confirmed.
        started: Different jobs of these that started.
        repeated: Starts beyond a job's first.
        recorded: Jobs, of those whose records were looked at, that the system's records call finished.
        looked_at: How many that were.
        keeps_records: Whether it keeps any of jobs that returned nothing.
    """

    enqueued: int = 0
    started: int = 0
    repeated: int = 0
    recorded: int = 0
    looked_at: int = 0
    keeps_records: bool = True

    @property
    def lost(self) -> int:
        """Jobs that never started."""
        return self.enqueued - self.started


@dataclass(frozen=True, kw_only=True)
class Medians:
    """Medians of a run.

    Attributes:
        systems: Figures by the system's name.
        peers: The names of those that are compared with.
    """

    systems: Mapping[str, Mapping[Figure, float]]
    peers: tuple[str, ...] = ()

    def of(self, system: str, figure: Figure) -> float | None:
        """Return one, or None when it was not measured."""
        return self.systems.get(system, {}).get(figure)

    def ratio(self, above: str, figure: Figure, below: str) -> float | None:
        """Return how many times ``below``'s figure ``above``'s is."""
        return divide(self.of(above, figure), self.of(below, figure))

    def best_peer(self, figure: Figure, among: tuple[str, ...] | None = None) -> float | None:
        """Return the best figure of any peer, or None when none was measured.

        Args:
            figure: Which.
            among: Only these peers.
        """
        values = [
            value
            for peer in self.peers
            if (among is None or peer in among) and (value := self.of(peer, figure)) is not None
        ]
        if not values:
            return None
        return max(values) if figure.value.more_is_better else min(values)


def divide(above: float | None, below: float | None) -> float | None:
    """Return the quotient of what was measured, or None."""
    return above / below if above is not None and below else None


@dataclass(kw_only=True)
class Outcome:
    """All that a run measured.

    Attributes:
        failures: What went wrong with a peer, in words; its other figures stand.
    """

    figures: dict[str, dict[Figure, list[float]]] = field(
        default_factory=dict[str, dict[Figure, list[float]]]
    )
    units: dict[Unit, list[float]] = field(default_factory=dict[Unit, list[float]])
    accounts: dict[str, Accounts] = field(default_factory=dict[str, Accounts])
    failures: list[str] = field(default_factory=list[str])

    def note(self, system: str, figure: Figure, value: float) -> None:
        """Add a round's figure."""
        self.figures.setdefault(system, {}).setdefault(figure, []).append(value)

    def note_unit(self, unit: Unit, value: float) -> None:
        """Add a round's bare round trip."""
        self.units.setdefault(unit, []).append(value)

    def account(self, system: str) -> Accounts:
        """Return a system's accounts."""
        return self.accounts.setdefault(system, Accounts())

    def sample(self, system: str, figure: Figure) -> Sample | None:
        """Return a figure over all rounds, or None when it was not measured."""
        values = self.figures.get(system, {}).get(figure)
        return Sample(values=tuple(values)) if values else None

    def median(self, system: str, figure: Figure) -> float | None:
        """Return a figure's median over the rounds so far, or None."""
        sample = self.sample(system, figure)
        return sample.median if sample else None

    def in_round_trips(self, system: str, figure: Figure, unit: Unit) -> float | None:
        """Return the median of a time in bare round trips of the same round, or None."""
        times = self.figures.get(system, {}).get(figure, [])
        trips = self.units.get(unit, [])
        quotients = [time / trip for time, trip in zip(times, trips, strict=False)]
        return Sample(values=tuple(quotients)).median if quotients else None

    def medians(self, peers: tuple[str, ...] = ()) -> Medians:
        """Return what bounds are judged by."""
        return Medians(
            systems={
                system: {figure: Sample(values=tuple(values)).median for figure, values in figures.items()}
                for system, figures in self.figures.items()
            },
            peers=peers,
        )
