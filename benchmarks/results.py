"""A run as JSON: everything that was measured, for programs, for plots, for a later look."""

from dataclasses import dataclass
from typing import Any

from benchmarks.bounds import BOUNDS, Verdict
from benchmarks.catalog import Role
from benchmarks.figures import Figure, Sample
from benchmarks.outcome import Outcome
from benchmarks.runner import Plan


@dataclass(frozen=True, kw_only=True)
class Results:
    """A run that is over.

    Attributes:
        outcome: What it measured.
        plan: What it was to measure.
        machine: What a reader must know of the machine.
        redis: Redis's version.
        unavailable: Peers that could not be installed, and why.
    """

    outcome: Outcome
    plan: Plan
    machine: dict[str, str]
    redis: str
    unavailable: list[str]

    @property
    def verdicts(self) -> list[Verdict]:
        """How the run stands to each bound that it measured."""
        peers = tuple(each.system.name for each in self.plan.systems if each.system.role is Role.PEER)
        medians = self.outcome.medians(peers)
        return [verdict for bound in BOUNDS if (verdict := bound.judge(medians)) is not None]


def as_json(results: Results) -> dict[str, Any]:
    """Return everything that was measured, in seconds, bytes and jobs a second."""
    outcome, plan = results.outcome, results.plan
    return {
        "machine": results.machine,
        "redis": results.redis,
        "jobs": plan.scale.jobs,
        "rounds": plan.rounds,
        "full": plan.scale.full,
        "unavailable": results.unavailable,
        "failures": outcome.failures,
        "figures": {
            figure.name.lower(): {
                "title": figure.value.title,
                "scale": figure.value.scale,
                "more_is_better": figure.value.more_is_better,
            }
            for figure in Figure
        },
        "systems": {
            each.system.name: {
                "role": each.system.role.value,
                "configuration": each.system.configuration,
                "versions": each.versions,
                "lacks": {figure.name.lower(): why for figure, why in each.system.lacks.items()},
                "figures": {
                    figure.name.lower(): _sample(values)
                    for figure, values in outcome.figures.get(each.system.name, {}).items()
                },
                "accounts": _accounts(outcome, each.system.name),
            }
            for each in plan.systems
        },
        "round_trips": {unit.name.lower(): _sample(values) for unit, values in outcome.units.items()},
        "verdicts": [
            {"text": v.text, "ratio": v.ratio, "limit": v.limit, "at_least": v.at_least, "kept": v.kept}
            for v in results.verdicts
        ],
    }


def _sample(values: list[float]) -> dict[str, Any]:
    sample = Sample(values=tuple(values))
    return {"median": sample.median, "low": sample.low, "high": sample.high, "rounds": values}


def _accounts(outcome: Outcome, system: str) -> dict[str, int | bool]:
    account = outcome.account(system)
    return {
        "enqueued": account.enqueued,
        "started": account.started,
        "lost": account.lost,
        "repeated": account.repeated,
        "recorded": account.recorded,
        "looked_at": account.looked_at,
        "keeps_records": account.keeps_records,
    }
