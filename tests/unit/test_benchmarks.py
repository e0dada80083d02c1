"""The benchmark's own arithmetic and words: no peer is needed, and nothing is timed."""

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self, cast

import pytest

from benchmarks import catalog, child, reports, work
from benchmarks.bounds import BOUNDS
from benchmarks.catalog import BARE_LOOP, CAPELIN, HUEY, ROUND_TRIP_MODULE, RQ, SYSTEMS, Role, System
from benchmarks.figures import TABLES, Figure, Sample, Unit, percentile
from benchmarks.options import read
from benchmarks.outcome import Accounts, Outcome
from benchmarks.page import BEGIN, END, NoPlace, fill
from benchmarks.report import cell, tell_account
from benchmarks.results import Results, as_json
from benchmarks.runner import Plan, run
from benchmarks.scenarios.latency import LATENCY
from benchmarks.scenarios.registry import SCENARIOS
from benchmarks.scenarios.scenario import Scenario
from benchmarks.scenarios.side_by_side import PAIRS, SIDE_BY_SIDE, SLICE, TIMES
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
    verdicts = [verdict for bound in BOUNDS if (verdict := bound.judge(outcome.medians(("arq",))))]
    assert [(verdict.text, verdict.kept) for verdict in verdicts] == [
        ("drain: capelin / fastest peer", True),
        ("drain: capelin / arq", True),
    ]


def test_a_bound_that_is_missed_says_so() -> None:
    outcome = Outcome()
    outcome.note("capelin", Figure.LATENCY_TRIPS_P50, 3.0)
    (verdict,) = [verdict for bound in BOUNDS if (verdict := bound.judge(outcome.medians()))]
    assert not verdict.kept
    assert verdict.ratio == pytest.approx(3)


def _ratios(outcome: Outcome) -> dict[str, float]:
    verdicts = [verdict for bound in BOUNDS if (verdict := bound.judge(outcome.medians()))]
    return {verdict.text: verdict.ratio for verdict in verdicts}


def test_enqueueing_one_is_held_against_what_was_measured_in_turns() -> None:
    outcome = Outcome()
    outcome.note("capelin", Figure.ENQUEUE_ONE, 4000.0)  # of another minute than the next one
    outcome.note("bare loop", Figure.ENQUEUE_ONE, 5000.0)
    assert _ratios(outcome) == {}
    outcome.note("capelin", Figure.ENQUEUE_SHARE, 0.9)
    assert _ratios(outcome) == {"enqueue one: capelin / bare script, in turns": 0.9}


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
    assert [scenario.name for scenario in plan.of_round(1)] == ["throughput", "side-by-side", "latency"]
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


class _Stage:
    """Plays the processes of a run, and keeps what they were asked in order: nothing is started or timed.

    Attributes:
        asked: The module and what it was asked, of every question.
        plays: What somebody answers, by module and command; anything else is answered with nothing.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, Any]]] = []
        self.plays: dict[tuple[str, str], list[dict[str, Any]]] = {}

    def process(self, python: Path, module: str) -> "_Actor":
        del python
        return _Actor(self, module)

    def answer(self, module: str, do: str, arguments: dict[str, Any]) -> dict[str, Any]:
        self.asked.append((module, do, arguments))
        left = self.plays.get((module, do), [])
        return left.pop(0) if left else _NOTHING.get(do, {})

    def of(self, *commands: str) -> list[tuple[str, dict[str, Any]]]:
        """Return who was asked one of these, in order, and with what."""
        return [(module, arguments) for module, do, arguments in self.asked if do in commands]

    def run(self, systems: Sequence[System], scenario: Scenario, *, paced: int = 5) -> Outcome:
        """Play a round."""
        plan = Plan(
            systems=[_measured(system) for system in systems],
            scenarios=[scenario],
            scale=Scale(jobs=10, paced=paced, full=False),
            rounds=1,
        )
        server = cast("Any", SimpleNamespace(url="redis://stage", empty=lambda: None))
        return run(server, plan, home=Path("python"), say=lambda _: None)


class _Actor:
    """One of these processes."""

    def __init__(self, stage: _Stage, module: str) -> None:
        self.stage = stage
        self.module = module

    def ask(self, do: str, *, within: float = 0, **arguments: Any) -> dict[str, Any]:
        del within
        return self.stage.answer(self.module, do, arguments)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


_NO_JOB: dict[str, Any] = {"numbers": [], "moments": [], "started": 0, "repeated": 0}
_NOTHING: dict[str, dict[str, Any]] = {
    "enqueue": {"seconds": 1.0},
    "measure": {"seconds": [1.0]},
    "pace": {"sent": []},
    "results": {"seconds": [1.0]},
    "begun": _NO_JOB,
    "drained": _NO_JOB,
}


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> _Stage:
    stage = _Stage()
    monkeypatch.setattr(child, "Child", stage.process)
    return stage


def _start_in_chunks(stage: _Stage) -> None:
    """Have the jobs of three chunks start after 1, 3 and 8 milliseconds."""
    chunks = ((100, 20, 1), (120, 20, 3), (140, 5, 8))  # first job, how many, milliseconds of each
    stage.plays[CAPELIN.module, "pace"] = [{"sent": [0] * count} for _, count, _ in chunks]
    stage.plays[CAPELIN.module, "begun"] = [
        {
            "numbers": list(range(first, first + count)),
            "moments": [late * 1_000_000] * count,
            "started": count,
            "repeated": 0,
        }
        for first, count, late in chunks
    ]


def test_slices_of_capelin_and_of_the_bare_loop_come_in_pairs_that_neither_always_begins(
    stage: _Stage,
) -> None:
    stage.run([CAPELIN, BARE_LOOP], SIDE_BY_SIDE)
    slices = stage.of("enqueue")
    ours, theirs = CAPELIN.module, BARE_LOOP.module
    warm, timed = [ours, theirs], [ours, theirs, theirs, ours] * (PAIRS // 2)
    assert [module for module, _ in slices] == [*warm, *timed] * TIMES
    assert len(stage.of("open")) == 1 + 2 * TIMES  # new processes each time; one for round trips
    assert all(asked["count"] == SLICE and not asked["together"] for _, asked in slices)
    assert [asked["first"] for _, asked in slices] == [SLICE * at for at in range(len(slices))]
    assert stage.of("work") == []  # jobs of both wait in the same keys: nobody takes them


def test_the_share_of_the_bare_loops_rate_is_the_median_of_pairs(stage: _Stage) -> None:
    # The machine gets slower all the time, and one slice of capelin's has a hiccup.
    paces = [1.0 + slot for slot in range(TIMES * (PAIRS + 1))]
    stage.plays[BARE_LOOP.module, "enqueue"] = [{"seconds": 0.8 * pace} for pace in paces]
    stage.plays[CAPELIN.module, "enqueue"] = [{"seconds": pace} for pace in paces]
    stage.plays[CAPELIN.module, "enqueue"][3]["seconds"] = 1000.0
    outcome = stage.run([CAPELIN, BARE_LOOP], SIDE_BY_SIDE)
    assert outcome.figures["capelin"][Figure.ENQUEUE_SHARE] == [pytest.approx(0.8)] * TIMES
    assert "bare loop" not in outcome.figures
    assert outcome.accounts == {}


def test_there_is_no_share_of_a_bare_loop_that_is_not_measured(stage: _Stage) -> None:
    outcome = stage.run([CAPELIN, HUEY], SIDE_BY_SIDE)
    assert outcome.figures == {}
    assert stage.of("enqueue") == []


def test_bare_round_trips_come_between_the_chunks_of_capelins_jobs_and_of_nobody_elses(stage: _Stage) -> None:
    stage.run([CAPELIN, HUEY], LATENCY, paced=45)
    trips = ROUND_TRIP_MODULE
    asked = [
        (module, arguments["count"])
        for module, arguments in stage.of("pace", "measure")
        if module != trips or arguments["what"] == "redis-py"
    ]
    warm, *chunks = asked
    assert warm == (trips, 100)
    ours = [(who, count) for count in (20, 20, 5) for who in (CAPELIN.module, trips)]
    assert chunks == [*ours, *((HUEY.module, count) for count in (20, 20, 5))]
    gaps = [arguments["gap"] for _, arguments in stage.of("pace", "measure") if arguments["count"] <= 20]
    assert len(set(gaps)) == 1  # after the same pauses
    commands = [do for module, do, _ in stage.asked if module == CAPELIN.module]
    assert commands.count("begun") == 4  # every chunk has started before it is the round trips' turn


def test_the_unit_of_the_bounds_is_pooled_over_the_chunks(stage: _Stage) -> None:
    beside: list[dict[str, Any]] = [{"seconds": [9.0]}] * 4  # when the round begins
    stage.plays[ROUND_TRIP_MODULE, "measure"] = [
        *beside,
        {"seconds": [1000.0] * 100},  # connects, and warms up
        {"seconds": [0.001] * 20},
        {"seconds": [0.002] * 20},
        {"seconds": [0.003] * 4 + [0.005]},
    ]
    stage.plays[CAPELIN.module, "results"] = [{"seconds": [0.009]}]
    _start_in_chunks(stage)
    outcome = stage.run([CAPELIN], LATENCY, paced=45)
    assert outcome.units[Unit.RAW_PACED] == [0.002]
    assert outcome.units[Unit.RAW_PACED_P99] == [0.005]
    assert _ratios(outcome) == {
        "median idle latency in bare round trips (redis-py PING, paced)": pytest.approx(1.5),
        "p99 of idle latency in p99s of bare round trips": pytest.approx(1.6),
        "result after the start, in bare round trips": pytest.approx(3.0),
    }


def test_a_time_in_round_trips_is_the_median_of_what_each_round_had() -> None:
    outcome = Outcome()
    for latency, trip in ((0.002, 0.001), (0.012, 0.004), (0.006, 0.001)):
        outcome.note("capelin", Figure.LATENCY_P50, latency)
        outcome.note_unit(Unit.RAW_PACED, trip)
    assert outcome.in_round_trips("capelin", Figure.LATENCY_P50, Unit.RAW_PACED) == pytest.approx(3)
    assert outcome.in_round_trips("capelin", Figure.LATENCY_P50, Unit.PING_HOT) is None


def test_the_latency_of_all_chunks_is_one_figure(stage: _Stage) -> None:
    _start_in_chunks(stage)
    outcome = stage.run([CAPELIN], LATENCY, paced=45)
    assert outcome.figures["capelin"][Figure.LATENCY_P50] == [pytest.approx(0.003)]
    assert outcome.figures["capelin"][Figure.LATENCY_P99] == [pytest.approx(0.008)]
    assert outcome.account("capelin").started == 45


def test_a_run_without_capelins_latency_has_no_unit(stage: _Stage) -> None:
    assert Unit.RAW_PACED not in stage.run([HUEY], LATENCY).units
    assert Unit.RAW_PACED not in stage.run([CAPELIN], SIDE_BY_SIDE).units


def test_a_run_of_before_there_were_turns_still_makes_a_page() -> None:
    outcome = Outcome()
    outcome.note("capelin", Figure.ENQUEUE_ONE, 4000.0)
    plan = Plan(systems=[_measured(CAPELIN)], scenarios=SCENARIOS, scale=_SCALE, rounds=1)
    machine: dict[str, str] = dict.fromkeys(
        ("cpu", "cores", "memory", "system", "python", "load before"), "x"
    )
    old = as_json(Results(outcome=outcome, plan=plan, machine=machine, redis="7", unavailable=[]))
    assert "beside its limits" not in fill(f"{BEGIN}{END}", old)
    outcome.note("capelin", Figure.ENQUEUE_SHARE, 0.871)
    new = as_json(Results(outcome=outcome, plan=plan, machine=machine, redis="7", unavailable=[]))
    assert "| capelin | 87.1 |" in fill(f"{BEGIN}{END}", new)
