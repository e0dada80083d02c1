"""``python -m benchmarks.page RESULTS PAGE``: put a run's figures into a page, as Markdown tables."""

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.figures import TABLES, Figure

BEGIN = "<!-- figures: made by `python -m benchmarks.page`; do not edit -->"
END = "<!-- end of figures -->"

_SUBJECT = "capelin"


class NoPlace(Exception):
    """The page has no marks to put figures between; the message says which they are."""


def fill(page: str, run: dict[str, Any]) -> str:
    """Return a page with a run's figures between its marks.

    Args:
        page: The page as it is.
        run: The JSON of a run.

    Raises:
        NoPlace: It has no marks.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise NoPlace(f"the page needs a line {BEGIN} and, below it, a line {END}")
    return f"{before}{BEGIN}\n\n{figures(run)}\n\n{END}{after}"


def figures(run: dict[str, Any]) -> str:
    """Return a run as Markdown: the machine, a table for each group of figures, the accounts, the bounds."""
    parts = [_head(run)]
    parts += [table for title, chosen in TABLES if (table := _table(run, title, chosen))]
    parts.append("\n".join(_accounts(run)))
    verdicts = "\n".join(_verdicts(run))
    if verdicts:
        parts.append(f"| bound | ratio | kept |\n| --- | ---: | --- |\n{verdicts}")
    return "\n\n".join(parts)


def _head(run: dict[str, Any]) -> str:
    machine = run["machine"]
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory']}; {machine['system']}; "
        f"{machine['python']}; Redis {run['redis']}; load before the run {machine['load before']}; "
        f"{run['jobs']:,} jobs, {run['rounds']} round(s). "
        "Medians; in brackets how many times capelin's they are."
    )


def _table(run: dict[str, Any], title: str, chosen: tuple[Figure, ...]) -> str:
    names = list(run["systems"])
    measured = [figure for figure in chosen if any(_median(run, name, figure) is not None for name in names)]
    if not measured:
        return ""
    lines = [
        f"| {title} | " + " | ".join(figure.value.title for figure in measured) + " |",
        "| --- |" + " ---: |" * len(measured),
    ]
    for name in names:
        cells = [_cell(run, name, figure) for figure in measured]
        if set(cells) != {"-"}:
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _median(run: dict[str, Any], name: str, figure: Figure) -> float | None:
    sample = run["systems"].get(name, {}).get("figures", {}).get(figure.name.lower())
    return None if sample is None else float(sample["median"])


def _cell(run: dict[str, Any], name: str, figure: Figure) -> str:
    value = _median(run, name, figure)
    if value is None:
        return str(run["systems"][name]["lacks"].get(figure.name.lower(), "-"))
    shown = figure.value.show(value)
    base = _median(run, _SUBJECT, figure)
    return shown if name == _SUBJECT or not base else f"{shown} ({value / base:.2f} x)"


def _accounts(run: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    for name, system in run["systems"].items():
        account = system["accounts"]
        if account["lost"] or account["repeated"]:
            lines.append(
                f"- {name}: of {account['enqueued']:,} jobs {account['lost']:,} were lost, "
                f"and {account['repeated']:,} started again."
            )
        if account["recorded"] != account["looked_at"]:
            lines.append(
                f"- {name}: of {account['looked_at']:,} jobs that ran its records call "
                f"{account['recorded']:,} finished."
            )
    return lines or ["No system lost or repeated a job in this run, and no record is missing."]


def _verdicts(run: dict[str, Any]) -> list[str]:
    return [
        f"| {verdict['text']}: {'≥' if verdict['at_least'] else '≤'} {verdict['limit']:g} "
        f"| {verdict['ratio']:,.2f} | {'yes' if verdict['kept'] else '**no**'} |"
        for verdict in run["verdicts"]
    ]


def main(results: Path, page: Path) -> None:
    """Fill a page."""
    page.write_text(fill(page.read_text(), json.loads(results.read_text())))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
