"""What a run says to people: tables, who lost or repeated a job, and how it stands to the bounds."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from benchmarks.catalog import Role
from benchmarks.figures import TABLES, Figure, Sample, Unit
from benchmarks.outcome import Accounts, Outcome
from benchmarks.results import Results
from benchmarks.turn import Measured

_SUBJECT = "capelin"
_FEW_ROUNDS = 3


def show(console: Console, results: Results) -> None:
    """Print a run."""
    outcome, plan = results.outcome, results.plan
    machine = "; ".join(f"{name}: {value}" for name, value in results.machine.items())
    console.print()
    console.print(f"Redis {results.redis}; {machine}")
    console.print(
        f"{plan.scale.jobs:,} jobs, {plan.rounds} round(s) in turns; median (lowest - highest round)"
    )
    for each in plan.systems:
        known = ", ".join(f"{name} {version}" for name, version in each.versions.items())
        console.print(f"[bold]{each.system.name}[/bold]: {each.system.configuration} ({known})")
    for scenario in plan.scenarios:
        console.print(f"[dim]{scenario.name}: {scenario.text}[/dim]")
    for title, figures in TABLES:
        measured = tuple(figure for figure in figures if _anybody_has(outcome, figure))
        if measured:
            console.print()
            console.print(_figures(outcome, plan.systems, title, measured))
    console.print()
    console.print(_round_trips(outcome))
    console.print()
    for each in plan.systems:
        name = each.system.name
        console.print(f"{name}: {tell_account(outcome.account(name))}")
    for reason in results.unavailable:
        console.print(f"[yellow]not measured[/yellow]: {reason}")
    for failure in outcome.failures:
        console.print(f"[red]failed[/red]: {failure}")
    _tell_verdicts(console, results)
    if plan.rounds < _FEW_ROUNDS:
        console.print(f"[yellow]fewer than {_FEW_ROUNDS} rounds say little about the spread[/yellow]")


def _anybody_has(outcome: Outcome, figure: Figure) -> bool:
    return any(figure in figures for figures in outcome.figures.values())


def _figures(outcome: Outcome, systems: Sequence[Measured], title: str, chosen: tuple[Figure, ...]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(title)
    for figure in chosen:
        table.add_column(figure.value.title, justify="right")
        table.add_column("of capelin", justify="right", style="dim")
    for each in systems:
        cells = [each.system.name]
        for figure in chosen:
            sample = outcome.sample(each.system.name, figure)
            subject = each.system.role is Role.SUBJECT
            cells.append(cell(each, figure, sample))
            cells.append("" if subject else _ratio(sample, outcome.sample(_SUBJECT, figure)))
        if set(cells[1:]) - {"-", ""}:
            table.add_row(*cells)
    return table


def cell(measured: Measured, figure: Figure, sample: Sample | None) -> str:
    """Return a figure as it is printed, or why there is none."""
    if sample is None:
        return measured.system.lacks.get(figure, "-")
    show_one = figure.value.show
    if len(sample.values) == 1:
        return show_one(sample.median)
    return f"{show_one(sample.median)} ({show_one(sample.low)} - {show_one(sample.high)})"


def _ratio(sample: Sample | None, base: Sample | None) -> str:
    if sample is None or base is None or not base.median:
        return ""
    return f"{sample.median / base.median:.2f} x"


def _round_trips(outcome: Outcome) -> Table:
    """Medians of bare round trips, and how many of each capelin's idle latency is."""
    table = Table(box=None, pad_edge=False)
    table.add_column("bare round trip")
    table.add_column("µs", justify="right")
    table.add_column("capelin idle p50", justify="right")
    table.add_column("p99", justify="right", style="dim")
    for unit in Unit:
        values = outcome.units.get(unit)
        if not values:
            continue
        one = Sample(values=tuple(values))
        spread = f" ({one.low * 1e6:.0f} - {one.high * 1e6:.0f})" if len(values) > 1 else ""
        cells = [unit.value, f"{one.median * 1e6:.0f}{spread}"]
        for figure in (Figure.LATENCY_P50, Figure.LATENCY_P99):
            trips = outcome.in_round_trips(_SUBJECT, figure, unit)
            cells.append("-" if trips is None else f"{trips:.1f} x")
        table.add_row(*cells)
    return table


def tell_account(account: Accounts) -> str:
    """Return whether every job ran once, in words."""
    faults: list[str] = []
    if account.lost:
        faults.append(f"LOST {account.lost:,}")
    if account.repeated:
        faults.append(f"REPEATED {account.repeated:,}")
    if account.recorded != account.looked_at:
        faults.append(f"its records name {account.recorded:,} of {account.looked_at:,} as finished")
    if faults:
        return f"{account.enqueued:,} jobs, [red]{', '.join(faults)}[/red]"
    if account.looked_at:
        return f"{account.enqueued:,} jobs, each ran once; all are on record as finished that were looked up"
    record = "" if account.keeps_records else "; it keeps no record of jobs that return nothing"
    return f"{account.enqueued:,} jobs, each ran once{record}"


def _tell_verdicts(console: Console, results: Results) -> None:
    console.print()
    for verdict in results.verdicts:
        word = "[green]kept  [/green]" if verdict.kept else "[red]MISSED[/red]"
        sign = "≥" if verdict.at_least else "≤"
        console.print(f"{word} {verdict.text}: {verdict.ratio:,.2f} (bound {sign} {verdict.limit:g})")
