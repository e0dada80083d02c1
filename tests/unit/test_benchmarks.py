"""The benchmark's own arithmetic and words: no peer is needed, and nothing is timed."""

import asyncio
import json
import sys
import time
from pathlib import Path

import pytest

from benchmarks import catalog, reports, work
from benchmarks.bounds import BOUNDS
from benchmarks.catalog import CAPELIN, RQ, SYSTEMS, Role
from benchmarks.figures import TABLES, Figure, Sample, Unit, percentile
from benchmarks.options import read
from benchmarks.outcome import Accounts, Outcome
from benchmarks.page import BEGIN, END, NoPlace, fill
from benchmarks.report import cell, tell_account
from benchmarks.results import Results, as_json
from benchmarks.runner import Plan
from benchmarks.scenarios.registry import SCENARIOS
from benchmarks.starts import Starts
from benchmarks.turn import Measured, Scale, latencies

_SCALE = Scale(jobs=10, paced=5, full=False)


def _measured(system: catalog.System) -> Measured:
    return Measured(system=system, python=Path("python"), versions={"x": "1"})


@pytest.mark.parametrize(
    ("share", "expected"), [(0.5, 50), (0.99, 99), (0.999, 100), (0.001, 1), (1.0, 100), (0.0, 1)]
)
def test_a_percentile_is_the_smallest_value_that_the_share_does_not_exceed(
    share: float, expected: float
) -> None:
    assert percentile([float(value) for value in range(100, 0, -1)], share) == expected


def test_a_sample_is_told_by_its_median_and_its_ends() -> None:
    sample = Sample(values=(3.0, 1.0, 10.0))
    assert (sample.median, sample.low, sample.high) == (3.0, 1.0, 10.0)


def test_the_best_peer_is_the_fastest_by_rate_and_the_quickest_by_time() -> None:
    outcome = Outcome()
    for name, drain, latency in (("capelin", 50.0, 0.5), ("arq", 10.0, 2.0), ("huey", 20.0, 1.0)):
        outcome.note(name, Figure.DRAIN, drain)
        outcome.note(name, Figure.LATENCY_P50, latency)
    medians = outcome.medians(("arq", "huey"))
    assert medians.best_peer(Figure.DRAIN) == 20.0
    assert medians.best_peer(Figure.LATENCY_P50) == 1.0
    assert medians.best_peer(Figure.DRAIN, ("arq",)) == 10.0
    assert medians.best_peer(Figure.NAPS) is None


def test_a_bound_is_judged_only_if_both_sides_were_measured() -> None:
    outcome = Outcome()
    outcome.note("capelin", Figure.DRAIN, 100.0)
    assert [bound.judge(outcome.medians()) for bound in BOUNDS] == [None] * len(BOUNDS)
    outcome.note("arq", Figure.DRAIN, 9.0)
    outcome.units[Unit.RAW_PACED] = [0.001]
    verdicts = [verdict for bound in BOUNDS if (verdict := bound.judge(outcome.medians(("arq",))))]
    assert [(verdict.text, verdict.kept) for verdict in verdicts] == [
        ("drain: capelin / fastest peer", True),
        ("drain: capelin / arq", True),
    ]


def test_a_bound_that_is_missed_says_so() -> None:
    outcome = Outcome()
    outcome.note("capelin", Figure.LATENCY_P50, 0.003)
    outcome.units[Unit.RAW_PACED] = [0.001]
    (verdict,) = [verdict for bound in BOUNDS if (verdict := bound.judge(outcome.medians()))]
    assert not verdict.kept
    assert verdict.ratio == pytest.approx(3)


@pytest.mark.parametrize("peer", [system.name for system in SYSTEMS if system.role is Role.PEER])
def test_bytes_of_a_waiting_job_are_compared_with_those_who_keep_a_record_of_it(peer: str) -> None:
    outcome = Outcome()
    outcome.note("capelin", Figure.MEMORY, 256.0)
    outcome.note(peer, Figure.MEMORY, 200.0)
    verdicts = [verdict for bound in BOUNDS if (verdict := bound.judge(outcome.medians((peer,))))]
    compared = [] if peer in {"huey", "taskiq", "Celery"} else [(256 / 200, False)]
    assert [(verdict.ratio, verdict.kept) for verdict in verdicts] == compared


@pytest.mark.parametrize(
    ("accounts", "words"),
    [
        (Accounts(enqueued=10, started=10, recorded=10, looked_at=10), "each ran once; all are on record"),
        (Accounts(enqueued=10, started=8), "LOST 2"),
        (Accounts(enqueued=10, started=10, repeated=3), "REPEATED 3"),
        (Accounts(enqueued=10, started=10, recorded=9, looked_at=10), "9 of 10 as finished"),
        (Accounts(enqueued=10, started=10, keeps_records=False), "keeps no record"),
    ],
)
def test_a_system_that_loses_repeats_or_forgets_is_said_to_have_done_so(
    accounts: Accounts, words: str
) -> None:
    assert words in tell_account(accounts)


def test_a_system_that_cannot_do_something_says_so_instead_of_a_figure() -> None:
    assert cell(_measured(RQ), Figure.NAPS, None) == "one job at a time"
    assert cell(_measured(RQ), Figure.DRAIN, None) == "-"
    assert (
        cell(_measured(RQ), Figure.LATENCY_P50, Sample(values=(0.001, 0.002, 0.009))) == "2.00 (1.00 - 9.00)"
    )


def test_starts_tell_losses_and_repeats_apart() -> None:
    starts = Starts()
    starts.expect(10, 3)
    for number in (10, 11, 11, 5):
        starts.add(number)
    assert starts.account() == {"started": 2, "repeated": 2}  # 5 is a late repeat of an earlier job


async def test_enough_starts_end_the_wait_with_more_to_come() -> None:
    starts = Starts()
    starts.expect(0, 100, enough=2)
    starts.add(7)
    assert not await starts.wait(0.001)
    starts.add(8)
    assert await starts.wait(10)


def test_a_latency_counts_to_the_first_start_and_a_lost_job_has_none() -> None:
    answer = {"numbers": [5, 6, 5], "moments": [2_000_000, 5_000_000, 9_000_000]}
    assert latencies([1_000_000, 2_000_000, 3_000_000], answer, 5) == pytest.approx([0.001, 0.003])


async def test_a_job_in_another_process_is_heard_of() -> None:
    heard: asyncio.Queue[tuple[int, int]] = asyncio.Queue()
    listener = reports.Listener(lambda number, moment: heard.put_nowait((number, moment)))
    before = time.monotonic_ns()
    code = "from benchmarks.work import noop_plainly as noop; noop(7); noop(8)"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
    try:
        async with asyncio.timeout(20):
            first, second = await heard.get(), await heard.get()
        assert await process.wait() == 0
    finally:
        listener.close()
    assert (first[0], second[0]) == (7, 8)
    assert before < first[1] <= second[1]


def test_a_job_in_a_process_that_is_no_workers_is_refused() -> None:
    with pytest.raises(RuntimeError, match="job 3 runs in a process that is no worker's"):
        work.noop_plainly(3)


def test_every_task_has_both_kinds_of_bodies() -> None:
    assert set(work.COROUTINES) == set(work.FUNCTIONS) == set(work.Work)


def test_every_system_has_its_adapter_and_every_peer_exact_pins() -> None:
    root = Path(catalog.__file__).parent.parent
    for system in SYSTEMS:
        assert (root / f"{system.module.replace('.', '/')}.py").is_file()
        assert bool(system.requirements) == (system.role is Role.PEER)
    assert all("==" in system.requirements[0] for system in SYSTEMS if system.role is Role.PEER)


def test_every_figure_is_in_one_table() -> None:
    printed = [figure for _, figures in TABLES for figure in figures]
    assert sorted(figure.name for figure in printed) == sorted(figure.name for figure in Figure)


def test_later_rounds_have_only_the_scenarios_of_every_round_unless_the_run_is_full() -> None:
    plan = Plan(systems=[_measured(CAPELIN)], scenarios=SCENARIOS, scale=_SCALE, rounds=2)
    assert plan.of_round(0) == list(SCENARIOS)
    assert [scenario.name for scenario in plan.of_round(1)] == ["throughput", "latency"]
    full = Scale(jobs=10, paced=5, full=True)
    assert Plan(systems=[], scenarios=SCENARIOS, scale=full, rounds=2).of_round(1) == list(SCENARIOS)


def test_the_json_of_a_run_can_be_read_back_and_names_what_failed() -> None:
    outcome = Outcome()
    outcome.note("capelin", Figure.DRAIN, 100.0)
    outcome.failures.append("arq, throughput: it ended")
    plan = Plan(systems=[_measured(CAPELIN), _measured(RQ)], scenarios=SCENARIOS, scale=_SCALE, rounds=1)
    results = Results(
        outcome=outcome, plan=plan, machine={"cpu": "x"}, redis="7", unavailable=["huey cannot be installed"]
    )
    run = json.loads(json.dumps(as_json(results)))
    assert run["systems"]["capelin"]["figures"]["drain"]["median"] == 100.0
    assert run["systems"]["RQ"]["lacks"]["naps"] == "one job at a time"
    assert run["failures"] == ["arq, throughput: it ended"]
    assert run["unavailable"] == ["huey cannot be installed"]


def test_a_page_gets_the_figures_between_its_marks_and_keeps_the_rest() -> None:
    outcome = Outcome()
    outcome.note("capelin", Figure.NAPS, 0.9)
    outcome.note("huey", Figure.NAPS, 0.45)
    outcome.account("huey").enqueued = 3
    measured = [_measured(system) for system in SYSTEMS if system.name in {"capelin", "RQ", "huey"}]
    plan = Plan(systems=measured, scenarios=SCENARIOS, scale=_SCALE, rounds=1)
    machine: dict[str, str] = dict.fromkeys(
        ("cpu", "cores", "memory", "system", "python", "load before"), "x"
    )
    run = as_json(Results(outcome=outcome, plan=plan, machine=machine, redis="7", unavailable=[]))
    once = fill(f"above {BEGIN} old {END} below", run)
    assert once.startswith("above ")
    assert once.endswith(" below")
    assert "old" not in once
    assert "| capelin | 90 |" in once
    assert "| huey | 45 (0.50 x) |" in once
    assert "| RQ | one job at a time |" in once
    assert "huey: of 3 jobs 3 were lost" in once
    assert fill(once, run) == once


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(NoPlace, match="the page needs a line"):
        fill("nothing", {})


@pytest.mark.parametrize("words", [["--jobs", "0"], ["--only", "sidekiq"], ["--scenarios", "naps,sleeps"]])
def test_words_that_mean_nothing_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read(words)
    assert "error" in capsys.readouterr().err


def test_names_are_read_in_any_case() -> None:
    options = read(["--only", "saq,STREAQ,bare loop", "--scenarios", "naps"])
    assert options.only == ["SAQ", "streaQ", "bare loop"]
    assert options.scenarios == ["naps"]
