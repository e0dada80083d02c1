"""Retry policies: tenacity's parts, asked between two attempts; and the outcomes that a task raises."""

import pickle
import warnings
from datetime import UTC, datetime, timedelta, timezone
from threading import Event
from typing import Any

import pytest
import tenacity
from hypothesis import given
from hypothesis import strategies as st
from tenacity import (
    retry_always,
    retry_any,
    retry_if_exception,
    retry_if_exception_cause_type,
    retry_if_exception_message,
    retry_if_exception_type,
    retry_if_not_exception_type,
    retry_if_not_result,
    retry_if_result,
    retry_never,
    stop_after_attempt,
    stop_after_delay,
    stop_all,
    stop_any,
    stop_before_delay,
    stop_never,
    stop_when_event_set,
    wait_chain,
    wait_combine,
    wait_exponential,
    wait_exponential_jitter,
    wait_fixed,
    wait_incrementing,
    wait_none,
    wait_random,
    wait_random_exponential,
)
from tenacity.asyncio.retry import retry_if_exception as async_retry_if_exception

from capelin.errors import InvalidOption
from capelin.narrow import is_tuple
from capelin.retry import Reject, Retry, RetryPolicy, Snooze


class Flaky(Exception):
    """An exception of the user's own."""


class TwiceOnly(tenacity.stop.stop_base):
    """A stop of the user's own."""

    def __call__(self, retry_state: tenacity.RetryCallState) -> bool:
        return retry_state.attempt_number >= 2


def waits(policy: RetryPolicy, *, exception: Exception | None = None, at_most: int = 20) -> list[float]:
    """The waits before each further attempt, until the policy gives up."""
    result: list[float] = []
    for attempt in range(1, at_most + 1):
        wait = policy.decide(attempt=attempt, exception=exception or Flaky("no"), elapsed=float(attempt))
        if wait is None:
            break
        result.append(wait)
    return result


def test_the_default_is_three_attempts_with_jittered_waits_of_one_to_sixty_seconds() -> None:
    policy = RetryPolicy()

    first, second = waits(policy)

    assert 1 <= first <= 2
    assert 2 <= second <= 3
    assert policy.wait(_state(attempt=30)) == 60


def _state(*, attempt: int) -> tenacity.RetryCallState:
    state = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
    state.attempt_number = attempt
    return state


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (RetryPolicy(stop=stop_after_attempt(4), wait=wait_fixed(5)), [5, 5, 5]),
        (RetryPolicy(stop=stop_after_attempt(1)), []),
        (RetryPolicy(stop=stop_after_attempt(4), wait=wait_none()), [0, 0, 0]),
        (RetryPolicy(stop=stop_after_attempt(4), wait=wait_incrementing(1, 2, 4)), [1, 3, 4]),
        (RetryPolicy(stop=stop_after_attempt(5), wait=wait_exponential(max=4)), [1, 2, 4, 4]),
        (RetryPolicy(stop=stop_after_attempt(4), wait=wait_chain(wait_fixed(1), wait_fixed(9))), [1, 9, 9]),
        (
            RetryPolicy(stop=stop_after_attempt(3), wait=wait_fixed(1) + wait_fixed(timedelta(minutes=1))),
            [61, 61],
        ),
        (RetryPolicy(stop=stop_after_delay(3), wait=wait_none()), [0, 0]),
        (RetryPolicy(stop=stop_before_delay(4), wait=wait_fixed(2)), [2]),
        (RetryPolicy(stop=stop_after_attempt(9) | stop_after_delay(3), wait=wait_none()), [0, 0]),
        (RetryPolicy(stop=stop_after_attempt(2) & stop_after_delay(4), wait=wait_none()), [0, 0, 0]),
        (RetryPolicy(stop=TwiceOnly(), wait=wait_fixed(1)), [1]),
        (RetryPolicy(stop=stop_never, wait=wait_none()), [0] * 20),
        (RetryPolicy(retry=retry_never), []),
        (RetryPolicy(wait=wait_none(), retry=retry_if_exception_type(OSError)), []),
        (RetryPolicy(wait=wait_none(), retry=retry_if_exception_type((OSError, Flaky))), [0, 0]),
        (RetryPolicy(wait=wait_none(), retry=retry_if_not_exception_type(Flaky)), []),
        (RetryPolicy(wait=wait_none(), retry=retry_if_exception_message(match="n")), [0, 0]),
        (RetryPolicy(wait=wait_none(), retry=retry_if_exception(lambda error: str(error) == "yes")), []),
        (RetryPolicy(wait=wait_none(), retry=retry_if_exception_cause_type(OSError)), []),
        (RetryPolicy(wait=wait_none(), retry=retry_any(retry_never, retry_always)), [0, 0]),
        (RetryPolicy(wait=wait_none(), retry=retry_always & retry_never), []),
    ],
)
def test_tenacitys_parts_decide_between_two_attempts(policy: RetryPolicy, expected: list[float]) -> None:
    assert waits(policy) == expected


def test_a_delay_counts_from_the_first_start() -> None:
    policy = RetryPolicy(stop=stop_after_delay(60), wait=wait_fixed(1))

    assert policy.decide(attempt=1, exception=Flaky(), elapsed=59.9) == 1
    assert policy.decide(attempt=1, exception=Flaky(), elapsed=60.0) is None


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1)])
def test_what_is_no_error_of_the_task_is_not_retried(error: BaseException) -> None:
    assert RetryPolicy().decide(attempt=1, exception=error, elapsed=0) is None


def test_a_predicate_that_raises_ends_the_job_and_is_told() -> None:
    def broken(error: BaseException) -> bool:
        raise KeyError(f"bug for {error}")

    error = Flaky("no")

    assert RetryPolicy(retry=retry_if_exception(broken)).decide(attempt=1, exception=error, elapsed=0) is None
    assert error.__notes__ == ["the retry policy raised KeyError: 'bug for no'"]


def test_a_wait_that_is_no_number_of_seconds_ends_the_job_and_is_told() -> None:
    error = Flaky("no")
    policy = RetryPolicy(wait=wait_fixed(float("inf")))

    assert policy.decide(attempt=1, exception=error, elapsed=0) is None
    assert error.__notes__ == ["the retry policy raised ValueError: the wait is inf s"]


def test_a_negative_wait_is_none() -> None:
    assert RetryPolicy(wait=wait_fixed(-5)).decide(attempt=1, exception=Flaky(), elapsed=0) == 0


async def _asynchronous(_error: BaseException) -> bool:
    return True


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"retry": retry_if_result(bool)}, "a job that returned is completed; raise Retry"),
    ({"retry": retry_if_not_result(bool)}, "a job that returned is completed"),
    ({"retry": retry_any(retry_always, retry_if_result(bool))}, "a job that returned is completed"),
    ({"retry": retry_always & (retry_never | retry_if_result(bool))}, "a job that returned is completed"),
    ({"stop": stop_when_event_set(Event())}, "an event lives in one process"),
    ({"stop": stop_any(stop_never, stop_all(stop_never, stop_when_event_set(Event())))}, "an event lives in"),
    ({"retry": retry_if_exception(_asynchronous)}, "the predicate is asynchronous"),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ({"retry": async_retry_if_exception(_asynchronous)}, "the predicate is asynchronous"),
    ({"stop": 3}, "expected a tenacity stop (an instance of stop_base)"),
    ({"wait": 5}, "expected a tenacity wait"),
    ({"wait": timedelta(seconds=5)}, "expected a tenacity wait"),
    ({"wait": stop_never}, "expected a tenacity wait"),
    ({"retry": OSError}, "expected a tenacity retry"),
    ({"retry": lambda _state: True}, "expected a tenacity retry"),  # pyright: ignore[reportUnknownLambdaType]
    ({"stop": stop_any(stop_never, lambda _state: True)}, "expected a tenacity stop"),  # type: ignore[arg-type]
    ({"wait": None}, "expected a tenacity wait"),
]


@pytest.mark.parametrize(("parts", "why"), REFUSED)
def test_what_makes_no_sense_without_tenacitys_loop_is_refused_at_construction(
    parts: dict[str, Any], why: str
) -> None:
    with pytest.raises(InvalidOption) as error:
        RetryPolicy(**parts)

    assert why in str(error.value)


def test_a_policy_is_a_value() -> None:
    policy = RetryPolicy()

    with pytest.raises(AttributeError):
        policy.stop = stop_never  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


# As JSON, for one job


SIMPLE = (
    '{"stop":["stop_after_attempt",{"max_attempt_number":5}],"wait":["wait_fixed",{"wait":2.0}],'
    '"retry":["retry_if_exception_type",["Exception"]]}'
)
COMBINED = (
    '{"stop":["stop_any",[["stop_never"],["stop_after_delay",{"max_delay":60.0}]]],'
    '"wait":["wait_combine",[["wait_none"],["wait_random",{"min":1.0,"max":3.0}]]],'
    '"retry":["retry_any",[["retry_if_exception_type",["OSError","ValueError"]],["retry_never"]]]}'
)
WRITTEN: list[tuple[RetryPolicy, str]] = [
    (RetryPolicy(stop=stop_after_attempt(5), wait=wait_fixed(timedelta(seconds=2))), SIMPLE),
    (
        RetryPolicy(
            stop=stop_any(stop_never, stop_after_delay(60)),
            wait=wait_combine(wait_none(), wait_random(1, 3)),
            retry=retry_if_exception_type((OSError, ValueError)) | retry_never,
        ),
        COMBINED,
    ),
]


@pytest.mark.parametrize(("policy", "text"), WRITTEN)
def test_a_policy_is_written_as_names_and_numbers(policy: RetryPolicy, text: str) -> None:
    assert policy.to_json() == text


@pytest.mark.parametrize(
    "policy",
    [
        RetryPolicy(),
        RetryPolicy(stop=stop_before_delay(9), wait=wait_exponential(2, 30, 3, 1)),
        RetryPolicy(stop=stop_all(stop_never, stop_after_attempt(2)), wait=wait_incrementing(1, 2, 3)),
        RetryPolicy(wait=wait_chain(wait_fixed(1), wait_random_exponential(multiplier=2, max=9))),
        RetryPolicy(wait=wait_exponential_jitter(max=9, exp_base=3, jitter=2)),
        RetryPolicy(retry=retry_always),
        RetryPolicy(retry=retry_if_not_exception_type(KeyError) & retry_always),
    ],
)
def test_a_policy_that_was_written_is_the_same_policy(policy: RetryPolicy) -> None:
    back = RetryPolicy.from_json(policy.to_json())

    assert back.to_json() == policy.to_json()
    for one, other in ((back.stop, policy.stop), (back.wait, policy.wait), (back.retry, policy.retry)):
        assert type(one) is type(other)
        assert _plain(one) == _plain(other)


def _plain(part: object) -> dict[str, Any]:
    return {
        name: [_plain(inner) for inner in value] if is_tuple(value) else value
        for name, value in vars(part).items()
        if not callable(value) and name != "exception_types"
    }


def test_the_first_wait_of_a_jittered_policy_is_kept() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # tenacity 9.2 would rather say multiplier
        policy = RetryPolicy(wait=wait_exponential_jitter(initial=7, max=70, jitter=0))

    assert waits(RetryPolicy.from_json(policy.to_json())) == [7, 14]


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.integers(1, 100))
def test_numbers_come_back_exactly(first: float, most: float, attempts: int) -> None:
    policy = RetryPolicy(stop=stop_after_attempt(attempts), wait=wait_incrementing(first, 1, most))

    back = RetryPolicy.from_json(policy.to_json())

    assert vars(back.wait) == vars(policy.wait)
    assert vars(back.stop) == vars(policy.stop)


@pytest.mark.parametrize(
    ("policy", "what"),
    [
        (RetryPolicy(stop=TwiceOnly()), "TwiceOnly"),
        (RetryPolicy(stop=stop_any(stop_never, TwiceOnly())), "TwiceOnly"),
        (RetryPolicy(retry=retry_if_exception(lambda _error: True)), "retry_if_exception;"),
        (RetryPolicy(retry=retry_if_exception_message(message="x")), "retry_if_exception_message"),
        (RetryPolicy(retry=retry_if_exception_type(Flaky)), "built-in exceptions only"),
        (RetryPolicy(wait=wait_fixed(float("inf"))), "not a finite number, in wait_fixed"),
    ],
)
def test_a_policy_that_names_and_numbers_cannot_rebuild_belongs_on_the_task(
    policy: RetryPolicy, what: str
) -> None:
    with pytest.raises(InvalidOption, match=r"set the policy on the task \(retry=\)") as error:
        policy.to_json()

    assert what in str(error.value)


def test_a_part_with_more_in_it_than_names_and_numbers_belongs_on_the_task() -> None:
    wait = wait_fixed(1)
    vars(wait)["of_another_release"] = 5

    with pytest.raises(
        InvalidOption, match="this tenacity's wait_fixed is not known; set the policy on the task"
    ):
        RetryPolicy(wait=wait).to_json()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"stop":"stop_never"}',
        '{"stop":[]}',
        '{"stop":[5]}',
        '{"stop":["stop_never",{},1]}',
        '{"stop":["os.system",["ls"]]}',
        '{"stop":["wait_none"]}',
        '{"stop":["stop_after_attempt"]}',
        '{"stop":["stop_after_attempt",{"max_attempt_number":"3"}]}',
        '{"stop":["stop_after_attempt",[3]]}',
        '{"wait":["wait_chain",[]]}',
        '{"wait":["wait_chain",{"a":1}]}',
        '{"stop":["stop_any"]}',
        '{"wait":["wait_fixed",{"wait":NaN}]}',
        '{"retry":["retry_if_exception_type",["print"]]}',
        '{"retry":["retry_if_exception_type",["Flaky"]]}',
        '{"retry":["retry_if_exception_type",[5]]}',
        '{"retry":["retry_if_exception_type",{"a":1}]}',
        '{"stop":["stop_never"],"sleep":["x"]}',
    ],
)
def test_a_text_that_is_no_policy_is_refused(text: str) -> None:
    with pytest.raises(InvalidOption, match="retry="):
        RetryPolicy.from_json(text)


def test_what_a_text_leaves_out_is_the_default() -> None:
    policy = RetryPolicy.from_json('{"stop":["stop_after_attempt",{"max_attempt_number":2}]}')

    assert len(waits(policy)) == 1
    assert vars(policy.wait) == vars(RetryPolicy().wait)


# Outcomes that a task raises

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_a_retry_names_its_delay_or_leaves_it_to_the_policy() -> None:
    assert Retry().seconds_from(NOW) is None
    assert Retry(5).seconds_from(NOW) == 5
    assert Retry(delay=timedelta(minutes=1)).seconds_from(NOW) == 60
    assert Retry(at=NOW + timedelta(seconds=9)).seconds_from(NOW) == 9
    assert Retry(at=NOW - timedelta(seconds=9)).seconds_from(NOW) == 0


def test_a_snooze_names_its_delay_or_moment() -> None:
    assert Snooze(delay=0).seconds_from(NOW) == 0
    assert Snooze(60).seconds_from(NOW) == 60
    assert Snooze(at=NOW.astimezone(timezone(timedelta(hours=5)))).seconds_from(NOW) == 0


def test_a_rejection_says_why() -> None:
    assert str(Reject("no such order")) == "no such order"
    assert Reject().reason == "rejected"


@pytest.mark.parametrize("kind", [Retry, Snooze])
@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"delay": -1}, "must be at least 0 s"),
        ({"delay": float("nan")}, "must be finite"),
        ({"delay": "5"}, "expected seconds"),
        ({"delay": True}, "expected seconds"),
        ({"delay": 5, "at": NOW}, "give either delay or at"),
        ({"at": NOW.replace(tzinfo=None)}, "a naive datetime means another moment on every machine"),
        ({"at": 5}, "expected an aware datetime"),
    ],
)
def test_an_outcome_is_checked_where_it_is_raised(kind: type[Any], options: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidOption, match=why):
        kind(**options)


def test_a_snooze_without_a_time_is_refused() -> None:
    with pytest.raises(InvalidOption, match="Snooze needs a delay, or at"):
        Snooze()


@pytest.mark.parametrize("outcome", [Retry(5), Retry(), Retry(at=NOW), Snooze(60), Reject("why")])
def test_outcomes_cross_process_boundaries(outcome: Retry | Snooze | Reject) -> None:
    back = pickle.loads(pickle.dumps(outcome))  # noqa: S301 -- what the process pool does

    assert type(back) is type(outcome)
    assert vars(back) == vars(outcome)
    assert str(back) == str(outcome)
