"""Figures as Prometheus reads them. The only module that loads prometheus_client."""

from collections.abc import Iterable, Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector
from typing_extensions import override

from capelin.metrics.catalog import BOUNDS, CATALOG, PREFIX, Kind, Metric
from capelin.metrics.figures import Figures, Histogram


class FiguresCollector(Collector):
    """Figures, as a collector for a registry of its own.

    Args:
        figures: What it says; nothing for the names alone.
    """

    def __init__(self, figures: Figures | None = None) -> None:
        self._figures = figures or Figures()

    @override
    def collect(self) -> Iterator[Family]:
        for metric in CATALOG:
            yield self._family(metric)

    def _family(self, metric: Metric) -> Family:
        name, labels = f"{PREFIX}{metric.name}", metric.labels
        if metric.kind is Kind.HISTOGRAM:
            spread = HistogramMetricFamily(name, metric.help, labels=labels)
            for values, histogram in self._figures.histograms.get(metric.name, {}).items():
                spread.add_metric(values, buckets=_buckets(histogram), sum_value=histogram[-1])
            return spread
        kind = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
        family = kind(name, metric.help, labels=labels)
        for values, value in self._figures.values.get(metric.name, {}).items():
            family.add_metric(values, value)
        return family


def exposed(figures: Figures, accept: str = "") -> tuple[bytes, str]:
    """Return figures as text, and its content type.

    Args:
        figures: What is to be said.
        accept: The formats that the reader asked for: OpenMetrics, or else Prometheus's own.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(FiguresCollector(figures))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    bounds: Iterable[str] = (*map(str, BOUNDS), "+Inf")
    return list(zip(bounds, accumulate(histogram[:-1]), strict=True))
