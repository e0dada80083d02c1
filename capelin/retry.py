"""When a failed job is tried again: tenacity's stops, waits and exception predicates, asked once a failure.

tenacity's own loop never runs here: between two attempts a job waits in Redis, not in a process. A policy is
therefore asked with a hand-built ``RetryCallState``, and what makes no sense without the loop is refused when
the policy is made.
"""

import inspect
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self, cast

import tenacity
from tenacity.asyncio.retry import async_retry_base
from tenacity.retry import retry_base
from tenacity.stop import stop_base
from tenacity.wait import wait_base

from capelin.durations import Duration, seconds
from capelin.errors import InvalidOption
from capelin.retry_json import policy_from_json, policy_to_json

_ATTEMPTS = 3
_LONGEST_WAIT = 60.0


def _default_stop() -> stop_base:
    return tenacity.stop_after_attempt(_ATTEMPTS)


def _default_wait() -> wait_base:
    return tenacity.wait_exponential_jitter(max=_LONGEST_WAIT)  # the first wait is 1 s


def _default_retry() -> retry_base:
    return tenacity.retry_if_exception_type(Exception)


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """When and how often a failed job is tried again.

    The default: 3 attempts, jittered exponential waits of 1 to 60 s.

    Attributes:
        stop: A tenacity stop. ``stop_after_delay`` counts from the job's first start.
        wait: A tenacity wait.
        retry: A tenacity predicate on the exception.

    Raises:
        InvalidOption: Something is not a tenacity object, or is one that needs tenacity's own loop.

    Example:
        >>> from tenacity import stop_after_attempt, wait_fixed
        >>> policy = RetryPolicy(stop=stop_after_attempt(2), wait=wait_fixed(5))
        >>> policy.decide(attempt=1, exception=OSError("down"), elapsed=0.3)
        5.0
        >>> policy.decide(attempt=2, exception=OSError("down"), elapsed=6.1) is None
        True
    """

    stop: stop_base = field(default_factory=_default_stop)
    wait: wait_base = field(default_factory=_default_wait)
    retry: retry_base = field(default_factory=_default_retry)

    def __post_init__(self) -> None:
        _check("stop", self.stop, stop_base)
        _check("wait", self.wait, wait_base)
        _check("retry", self.retry, retry_base)

    def decide(self, *, attempt: int, exception: BaseException, elapsed: float) -> float | None:
        """Return how many seconds to wait before the next attempt, or None when the job goes to the DLQ.

        Args:
            attempt: Which attempt has failed, from 1.
            exception: What it raised.
            elapsed: Seconds since the job's first start.

        A policy that raises ends the job; its error is added to the exception as a note.
        """
        try:
            return self._decide(attempt, exception, elapsed)
        except Exception as cause:  # noqa: BLE001 -- predicates are the user's code: a broken one must not stop the worker
            exception.add_note(f"the retry policy raised {type(cause).__name__}: {cause}")
            return None

    def _decide(self, attempt: int, exception: BaseException, elapsed: float) -> float | None:
        state = tenacity.RetryCallState(_NO_LOOP, None, (), {})
        state.attempt_number = attempt
        outcome = tenacity.Future(attempt)
        outcome.set_exception(exception)
        state.outcome = outcome
        state.start_time, state.outcome_timestamp = 0.0, elapsed
        if not self.retry(state):
            return None
        # stop_before_delay looks at the wait to come, so the wait is asked for first.
        wait = float(self.wait(state))
        state.upcoming_sleep = wait
        if self.stop(state):
            return None
        if not math.isfinite(wait):
            raise ValueError(f"the wait is {wait} s")
        return max(0.0, wait)

    def to_json(self) -> str:
        """Return the policy as JSON, for a job that overrides its task's policy.

        Raises:
            InvalidOption: Part of it cannot be rebuilt from a name and numbers: set it on the task.
        """
        return json.dumps(policy_to_json(self.stop, self.wait, self.retry), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Return the policy that ``to_json`` wrote.

        Raises:
            InvalidOption: The text is not such a policy.
        """
        try:
            parsed: object = json.loads(text)
        except ValueError as cause:
            raise InvalidOption(option="retry", value=text, why=f"not JSON: {cause}") from cause
        if not isinstance(parsed, Mapping):
            raise InvalidOption(
                option="retry", value=text, why="expected an object with stop, wait and retry"
            )
        stop, wait, retry = policy_from_json(cast(Mapping[str, Any], parsed))
        return cls(
            stop=stop or _default_stop(), wait=wait or _default_wait(), retry=retry or _default_retry()
        )


_NO_LOOP = tenacity.Retrying()


def _check(option: str, value: object, base: type[object]) -> None:
    if not isinstance(value, base):
        raise InvalidOption(
            option=option, value=value, why=f"expected a tenacity {option} (an instance of {base.__name__})"
        )
    if isinstance(value, (tenacity.retry_if_result, tenacity.retry_if_not_result)):
        raise InvalidOption(
            option=option,
            value=value,
            why="a job that returned is completed; raise Retry() in the task instead",
        )
    if isinstance(value, tenacity.stop_when_event_set):
        raise InvalidOption(
            option=option,
            value=value,
            why="an event lives in one process, a job does not; cancel the job instead",
        )
    if isinstance(value, async_retry_base):
        raise InvalidOption(
            option=option, value=value, why="the predicate is asynchronous; use one that is not"
        )
    if inspect.iscoroutinefunction(getattr(value, "predicate", None)):
        raise InvalidOption(
            option=option, value=value, why="the predicate is asynchronous; use one that is not"
        )
    for part in _parts_of(value):
        _check(option, part, base)


def _parts_of(value: object) -> tuple[object, ...]:
    """Return what a combined stop, wait or predicate (``a | b``, ``a & b``, ``a + b``) is made of."""
    for name in ("stops", "retries", "wait_funcs", "strategies"):
        parts: object = getattr(value, name, None)
        if isinstance(parts, (tuple, list)):
            return tuple(cast("tuple[object, ...]", parts))
    return ()


class Control(Exception):
    """Base of the outcomes that a task raises."""

    delay: float | None = None
    at: datetime | None = None

    def _set_when(self, delay: Duration | None, at: datetime | None) -> None:
        self.delay, self.at = checked_when(delay, at)

    def seconds_from(self, now: datetime) -> float | None:
        """Return in how many seconds from ``now`` (aware) the job is due; None if the task left that open."""
        if self.at is not None:
            return max(0.0, (self.at - now).total_seconds())
        return self.delay

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuilt, (type(self), self.args, self.__dict__)


class Retry(Control):
    """Raise it in a task to end this attempt and try again.

    It counts as an attempt, so that the policy's stop holds.

    Args:
        delay: Seconds or a ``timedelta`` until the next attempt; the policy's wait when neither this nor
            ``at`` is given.
        at: The moment of the next attempt (aware).

    Raises:
        InvalidOption: Both are given, the delay is negative, or the moment is naive.

    Example:
        >>> raise Retry(delay=5)
        Traceback (most recent call last):
        capelin.retry.Retry: in 5 s
    """

    def __init__(self, delay: Duration | None = None, *, at: datetime | None = None) -> None:
        self._set_when(delay, at)
        super().__init__(_when(self))


class Snooze(Control):
    """Raise it in a task to run again later, without counting an attempt.

    Args:
        delay: Seconds or a ``timedelta`` until then.
        at: The moment (aware).

    Raises:
        InvalidOption: Both or none are given, the delay is negative, or the moment is naive.
    """

    def __init__(self, delay: Duration | None = None, *, at: datetime | None = None) -> None:
        if delay is None and at is None:
            raise InvalidOption(option="delay", value=None, why="Snooze needs a delay, or at")
        self._set_when(delay, at)
        super().__init__(_when(self))


class Reject(Control):
    """Raise it in a task to send the job to the DLQ now, without another attempt.

    Args:
        reason: What a person will read there.
    """

    def __init__(self, reason: str = "rejected") -> None:
        self.reason = reason
        super().__init__(reason)


def checked_when(delay: Duration | None, at: datetime | None) -> tuple[float | None, datetime | None]:
    """Return a delay in seconds or an aware moment.

    Raises:
        InvalidOption: Both are given, the delay is negative, or the moment is naive.
    """
    if at is None:
        return (None if delay is None else seconds("delay", delay)), None
    if delay is not None:
        raise InvalidOption(option="at", value=at, why="give either delay or at, not both")
    if not isinstance(at, datetime):  # pyright: ignore[reportUnnecessaryIsInstance] -- it arrives from users
        raise InvalidOption(option="at", value=at, why="expected an aware datetime")
    if at.utcoffset() is None:
        raise InvalidOption(
            option="at",
            value=at,
            why="a naive datetime means another moment on every machine; give it a timezone",
        )
    return None, at


def _when(control: Control) -> str:
    if control.at is not None:
        return f"at {control.at.isoformat()}"
    return "now" if not control.delay else f"in {control.delay:g} s"


def _rebuilt(cls: type[Control], args: tuple[Any, ...], state: dict[str, Any]) -> Control:
    # Exceptions cross the boundary of a process task by pickle, which would call __init__ with the message.
    control = cls.__new__(cls, *args)
    control.args = args
    control.__dict__.update(state)
    return control
