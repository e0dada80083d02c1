"""What a worker says about ends that a person may want to know of. Successes are many and say nothing."""

import json
from typing import Any

import structlog

from capelin.lua import OutcomeKind, OutcomeRow, Verdict
from capelin.workers.running import Start

log = structlog.get_logger("capelin.worker")


def log_end(start: Start, row: OutcomeRow, verdict: Verdict) -> None:
    """Log one recorded outcome."""
    bound = log.bind(job=start.job_id, task=start.delivery.task, attempt=start.delivery.attempt + 1)
    failure: dict[str, Any] = json.loads(row.failure) if row.failure else {}
    error = f"{failure['type']}: {failure['message']}" if failure else ""
    if verdict is Verdict.CANCELLED:
        bound.info("job cancelled")
    elif row.kind == OutcomeKind.RETRY:
        bound.warning("attempt failed; the job is tried again", due=row.due or "now", error=error)
    elif row.kind == OutcomeKind.DEAD:
        bound.error(
            "job failed; it is in the DLQ", reason=row.body, error=error, exception=failure.get("traceback")
        )
    elif row.kind == OutcomeKind.RETURN:
        bound.info("job handed back")
    elif row.kind == OutcomeKind.SNOOZE:
        bound.debug("job snoozed", due=row.due or "now")
