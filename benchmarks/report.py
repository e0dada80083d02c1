"""What a run says: tables for people, JSON for programs."""

from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.catalog import Role
from benchmarks.figures import BOUNDS, Figure, Sample, Unit, Verdict
from benchmarks.runner import Measured, Outcome

_SUBJECT = "capelin"
_FEW_ROUNDS = 3


def as_json(
    outcome: Outcome,
    systems: list[Measured],
    *,
    machine: dict[str, str],
    redis: str,
    jobs: int,
    rounds: int,
    unavailable: list[str],
) -> dict[str, Any]:
    """Return everything that was measured, in seconds, bytes and jobs a second."""
    return {
        "machine": machine,
        "redis": redis,
        "jobs": jobs,
        "rounds": rounds,
        "unavailable": unavailable,
        "systems": {
            each.system.name: {
                "role": each.system.role.value,
                "configuration": each.system.configuration,
                "versions": each.versions,
                "figures": {
                    figure.name.lower(): _sample_json(Sample(values=tuple(values)))
                    for figure, values in outcome.figures.get(each.system.name, {}).items()
                },
                "accounts": _accounts_json(outcome, each.system.name),
            }
            for each in systems
        },
        "round_trips": {
            unit.name.lower(): _sample_json(Sample(values=tuple(values)))
            for unit, values in outcome.units.items()
        },
        "verdicts": [
            {"text": v.text, "ratio": v.ratio, "limit": v.limit, "at_least": v.at_least, "kept": v.kept}
            for v in verdicts(outcome)
        ],
    }


def _sample_json(sample: Sample) -> dict[str, Any]:
    return {"median": sample.median, "low": sample.low, "high": sample.high, "rounds": list(sample.values)}


def _accounts_json(outcome: Outcome, system: str) -> dict[str, int]:
    account = outcome.accounts[system]
    return {
        "enqueued": account.enqueued,
        "started": account.started,
        "lost": account.lost,
        "repeated": account.repeated,
        "finished": account.finished,
    }


def verdicts(outcome: Outcome) -> list[Verdict]:
    """Return how the run stands to each bound that it measured."""
    medians = outcome.medians()
    return [verdict for bound in BOUNDS if (verdict := bound.judge(medians)) is not None]


def show(
    console: Console,
    outcome: Outcome,
    systems: list[Measured],
    *,
    machine: dict[str, str],
    redis: str,
    jobs: int,
    rounds: int,
    unavailable: list[str],
) -> None:
    """Print a run."""
    console.print()
    console.print(f"Redis {redis}; " + "; ".join(f"{name}: {value}" for name, value in machine.items()))
    console.print(f"{jobs:,} jobs, {rounds} round(s) in turns; median (lowest - highest round)")
    for each in systems:
        known = ", ".join(f"{name} {version}" for name, version in each.versions.items())
        console.print(f"[bold]{each.system.name}[/bold]: {each.system.configuration} ({known})")
    console.print()
    for chosen in (
        (Figure.ENQUEUE_ONE, Figure.ENQUEUE_MANY, Figure.DRAIN),
        (Figure.LATENCY_P50, Figure.LATENCY_P99, Figure.MEMORY),
        (Figure.WORKER_CPU, Figure.REDIS_CPU, Figure.SCRIPTS),
    ):
        console.print(_figures(outcome, systems, chosen))
    console.print(_round_trips(outcome, systems))
    _tell_accounts(console, outcome, systems)
    for reason in unavailable:
        console.print(f"[yellow]not measured[/yellow]: {reason}")
    _tell_verdicts(console, outcome)
    if rounds < _FEW_ROUNDS:
        console.print(f"[yellow]fewer than {_FEW_ROUNDS} rounds say little about the spread[/yellow]")


def _figures(outcome: Outcome, systems: list[Measured], chosen: tuple[Figure, ...]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("system")
    for figure in chosen:
        table.add_column(figure.value.title, justify="right")
        table.add_column("of capelin", justify="right", style="dim")
    for each in systems:
        cells = [each.system.name]
        for figure in chosen:
            sample = outcome.sample(each.system.name, figure)
            base = outcome.sample(_SUBJECT, figure)
            cells.append("-" if sample is None else _show(figure, sample))
            other = each.system.role is not Role.SUBJECT and sample is not None and base is not None
            cells.append(_ratio(sample, base) if other else "")
        table.add_row(*cells)
    return table


def _show(figure: Figure, sample: Sample) -> str:
    show = figure.value.show
    if len(sample.values) == 1:
        return show(sample.median)
    return f"{show(sample.median)} ({show(sample.low)} - {show(sample.high)})"


def _ratio(sample: Sample | None, base: Sample | None) -> str:
    if sample is None or base is None or not base.median:
        return ""
    return f"{sample.median / base.median:.2f} x"


def _round_trips(outcome: Outcome, systems: list[Measured]) -> Table:
    """Medians of bare round trips, and how many of each an idle system needs."""
    table = Table(box=None, pad_edge=False)
    table.add_column("bare round trip")
    table.add_column("µs", justify="right")
    latent = [each.system.name for each in systems if each.system.idle_latency]
    for name in latent:
        table.add_column(f"{name} p50", justify="right")
        table.add_column("p99", justify="right", style="dim")
    for unit in Unit:
        values = outcome.units.get(unit)
        if not values:
            continue
        one = Sample(values=tuple(values))
        spread = f" ({one.low * 1e6:.0f} - {one.high * 1e6:.0f})" if len(values) > 1 else ""
        cells = [unit.value, f"{one.median * 1e6:.0f}{spread}"]
        for name in latent:
            for figure in (Figure.LATENCY_P50, Figure.LATENCY_P99):
                sample = outcome.sample(name, figure)
                cells.append("-" if sample is None else f"{sample.median / one.median:.1f} x")
        table.add_row(*cells)
    return table


def _tell_accounts(console: Console, outcome: Outcome, systems: list[Measured]) -> None:
    console.print()
    for each in systems:
        account = outcome.accounts[each.system.name]
        faults: list[str] = []
        if account.lost:
            faults.append(f"LOST {account.lost:,}")
        if account.repeated:
            faults.append(f"REPEATED {account.repeated:,}")
        if account.finished != account.enqueued:
            faults.append(f"its records name {account.finished:,} as finished")
        said = f"[red]{', '.join(faults)}[/red]" if faults else "each ran once and is on record as finished"
        console.print(f"{each.system.name}: {account.enqueued:,} jobs, {said}")


def _tell_verdicts(console: Console, outcome: Outcome) -> None:
    console.print()
    for verdict in verdicts(outcome):
        word = "[green]kept  [/green]" if verdict.kept else "[red]MISSED[/red]"
        sign = "≥" if verdict.at_least else "≤"
        console.print(f"{word} {verdict.text}: {verdict.ratio:,.2f} (bound {sign} {verdict.limit:g})")
