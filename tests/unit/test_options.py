"""Options of tasks and of calls: checked at the edge, laid over each other, in plain units."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from tenacity import retry_if_exception, stop_after_attempt, wait_fixed

from capelin.errors import InvalidName, InvalidOption
from capelin.options import (
    UNSET,
    CallOptions,
    EffectiveOptions,
    RequestFields,
    TaskOptions,
    milliseconds_since_epoch,
)
from capelin.priority import Priority
from capelin.requests import JobRequest, OnDuplicate
from capelin.retry import RetryPolicy

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
POLICY = RetryPolicy(stop=stop_after_attempt(2), wait=wait_fixed(1))
THEN = JobRequest[None](task="archive", queue="default")


def test_a_task_without_options_has_capelins_own() -> None:
    options = TaskOptions().effective()

    assert (options.queue, options.priority, options.timeout) == ("default", Priority.NORMAL, None)
    assert (options.retention, options.on_failure, options.max_crashes) == (None, None, None)
    assert options.retry.to_json() == RetryPolicy().to_json()


def test_options_are_given_in_plain_units() -> None:
    options = TaskOptions(
        queue="emails",
        priority="high",
        timeout=timedelta(minutes=1),
        retry=POLICY,
        retention=timedelta(days=1),
        on_failure="alert",
        max_crashes=1,
        min_replicas=2,
        fsync=True,
    )

    assert options.effective() == EffectiveOptions(
        queue="emails",
        priority=Priority.HIGH,
        timeout=60.0,
        retry=POLICY,
        retention=86400.0,
        on_failure="alert",
        max_crashes=1,
        min_replicas=2,
        fsync=True,
    )


def test_what_is_not_given_comes_from_the_defaults() -> None:
    own = TaskOptions(priority="low", timeout=None, on_failure=None)
    defaults = TaskOptions(queue="emails", priority="high", timeout=30, on_failure="alert", max_crashes=2)

    laid = own.over(defaults)

    assert (laid.queue, laid.priority, laid.timeout, laid.on_failure) == ("emails", "low", None, None)
    assert laid.max_crashes == 2
    assert laid.retry is UNSET


def test_the_nearest_defaults_win() -> None:
    app, group = TaskOptions(queue="app", timeout=1), TaskOptions(queue="group")

    laid = TaskOptions().over(group).over(app)

    assert (laid.queue, laid.timeout) == ("group", 1)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"queue": "a b"}, "queue name 'a b' is not allowed"),
        ({"queue": ""}, "queue name '' is not allowed"),
        ({"queue": None}, "a name is a string"),
        ({"priority": "urgent"}, "expected one of 'critical', 'high', 'normal', 'low'"),
        ({"priority": 1}, "expected one of"),
        ({"timeout": 0}, "must be more than 0 s"),
        ({"timeout": -1}, "must be at least 0 s"),
        ({"timeout": float("inf")}, "must be finite"),
        ({"timeout": "30"}, "expected seconds"),
        ({"retry": 3}, "expected a RetryPolicy"),
        ({"retry": stop_after_attempt(3)}, "expected a RetryPolicy"),
        ({"retention": -1}, "must be at least 0 s"),
        ({"on_failure": print}, "expected a task, or the name of one"),
        ({"on_failure": "a b"}, "task name 'a b' is not allowed"),
        ({"max_crashes": 0}, "expected a whole number, at least 1"),
        ({"max_crashes": True}, "expected a whole number, at least 1"),
        ({"max_crashes": 1.5}, "expected a whole number, at least 1"),
        ({"min_replicas": -1}, "expected a whole number, at least 0"),
        ({"min_replicas": True}, "expected a whole number, at least 0"),
        ({"fsync": 1}, "expected True or False"),
    ],
)
def test_an_option_of_a_task_that_makes_no_sense_is_refused(options: dict[str, Any], why: str) -> None:
    with pytest.raises((InvalidOption, InvalidName)) as error:
        TaskOptions(**options)

    assert why in str(error.value)


@pytest.mark.parametrize("kind", [TaskOptions, CallOptions])
def test_an_option_that_does_not_exist_is_a_type_error(kind: type[Any]) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'queu'"):
        kind(queu="emails")


CALLS: list[tuple[CallOptions, RequestFields]] = [
    (CallOptions(), {}),
    (CallOptions(queue="emails"), {"queue": "emails"}),
    (CallOptions(priority="critical"), {"priority": Priority.CRITICAL}),
    (CallOptions(priority=Priority.LOW), {"priority": Priority.LOW}),
    (CallOptions(delay=0), {"delay": 0.0}),
    (CallOptions(delay=timedelta(minutes=1)), {"delay": 60.0}),
    (CallOptions(at=NOON), {"at": 1767268800000}),
    (CallOptions(expires=5), {"expires": 5.0}),
    (CallOptions(timeout=1.5), {"timeout": 1.5}),
    (CallOptions(retry=POLICY), {"retry": POLICY.to_json()}),
    (CallOptions(retention=0), {"retention": 0.0}),
    (CallOptions(dedupe_key="k"), {"dedupe_key": "k"}),
    (
        CallOptions(dedupe_key="k", dedupe_for=60, on_duplicate="replace"),
        {"dedupe_key": "k", "dedupe_for": 60.0, "on_duplicate": OnDuplicate.REPLACE},
    ),
    (CallOptions(shard_key="customer 7"), {"shard_key": "customer 7"}),
    (CallOptions(headers={"trace": "1", "": "ä"}), {"headers": {"trace": "1", "": "ä"}}),
    (CallOptions(then=THEN), {"then": THEN}),
    (CallOptions(batch_id="night.7"), {"batch_id": "night.7"}),
]


@pytest.mark.parametrize(("options", "fields"), CALLS)
def test_options_of_a_call_become_fields_of_its_request(options: CallOptions, fields: RequestFields) -> None:
    assert options.request_fields() == fields


def test_headers_are_copied() -> None:
    headers = {"trace": "1"}
    fields = CallOptions(headers=headers).request_fields()

    headers["trace"] = "2"

    assert fields.get("headers") == {"trace": "1"}


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"delay": 5, "at": NOON}, "give either delay or at, not both"),
        ({"at": NOON.replace(tzinfo=None)}, "a naive datetime means another moment on every machine"),
        ({"at": "tomorrow"}, "expected an aware datetime"),
        ({"at": 1767268800}, "expected an aware datetime"),
        ({"delay": -1}, "must be at least 0 s"),
        ({"delay": float("nan")}, "must be finite"),
        ({"expires": 0}, "must be more than 0 s"),
        ({"timeout": 0}, "must be more than 0 s"),
        ({"retention": -1}, "must be at least 0 s"),
        ({"priority": "urgent"}, "expected one of"),
        ({"queue": "a:b"}, "is not allowed"),
        ({"retry": RetryPolicy(retry=retry_if_exception(lambda _error: True))}, "set the policy on the task"),
        ({"retry": 3}, "expected a RetryPolicy"),
        ({"dedupe_key": "a", "shard_key": "b"}, "not together with dedupe_key"),
        ({"dedupe_key": ""}, "expected a string that is not empty"),
        ({"dedupe_key": 42}, "expected a string that is not empty"),
        ({"dedupe_key": "\ud800"}, "cannot be written as UTF-8"),
        ({"dedupe_key": "ä" * 513}, "at most 1024 bytes"),
        ({"dedupe_for": 60}, "it needs a dedupe_key"),
        ({"dedupe_key": "k", "dedupe_for": 0}, "must be more than 0 s"),
        ({"on_duplicate": "keep"}, "it needs a dedupe_key"),
        ({"dedupe_key": "k", "on_duplicate": "ignore"}, "expected one of 'keep', 'replace', 'follow'"),
        ({"shard_key": ""}, "expected a string that is not empty"),
        ({"headers": "trace"}, "expected a mapping of strings to strings"),
        ({"headers": {"trace": 1}}, "'trace' is 1"),
        ({"headers": {1: "trace"}}, "1 is 'trace'"),
        ({"headers": {"trace": "\udcff"}}, "'trace' cannot be written as UTF-8"),
        ({"batch_id": "night 7"}, "batch_id name 'night 7' is not allowed"),
        ({"batch_id": 7}, "a name is a string"),
        ({"min_replicas": "1"}, "expected a whole number, at least 0"),
        ({"fsync": "yes"}, "expected True or False"),
        ({"then": "archive"}, "expected a job, as archive.job(...)"),
        ({"then": JobRequest[None](task="t", queue="q", dedupe_key="k")}, "no dedupe_key and no shard_key"),
        ({"then": JobRequest[None](task="t", queue="q", shard_key="k")}, "no dedupe_key and no shard_key"),
    ],
)
def test_options_of_a_call_that_make_no_sense_are_refused(options: dict[str, Any], why: str) -> None:
    with pytest.raises((InvalidOption, InvalidName)) as error:
        CallOptions(**options)

    assert why in str(error.value)


@pytest.mark.parametrize(
    ("moment", "milliseconds"),
    [
        (datetime(1970, 1, 1, tzinfo=UTC), 0),
        (datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), 1000),
        (datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC), 1),
        (datetime(1970, 1, 1, 0, 0, 0, 1000, tzinfo=UTC), 1),
        (datetime(1970, 1, 1, 0, 0, 0, 1001, tzinfo=UTC), 2),
        (datetime(1970, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))), 0),
    ],
)
def test_a_moment_is_rounded_up_so_that_nothing_comes_early(moment: datetime, milliseconds: int) -> None:
    assert milliseconds_since_epoch(moment) == milliseconds
