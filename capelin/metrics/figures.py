"""Figures: what the metrics of one or several processes say at a moment, as a value that travels as JSON."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from capelin.metrics.catalog import BOUNDS, CATALOG, Kind, Metric, Over, Scope

Labels = tuple[str, ...]
Histogram = Sequence[float]
"""Counts by bucket, the last one without a bound, and the sum."""

BY_NAME: Final = {metric.name: metric for metric in CATALOG}


class Figures:
    """Values by metric and labels.

    Example:
        figures = Figures()
        figures.add(COMPLETED, ("emails", "email.send"), 1)
    """

    def __init__(self) -> None:
        self.values: dict[str, dict[Labels, float]] = {}
        self.histograms: dict[str, dict[Labels, Histogram]] = {}

    def add(self, metric: Metric, labels: Labels, value: float) -> None:
        """Take a value in: as the metric's figures of several processes become one."""
        known = self.values.setdefault(metric.name, {})
        if labels not in known:
            known[labels] = value
        elif metric.over is Over.MOST:
            known[labels] = max(known[labels], value)
        else:
            known[labels] += value

    def observe(self, metric: Metric, labels: Labels, histogram: Histogram) -> None:
        """Take a histogram in."""
        known = self.histograms.setdefault(metric.name, {})
        before = known.get(labels, (0.0,) * (len(BOUNDS) + 2))
        known[labels] = [old + new for old, new in zip(before, histogram, strict=True)]

    def take_in(self, other: "Figures") -> None:
        """Take another's figures in."""
        for name, values in other.values.items():
            for labels, value in values.items():
                self.add(BY_NAME[name], labels, value)
        for name, histograms in other.histograms.items():
            for labels, histogram in histograms.items():
                self.observe(BY_NAME[name], labels, histogram)

    def counted(self) -> "Figures":
        """Return what outlives its process: its own counts, without gauges and the fleet's."""
        kept = Figures()
        kept.values = {
            name: dict(values)
            for name, values in self.values.items()
            if BY_NAME[name].kind is Kind.COUNTER and BY_NAME[name].scope is Scope.PROCESS
        }
        kept.histograms = {name: dict(values) for name, values in self.histograms.items()}
        return kept

    def to_json(self) -> dict[str, Any]:
        """Return them as plain JSON."""
        return {"values": _flat(self.values), "histograms": _flat(self.histograms)}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "Figures":
        """Read them; metrics that this release does not know are left out."""
        figures = cls()
        for name, labels, value in raw["values"]:
            if name in BY_NAME:
                figures.add(BY_NAME[name], tuple(labels), value)
        for name, labels, histogram in raw["histograms"]:
            if name in BY_NAME:
                figures.observe(BY_NAME[name], tuple(labels), histogram)
        return figures

    def __repr__(self) -> str:
        return f"Figures({json.dumps(self.to_json())})"


def _flat(values: Mapping[str, Mapping[Labels, Any]]) -> list[tuple[str, Labels, Any]]:
    return [
        (name, labels, value) for name, by_labels in values.items() for labels, value in by_labels.items()
    ]
