"""From how a start ended to the row that `finish` records.

An outcome that could not be made would never be recorded, and its job would run again and again: so nothing
that a task raises, and nothing that a record holds, makes these functions raise.
"""

import json
import traceback as tracebacks
from functools import lru_cache

import structlog
import tenacity

from capelin.durations import milliseconds
from capelin.errors import InvalidArguments, InvalidResult
from capelin.lua import Delivery, OutcomeKind, OutcomeRow
from capelin.options import milliseconds_since_epoch
from capelin.retry import Reject, Retry, RetryPolicy, Snooze
from capelin.sealing import Seal
from capelin.workers.processes import RemoteError

log = structlog.get_logger("capelin.worker")

_LONGEST_TYPE = 200
_LONGEST_MESSAGE = 2_000
_LONGEST_TRACEBACK = 12_000
_NOT_RETRIED = (InvalidArguments, InvalidResult)


def failure_json(error: BaseException) -> str:
    """An error as the record keeps it: ``{"type", "message", "traceback"}``, cut to a bounded size."""
    content = {
        "type": _cut(_type_of(error), _LONGEST_TYPE),
        "message": _cut(_message_of(error), _LONGEST_MESSAGE),
        "traceback": _cut(_traceback_of(error), _LONGEST_TRACEBACK, keep_end=True),
    }
    # A lone surrogate in a message must not make the whole outcome unwritable.
    return json.dumps(content, ensure_ascii=True)


def _type_of(error: BaseException) -> str:
    return error.remote_type if isinstance(error, RemoteError) else type(error).__qualname__


def _message_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as broken:  # noqa: BLE001 -- __str__ is the user's code
        return f"<its __str__ raised {type(broken).__name__}>"


def _traceback_of(error: BaseException) -> str:
    try:
        remote = getattr(error, "remote_traceback", None)
        return remote if isinstance(remote, str) else "".join(tracebacks.format_exception(error))
    except Exception:  # noqa: BLE001 -- attributes and notes are the user's code, too
        return "".join(tracebacks.format_tb(error.__traceback__))


def _cut(text: str, limit: int, *, keep_end: bool = False) -> str:
    if len(text) <= limit:
        return text
    return "…" + text[-limit:] if keep_end else text[:limit] + "…"


@lru_cache(maxsize=1024)
def _policy_from(text: str) -> RetryPolicy:
    return RetryPolicy.from_json(text)


def policy_of(delivery: Delivery, default: RetryPolicy) -> RetryPolicy:
    """The job's own policy if it has one that can be read, else its task's."""
    if not delivery.retry:
        return default
    try:
        return _policy_from(delivery.retry)
    except Exception as error:  # noqa: BLE001 -- of a newer release, or torn
        log.warning(
            "a job's own retry policy cannot be read; its task's holds", job=delivery.uid, error=str(error)
        )
        return default


def completed(delivery: Delivery, result: str) -> OutcomeRow:
    return OutcomeRow(delivery.uid, delivery.token, "complete", result)


def sealed(row: OutcomeRow, seal: Seal) -> OutcomeRow:
    """The same outcome, with its result and the words of its error encrypted."""
    if row.kind == OutcomeKind.COMPLETE:
        body = row.body if isinstance(row.body, str) else row.body.decode()
        return row._replace(body=seal.result(body, row.uid))
    return row._replace(failure=seal.failure(row.failure, row.uid)) if row.failure else row


def handed_back(delivery: Delivery) -> OutcomeRow:
    return OutcomeRow(delivery.uid, delivery.token, OutcomeKind.RETURN.value)


def cancelled(delivery: Delivery, error: BaseException | None = None) -> OutcomeRow:
    return OutcomeRow(
        delivery.uid,
        delivery.token,
        OutcomeKind.CANCEL.value,
        failure="" if error is None else failure_json(error),
    )


def parked(delivery: Delivery, refused_by: str) -> OutcomeRow:
    """``refused_by``: the digest of the signature that refused the arguments; empty when the task is
    unknown here; ``key:`` and the name of the key that lacks.
    """
    return OutcomeRow(delivery.uid, delivery.token, OutcomeKind.PARK.value, refused_by)


def dead(delivery: Delivery, reason: str, error: BaseException) -> OutcomeRow:
    return OutcomeRow(
        delivery.uid, delivery.token, OutcomeKind.DEAD.value, reason, failure=failure_json(error)
    )


def failed(
    delivery: Delivery, error: BaseException, default: RetryPolicy, *, ran_for: float, now: float
) -> OutcomeRow:
    """The outcome of a start that raised.

    Args:
        delivery: The start.
        error: What it raised; the control outcomes among them.
        default: The task's retry policy; the job may have one of its own.
        ran_for: Seconds since the start began.
        now: Seconds since the epoch.
    """
    if isinstance(error, Snooze):
        return OutcomeRow(delivery.uid, delivery.token, OutcomeKind.SNOOZE.value, due=_asked_for(error) or "")
    if isinstance(error, Reject):
        return dead(delivery, "Reject", error)
    if isinstance(error, _NOT_RETRIED):
        return dead(delivery, type(error).__name__, error)
    elapsed = ran_for if delivery.first is None else max(ran_for, now - delivery.first / 1000)
    policy = policy_of(delivery, default)
    wanted: str | None = None
    if isinstance(error, Retry):
        # The task decided that it is worth another attempt; the policy still says how many there are.
        policy = RetryPolicy(stop=policy.stop, wait=policy.wait, retry=tenacity.retry_always)
        wanted = _asked_for(error)
    wait = policy.decide(attempt=delivery.attempt + 1, exception=error, elapsed=elapsed)
    if wait is None:
        return dead(delivery, _cut(_type_of(error), _LONGEST_TYPE), error)
    return OutcomeRow(
        delivery.uid,
        delivery.token,
        OutcomeKind.RETRY.value,
        due=_in(wait) if wanted is None else wanted,
        failure=failure_json(error),
    )


def _asked_for(control: Retry | Snooze) -> str | None:
    """The due moment that a task asked for, as `finish` takes it; None when it left that open."""
    if control.at is not None:
        return str(milliseconds_since_epoch(control.at))
    return None if control.delay is None else _in(control.delay)


def _in(wait: float) -> str:
    return f"+{milliseconds(wait)}" if wait > 0 else ""
