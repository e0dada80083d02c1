"""A job's whole story, as lines: what it is, when it did what, and how each start of it failed."""

import json
from datetime import UTC, datetime

from capelin._tables import ago, at
from capelin.admin import JobStory, Relative
from capelin.records import FailedStart, JobInfo

_LABEL = 12
_LONGEST = 400


def story(found: JobStory) -> list[str]:
    """Tell what is known of a job."""
    job, now = found.job, datetime.fromtimestamp(found.now / 1000, UTC)
    told: list[str] = []
    for label, words in _facts(job, now):
        first, *more = words.splitlines() or [""]
        told += [f"{label:{_LABEL}}{first}", *(f"{'':{_LABEL}}{line}" for line in more)]
    if found.relatives or found.then:
        told.append("")
    told += [f"{one.kinship.value}: {one.id} {_of(one)}" for one in found.relatives]
    if found.then:
        told.append(f"then: {found.then}, after a success")
    for failure in job.failures:
        told += ["", *_failed(failure)]
    return told


def _facts(job: JobInfo, now: datetime) -> list[tuple[str, str]]:
    arguments = [*map(_short, job.args), *(f"{name}={_short(value)}" for name, value in job.kwargs.items())]
    facts: list[tuple[str, object]] = [
        ("task", job.task),
        ("arguments", ", ".join(arguments) or "none"),
        ("status", _status(job)),
        ("progress", f"{job.progress[0]:.0%} {job.progress[1]}" if job.progress else None),
        ("priority", job.priority.value),
        ("enqueued", _moment(job.enqueued, now)),
        ("due", _moment(job.due, now)),
        ("started", _moment(job.started, now)),
        ("ended", _moment(job.finished, now)),
        ("waited", _between(job.due or job.enqueued, job.started)),
        ("ran for", _between(job.started, job.finished)),
        ("expires", _moment(job.expires, now)),
        ("starts", f"{job.token}: {job.attempt} attempts failed, {job.crashes} workers died"),
        ("worker", job.worker),
        ("result", _short(job.result) if job.status == "completed" else None),
        ("error", f"{job.error.type}: {job.error.message}" if job.error else None),
        ("dedupe key", job.dedupe_key),
        ("batch", job.batch_id),
        ("schedule", job.schedule),
        ("tick", _moment(job.tick, now)),
        ("headers", _short(dict(job.headers)) if job.headers else None),
    ]
    return [(label, str(words)) for label, words in facts if words not in (None, "")]


def _of(relative: Relative) -> str:
    return f"({relative.task}, {relative.status.value})" if relative.status else "(its record is gone)"


def _status(job: JobInfo) -> str:
    flagged = ", to be cancelled" if job.cancel_requested and not job.status.ended else ""
    parked = ""
    if job.status == "parked":
        parked = ", since " + (
            "its arguments are of another signature" if job.parked_by else "no worker knows its task"
        )
    return f"{job.status.value}{flagged}{parked}"


def _failed(failure: FailedStart) -> list[str]:
    error = failure.error
    title = f"start {failure.token} failed {at(failure.ended)} on {failure.worker}"
    if error is None:
        return [title]
    trace = (error.traceback or "").rstrip().splitlines()
    return [title, f"  {error.type}: {error.message}", *(f"  {line}" for line in trace)]


def _moment(moment: datetime | None, now: datetime) -> str:
    if moment is None:
        return ""
    seconds = (now - moment).total_seconds()
    return f"{at(moment)} ({f'{ago(seconds)} ago' if seconds >= 0 else f'in {ago(-seconds)}'})"


def _between(begin: datetime | None, end: datetime | None) -> str:
    if begin is None or end is None or end < begin:
        return ""
    return ago((end - begin).total_seconds())


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text):,} characters)"
