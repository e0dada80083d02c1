"""``python -m benchmarks.drawing RESULTS FOLDER``: bars, run by an interpreter that has matplotlib."""

# The strict checkers run where matplotlib is not installed.
# mypy: disable-error-code="import-not-found"
# pyright: reportMissingImports=false, reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure as Drawing

_OURS, _LIMIT, _PEER = "#0b6e99", "#9aa5ab", "#c9b79c"
_COLOURS = {"subject": _OURS, "limit": _LIMIT, "peer": _PEER}
_WIDTH, _BAR, _HEAD = 7.0, 0.32, 1.0


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A picture of one figure.

    Attributes:
        figure: Which, as the JSON names it.
        title: What is above it.
        logarithmic: Whether the axis is.
    """

    figure: str
    title: str
    logarithmic: bool = False


PLOTS = (
    Plot(figure="drain", title="No-op jobs drained a second, one worker process"),
    Plot(figure="drain_two", title="No-op jobs drained a second, two worker processes"),
    Plot(figure="enqueue_one", title="Jobs enqueued a second, one at a time"),
    Plot(figure="enqueue_many", title="Jobs enqueued a second, many in a call"),
    Plot(figure="latency_p50", title="Idle: enqueue to start, median, ms", logarithmic=True),
    Plot(figure="latency_p99", title="Idle: enqueue to start, p99, ms", logarithmic=True),
    Plot(figure="load_p99", title="At 70 % load: enqueue to start, p99, ms", logarithmic=True),
    Plot(figure="result_p50", title="Enqueue to result, median, ms", logarithmic=True),
    Plot(figure="naps", title="Jobs that sleep 10 ms at concurrency 100, % of the ideal"),
    Plot(figure="memory", title="Bytes of Redis's memory a waiting job"),
)


def main(results: Path, folder: Path) -> None:
    """Draw what was measured; prints the files' names."""
    mpl.rcParams["svg.hashsalt"] = "capelin"  # the same figures make the same file
    mpl.rcParams["svg.fonttype"] = "none"  # text stays text
    run: dict[str, Any] = json.loads(results.read_text())
    for plot in PLOTS:
        rows = _rows(run, plot)
        if rows:
            path = folder / f"{plot.figure}.svg"
            _draw(plot, rows, run).savefig(path, metadata={"Date": None})
            print(path)


def _rows(run: dict[str, Any], plot: Plot) -> list[tuple[str, str, dict[str, float]]]:
    """Return name, role and scaled sample of every system that has the figure, the best first."""
    about = run["figures"][plot.figure]
    rows: list[tuple[str, str, dict[str, float]]] = []
    for name, system in run["systems"].items():
        sample = system["figures"].get(plot.figure)
        if sample is not None:
            scaled = {part: sample[part] * about["scale"] for part in ("median", "low", "high")}
            rows.append((name, system["role"], scaled))
    return sorted(rows, key=lambda row: row[2]["median"], reverse=about["more_is_better"])


def _draw(plot: Plot, rows: list[tuple[str, str, dict[str, float]]], run: dict[str, Any]) -> Any:
    drawing = Drawing(figsize=(_WIDTH, _HEAD + _BAR * len(rows)), layout="constrained")
    axes = drawing.add_subplot()
    medians = [sample["median"] for _, _, sample in rows]
    spread = [
        [sample["median"] - sample["low"] for _, _, sample in rows],
        [sample["high"] - sample["median"] for _, _, sample in rows],
    ]
    axes.barh(
        [name for name, _, _ in rows],
        medians,
        xerr=spread,
        color=[_COLOURS[role] for _, role, _ in rows],
        error_kw={"ecolor": "#333333", "elinewidth": 0.8},
    )
    if plot.logarithmic:
        axes.set_xscale("log")
    axes.bar_label(axes.containers[-1], labels=[_number(median) for median in medians], padding=4, fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(plot.title, fontsize=10, loc="left")
    machine = run["machine"]
    axes.set_xlabel(
        f"{machine['cpu']}, {machine['cores']} cores; Redis {run['redis']}; {run['rounds']} round(s); "
        "bars: medians, lines: lowest to highest round",
        fontsize=6,
    )
    return drawing


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"  # noqa: PLR2004 -- three digits that count


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
