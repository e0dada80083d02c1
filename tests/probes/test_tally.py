"""What is counted of what rarely happens, and under which labels."""

from typing import Any

import pytest

from capelin.keys import Keys
from capelin.lua import Delivery, OutcomeRow, Reaped, Verdict
from capelin.metrics import catalog
from capelin.metrics.catalog import BOUNDS, Metric
from capelin.metrics.tally import Tally
from capelin.workers.running import Start

SHARD = Keys("capelin").shard("emails", 3)
NOW = 1_790_000_000_000


def job(task: str = "send", *, token: int = 1, entered: int = NOW, **more: Any) -> Delivery:
    """A delivery of a job that entered its stream at that moment."""
    fields: dict[str, Any] = {
        "uid": "u",
        "place": f"4:{entered}-7",
        "token": token,
        "task": task,
        "digest": "d",
        "args": b"",
        "attempt": 0,
        "crashes": 0,
        "timeout": None,
        "retry": "",
        "headers": None,
        "parent": "",
        "enqueued": entered,
        "expires": None,
        "cancel": False,
        "first": None,
        "correlation": "",
        "batch": "",
        "schedule": "",
        "tick": None,
        "priority": "normal",
    }
    return Delivery(**{**fields, **more})


def starts(*deliveries: Delivery) -> list[Start]:
    return [Start(SHARD, delivery) for delivery in deliveries]


@pytest.fixture
def tally() -> Tally:
    return Tally({"send": "send", "mail": "send"})


def value(tally: Tally, metric: Metric, *labels: str) -> float:
    return tally.figures().values[metric.name][labels]


def end(
    tally: Tally, kind: str, verdict: Verdict = Verdict.RECORDED, body: str = "", failure: str = ""
) -> None:
    row = OutcomeRow("u", 1, kind, body, failure=failure)
    tally.recorded(SHARD, [(Start(SHARD, job()), row)], [verdict])


def test_an_alias_is_counted_as_its_task_and_a_stranger_as_other(tally: Tally) -> None:
    tally.took(SHARD, starts(job("send"), job("mail"), job("nobody-knows-it"), job("nor-this")), NOW)
    assert value(tally, catalog.STARTED, "emails", "send", "normal") == 2
    assert value(tally, catalog.STARTED, "emails", "other", "normal") == 2


@pytest.mark.parametrize(
    ("delivery", "seconds"),
    [
        (job(entered=NOW - 200), 0.2),
        (job(entered=NOW, due=NOW - 3000, enqueued=NOW - 9000), 3.0),
        (job(entered=NOW - 100, enqueued=NOW - 60_000), 0.1),
        (job(entered=NOW + 5), 0.0),
    ],
    ids=[
        "at once",
        "delayed, and promoted late",
        "a follower, freed a moment ago",
        "a clock that was set back",
    ],
)
def test_a_wait_counts_from_when_a_job_was_ready(tally: Tally, delivery: Delivery, seconds: float) -> None:
    tally.took(SHARD, starts(delivery), NOW)
    *counts, total = tally.figures().histograms[catalog.WAIT.name]["emails", "normal"]
    assert total == pytest.approx(seconds)
    [bucket] = [place for place, count in enumerate(counts) if count]
    assert bucket == sum(bound < seconds for bound in BOUNDS)


def test_only_the_first_start_of_a_job_waits(tally: Tally) -> None:
    tally.took(SHARD, starts(job(token=2, entered=NOW - 5000)), NOW)
    assert value(tally, catalog.STARTED, "emails", "send", "normal") == 1
    assert sum(tally.figures().histograms[catalog.WAIT.name]["emails", "normal"]) == 0


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("ValueError", "failed"),
        ("Reject", "rejected"),
        ("InvalidArguments", "invalid_arguments"),
        ("torn", "torn"),
    ],
)
def test_reasons_of_deaths_are_few(tally: Tally, body: str, reason: str) -> None:
    end(tally, "dead", body=body, failure="{}")
    assert value(tally, catalog.DEAD, "emails", "send", reason) == 1
    assert value(tally, catalog.FAILED, "emails", "send", "dead") == 1


def test_an_attempt_that_failed_in_a_job_that_was_cancelled_is_no_retry(tally: Tally) -> None:
    end(tally, "retry", Verdict.CANCELLED, failure="{}")
    assert value(tally, catalog.FAILED, "emails", "send", "cancelled") == 1
    assert value(tally, catalog.RETRIED, "emails", "send") == 0


@pytest.mark.parametrize("verdict", [Verdict.STALE, Verdict.TORN])
def test_what_was_refused_did_not_complete(tally: Tally, verdict: Verdict) -> None:
    end(tally, "complete", verdict)
    assert value(tally, catalog.REFUSED, "emails", verdict.value) == 1
    assert value(tally, catalog.COMPLETED, "emails", "send") == 0


def test_an_outcome_whose_reply_was_lost_counts_once_it_is_known(tally: Tally) -> None:
    end(tally, "complete", Verdict.REPEATED)
    assert value(tally, catalog.COMPLETED, "emails", "send") == 1


def test_doors_other_than_a_take_count_as_starts_too(tally: Tally) -> None:
    tally.stole(SHARD, starts(job()), NOW)
    tally.adopted(SHARD, starts(job()))
    tally.stole(SHARD, [], NOW)
    assert value(tally, catalog.STOLEN, "emails") == 1
    assert value(tally, catalog.ADOPTED, "emails") == 1
    assert value(tally, catalog.STARTED, "emails", "send", "normal") == 2


def test_what_upkeep_finds_is_counted(tally: Tally) -> None:
    tally.reaped(SHARD, Reaped(returned=["a", "b"], buried=["c"], cancelled=1, dead=["w"], more=False))
    tally.buried(SHARD, 4)
    tally.set_aside(SHARD, 2)
    assert [value(tally, catalog.REAPED, "emails", what) for what in ("returned", "dead", "cancelled")] == [
        2,
        1,
        1,
    ]
    for reason, jobs in {"worker_lost": 1, "parked_too_long": 4, "torn": 2}.items():
        assert value(tally, catalog.DEAD, "emails", "other", reason) == jobs
