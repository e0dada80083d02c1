"""Metrics: what a worker says equals what happened, and names and labels are those of the catalog."""

from datetime import timedelta
from typing import Any

import pytest

from capelin import Capelin
from capelin.admin.access import open_access
from capelin.metrics import catalog
from capelin.metrics.catalog import CATALOG, Kind, Scope
from capelin.metrics.figures import Figures
from capelin.probes.fleet import fleet_figures
from capelin.settings import Settings
from tests.probes.asking import Samples
from tests.probes.conftest import Ask
from tests.support.waiting import wait_until, wait_until_sync

UNITS = ("_seconds", "_timestamp_seconds")


async def test_what_is_counted_is_what_happened(ask: Ask, client: Capelin[Any]) -> None:
    worker = ask()
    worker.until_ready()
    before = worker.metrics()
    for first in ({"task": "hopeless", "reason": "failed"}, {"queue": "other", "reason": "worker_lost"}):
        assert before.all("capelin_jobs_dead_total", first) == [0], (
            "the first increment must not be the birth"
        )
    assert before.all("capelin_jobs_completed_total", {"task": "quick"}) == [0]
    quick, hopeless = client.task_named("quick"), client.task_named("hopeless")
    await client.enqueue([quick.job(number) for number in range(5)])
    await quick.options(priority="high").enqueue(5)
    await quick.options(delay=0.2).enqueue(6)
    await hopeless.enqueue()
    await client.task_named("refuse", queue="other").enqueue()
    await client.task_named("unknown").enqueue()
    later = await quick.options(delay=3600, dedupe_key="k").enqueue(7)
    await quick.options(delay=3600, dedupe_key="k").enqueue(8)
    await later.cancel()
    expected: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {
        ("jobs_started_total", (("task", "quick"), ("priority", "normal"))): 6,
        ("jobs_started_total", (("task", "quick"), ("priority", "high"))): 1,
        ("jobs_started_total", (("task", "hopeless"),)): 3,
        ("jobs_started_total", (("task", "other"),)): 1,
        ("jobs_completed_total", ()): 7,
        ("jobs_failed_total", (("task", "hopeless"), ("outcome", "retried"))): 2,
        ("jobs_failed_total", (("task", "hopeless"), ("outcome", "dead"))): 1,
        ("jobs_failed_total", (("queue", "other"), ("outcome", "dead"))): 1,
        ("jobs_retried_total", (("task", "hopeless"),)): 2,
        ("jobs_dead_total", (("task", "hopeless"), ("reason", "failed"))): 1,
        ("jobs_dead_total", (("queue", "other"), ("reason", "rejected"))): 1,
        ("jobs_parked_total", (("task", "other"),)): 1,
        ("jobs_enqueued_total", (("queue", "default"),)): 10,
        ("jobs_enqueued_total", (("queue", "other"),)): 1,
        ("jobs_duplicate_total", ()): 1,
        ("jobs_cancelled_total", ()): 1,
        ("job_run_seconds_count", (("task", "quick"),)): 7,
        ("job_end_to_end_seconds_count", (("task", "quick"),)): 7,
        ("job_wait_seconds_count", (("queue", "default"), ("priority", "normal"))): 8,
        ("queue_dlq", ()): 2,
        ("queue_parked", (("queue", "default"),)): 1,
        ("queue_running", ()): 0,
        ("queue_scheduled", ()): 0,
        ("queue_depth", ()): 0,
        ("leader", ()): 1,
        ("shard_leases", ()): 16,
    }

    def said() -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        samples = worker.metrics()
        return {(name, labels): samples.of(f"capelin_{name}", **dict(labels)) for name, labels in expected}

    try:
        wait_until_sync(lambda: said() == expected, description="the figures")
    except AssertionError:
        assert said() == expected
    samples = worker.metrics()
    waits = samples.of("capelin_job_wait_seconds_sum") / samples.of("capelin_job_wait_seconds_count")
    assert waits < 0.5, "a delay that was asked for is no wait"
    assert samples.of("capelin_job_end_to_end_seconds_sum", task="quick") < 2
    _agrees_with_the_catalog(samples)


def _agrees_with_the_catalog(samples: Samples) -> None:
    known = {f"capelin_{metric.name}": metric for metric in CATALOG}
    assert {family.name for family in samples.families} == set(known)
    for family in samples.families:
        metric = known[family.name]
        assert (family.type, family.documentation) == (metric.kind, metric.help)
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(metric.labels), sample
    shown = {sample.name.removesuffix("_total").removeprefix("capelin_") for sample in samples.samples}
    silent = {metric.name for metric in CATALOG if metric.kind is not Kind.HISTOGRAM} - shown
    assert silent == {
        *(metric.name for metric in CATALOG if metric.name.startswith(("schedule_", "singleton_"))),
        "jobs_snoozed",
        "jobs_returned",
    }


async def test_figures_of_the_fleet_are_exported_once_by_whoever_leads(
    ask: Ask, client: Capelin[Any]
) -> None:
    workers = [ask(), ask()]
    for worker in workers:
        worker.until_ready()
    await client.task_named("quick").options(delay=3600).enqueue(1)

    def seen() -> list[list[float]]:
        return [worker.metrics().all("capelin_queue_scheduled", {"queue": "default"}) for worker in workers]

    wait_until_sync(lambda: sorted(seen()) == [[], [1.0]], description="one of them to say it")
    [leader] = [worker for worker in workers if worker.metrics().of("capelin_leader") == 1]
    fleet_wide = {f"capelin_{metric.name}" for metric in CATALOG if metric.scope is Scope.FLEET}
    for worker in workers:
        said = {family.name for family in worker.metrics().families if family.samples} & fleet_wide
        assert bool(said) is (worker is leader)
    leader.process.kill()
    workers.remove(leader)
    wait_until_sync(lambda: seen() == [[1.0]], description="the other to say it")


async def test_backlog_is_right_while_entries_are_deleted(backend_url: str) -> None:
    async with (
        Capelin(backend_url, name="client") as app,
        open_access(backend_url, prefix="capelin", settings=Settings()) as access,
    ):
        task = app.task_named("t", queue="q")
        first = await task.enqueue(0)
        jobs = await app.enqueue([task.options(priority="low").job(number) for number in range(20)])

        async def figure(metric: catalog.Metric, *labels: str) -> float:
            return (await fleet_figures(access)).values[metric.name].get(labels, -1.0)

        assert await figure(catalog.DEPTH, "q", "low") == 20
        assert await figure(catalog.DEPTH, "q", "normal") == 1
        # Older than a second by Redis's clock, which nobody can set.
        await wait_until(lambda: _older(figure), description="the first to be old", timeout=5)
        for job in [first, *jobs[::2]]:
            await job.cancel()
        assert await figure(catalog.DEPTH, "q", "low") == 10
        assert await figure(catalog.DEPTH, "q", "normal") == 0
        assert await figure(catalog.CANCELLED, "q") == 11
        for job in jobs[1::2]:
            await job.cancel()
        assert await figure(catalog.OLDEST, "q") == 0
        late = await task.options(delay=timedelta(milliseconds=1)).enqueue(1)
        await wait_until(
            lambda: _older(figure, 0.01), description="a due job to wait, though nobody promotes it"
        )
        await late.cancel()
        assert await figure(catalog.OLDEST, "q") == 0


async def _older(figure: Any, than: float = 0.3) -> bool:
    return bool(await figure(catalog.OLDEST, "q") > than)


async def test_a_queue_for_each_customer_does_not_make_a_label_for_each(redis_url: str) -> None:
    async with (
        Capelin(redis_url, name="client", settings=Settings(shards=1)) as app,
        open_access(redis_url, prefix="capelin", settings=Settings()) as access,
    ):
        names = [f"customer-{number:03}" for number in range(205)]
        await app.enqueue([app.task_named("t", queue=name).job() for name in names])
        depth = (await fleet_figures(access)).values[catalog.DEPTH.name]
        waiting = {queue: jobs for (queue, priority), jobs in depth.items() if priority == "normal"}
        assert waiting == {**dict.fromkeys(names[:200], 1), "other": 5}


# Names.


@pytest.mark.parametrize("metric", CATALOG, ids=lambda metric: metric.name)
def test_names_and_labels_follow_prometheus(metric: catalog.Metric) -> None:
    assert metric.name == metric.name.lower()
    assert not metric.name.endswith(("_total", "_count", "_sum", "_bucket"))
    assert metric.exported.endswith("_total") is (metric.kind is Kind.COUNTER)
    if metric.kind is Kind.HISTOGRAM:
        assert metric.name.endswith(UNITS)
    assert not set(metric.labels) & {"le", "job", "instance", "worker"}, "bounded, and not Prometheus's own"
    assert metric.help.endswith(".")


def test_figures_of_several_processes_become_one() -> None:
    one, other = Figures(), Figures()
    for figures in (one, other):
        figures.add(catalog.COMPLETED, ("q", "t"), 2)
        figures.add(catalog.LAG, (), 0.5 if figures is one else 0.25)
        figures.add(catalog.DLQ, ("q",), 7)
        figures.add(catalog.ENQUEUED, ("q",), 9)
        figures.observe(catalog.RUN, ("q", "t"), [1.0] * 20)
    total = Figures.from_json(one.to_json())
    total.take_in(Figures.from_json(other.to_json()))
    assert total.values["jobs_completed"] == {("q", "t"): 4}
    assert total.values["event_loop_lag_seconds"] == {(): 0.5}
    assert total.values["queue_dlq"] == {("q",): 7}, "read twice from the same Redis"
    assert total.values["jobs_enqueued"] == {("q",): 9}, "the same"
    assert total.histograms["job_run_seconds"] == {("q", "t"): [2.0] * 20}
    kept = total.counted()
    assert set(kept.values) == {"jobs_completed"}
    assert set(kept.histograms) == {"job_run_seconds"}
