"""Which faults each guarantee was held under: a table for whoever played many seeds."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from tests.simulation.run import Outcome

GUARANTEES = {
    1: "nothing accepted is lost",
    2: "recorded once",
    3: "the dead are replaced",
    4: "nobody waits for the busy",
    5: "a blocked loop loses nothing",
    6: "no reply doubles a job",
    7: "dedupe",
    8: "one job a tick",
    9: "poison does no harm",
    10: "a deploy loses nothing",
    11: "a clean shutdown",
    12: "outages are survived",
    13: "payloads are JSON",
}
_NOTHING = "(nothing)"


@dataclass(kw_only=True)
class Coverage:
    """What happened in many plays, and how often each guarantee was looked at beside it.

    Attributes:
        times: How often each thing happened.
        plays: In how many plays it did.
        held: By what happened, how often each guarantee was looked at in those plays.
    """

    times: Counter[str] = field(default_factory=Counter[str])
    plays: Counter[str] = field(default_factory=Counter[str])
    held: defaultdict[str, Counter[int]] = field(
        default_factory=lambda: defaultdict[str, Counter[int]](Counter[int])
    )

    def add(self, outcome: Outcome) -> None:
        """Count one play."""
        happened = outcome.coverage or {_NOTHING: 1}
        self.times.update(happened)
        for what in happened:
            self.plays[what] += 1
            self.held[what].update(outcome.held)

    def __str__(self) -> str:
        numbers = "".join(f"{number:>8}" for number in GUARANTEES)
        lines = [
            f"{'':<61}how often each guarantee was looked at in those plays",
            f"{'what happened':<46}{'times':>8}{'plays':>7}{numbers}",
        ]
        for what, times in sorted(self.times.items(), key=lambda item: (-item[1], item[0])):
            looks = "".join(f"{_short(self.held[what][number]):>8}" for number in GUARANTEES)
            lines.append(f"{what:<46}{times:>8,}{self.plays[what]:>7,}{looks}")
        return "\n".join(lines)


def _short(number: int) -> str:
    return f"{number:,}" if number < 100_000 else f"{number // 1000:,}k"
