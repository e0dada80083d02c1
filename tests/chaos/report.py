"""The tables of chaos, in Markdown."""

from collections.abc import Iterable, Sequence
from statistics import median

from tests.chaos.run import Result
from tests.chaos.scene import Kind

_RETURNS = "from Redis's return to the next start"
_RESTARTS = "to the next start of a job that it had"
WHAT = {
    Kind.KILLED: f"from the kill {_RESTARTS}",
    Kind.PAUSED: f"from the pause {_RESTARTS}",
    Kind.STARVED: f"from the beginning {_RESTARTS}",
    Kind.HUNGRY: f"from the beginning {_RESTARTS}",
    Kind.CUT_OFF: f"from the cut {_RESTARTS}",
    Kind.ALL_CUT_OFF: "from the healing to the next start",
    Kind.REDIS_KILLED: _RETURNS,
    Kind.REDIS_PAUSED: _RETURNS,
    Kind.FAILOVER_ASKED: "from the replica's promotion to the next start in its shards",
    Kind.MASTER_KILLED: "from the replica's promotion to the next start in its shards",
    Kind.MASTER_PAUSED: "from the replica's promotion to the next start in its shards",
}


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(heads)} |", f"| {' | '.join('---' for _ in heads)} |"]
    lines += [f"| {' | '.join(str(cell) for cell in row)} |" for row in rows]
    return "\n".join(lines)


def seconds(values: Sequence[float]) -> list[str]:
    """How many, median and worst."""
    return [f"{len(values):,}", f"{median(values):.2f} s", f"{max(values):.2f} s"]


def report(results: Sequence[Result]) -> str:
    """Everything about some runs."""
    parts = [_totals(results), _times(results), _reasons(results), _failovers(results), _recovery(results)]
    for result in results:
        parts += [f"LOST on {result.backend}: {job}" for job in result.account.lost]
        parts += [f"PROBLEM on {result.backend}: {problem}" for problem in result.account.problems]
    return "\n\n".join(part for part in parts if part)


def _totals(results: Sequence[Result]) -> str:
    heads = [
        "backend",
        "disturbances",
        "enqueued",
        "recorded once",
        "started more than once",
        "unexplained",
        "lost",
        "gone with a failover",
        "ticks",
    ]
    rows = [
        (
            result.backend,
            len(result.happened),
            f"{result.account.enqueued:,}",
            f"{result.account.once:,}",
            f"{result.account.twice:,}",
            len(result.account.problems),
            len(result.account.lost),
            result.account.gone,
            result.account.ticks,
        )
        for result in results
    ]
    return table(heads, rows)


def _reasons(results: Sequence[Result]) -> str:
    every = sorted({str(reason) for result in results for reason in result.account.reasons})
    rows = [[reason, *(f"{result.account.reasons[reason]:,}" for result in results)] for reason in every]
    return table(["why a job was started again", *(result.backend for result in results)], rows)


def _failovers(results: Sequence[Result]) -> str:
    rows: list[list[str]] = []
    for result in results:
        for kind in Kind:
            windows = [found for one, found in result.account.failovers.items() if one.kind is kind]
            if not windows:
                continue
            before = [early for window in windows for early in window.before]
            after = [late for window in windows for late in window.after]
            rows.append(
                [
                    kind,
                    result.backend,
                    str(len(windows)),
                    f"{sum(window.confirmed for window in windows):,}",
                    f"{len(before)}" + (f", up to {max(before):.3f} s" if before else ""),
                    f"{len(after)}" + (f", up to {max(after):.1f} s" if after else ""),
                ]
            )
    if not rows:
        return ""
    heads = [
        "failover",
        "backend",
        "times",
        "enqueues confirmed around it",
        "gone, confirmed before it began",
    ]
    return table([*heads, "gone, confirmed since by the old master"], rows)


def _times(results: Sequence[Result]) -> str:
    rows = [
        [kind, *(str(sum(one.kind is kind for one in result.happened)) for result in results)]
        for kind in Kind
    ]
    heads = ["how often", *(result.backend for result in results)]
    return table(heads, [row for row in rows if set(row[1:]) != {"0"}])


def _recovery(results: Sequence[Result]) -> str:
    rows: list[list[str]] = []
    for kind in Kind:
        for result in results:
            times = sum(one.kind is kind for one in result.happened)
            if not times:
                continue
            account = result.account
            found = [(WHAT.get(kind, ""), account.recovery.get(kind, []))]
            found += [(f"{WHAT.get(kind)}, Redis being away, too", account.recovery_beside.get(kind, []))]
            rows += [[kind, result.backend, str(times), what, *seconds(each)] for what, each in found if each]
    return table(["disturbance", "backend", "times", "measured", "of", "median", "worst"], rows)
