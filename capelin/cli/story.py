"""``capelin jobs show``: a job's whole story, as it reads for people and for programs."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from capelin._tables import Column, ago, at, since
from capelin.records import FailedStart, JobInfo, JobStatus

if TYPE_CHECKING:
    from capelin.admin import JobStory

_LONGEST = 400


class Event(NamedTuple):
    """One line of a story."""

    moment: datetime | None
    what: str


def tell(job_id: str, *, redis: str | None, prefix: str | None, as_json: bool, as_lines: bool) -> None:
    """Read a job's story and print it.

    Raises:
        InvalidJobId: That is no job id.
        JobNotFound: There is no record of it.
        Unreachable, RedisRefused: Redis could not be asked.
    """
    from capelin.admin import read_story
    from capelin.cli.asking import ask
    from capelin.cli.printing import print_details, print_note, print_table, printed

    story = ask(redis, prefix, lambda access: read_story(access, job_id))
    if printed(to_json(story), as_json=as_json, as_lines=as_lines):
        return
    print_details(f"job {story.job.id}", list(_facts(story)))
    events = list(events_of(story.job))
    if events:
        typer.echo()
        print_table([Column("WHEN", whole=True), Column("AFTER", right=True), Column("WHAT")], _rows(events))
    for number, failure in enumerate(story.job.failures):
        typer.echo()
        print_details(*_start(failure, story.job.failures[:number]))
    if story.relatives:
        columns = [Column("JOB", whole=True), Column("STATUS"), Column("TASK"), Column("IS", whole=True)]
        rows = [(one.id, one.status or "gone", one.task, one.kinship.value) for one in story.relatives]
        typer.echo()
        print_table(columns, rows)
    if story.job.token:
        print_note(f"What it enqueued while it ran: capelin jobs --parent {story.job.id}", whole=True)


def to_json(story: "JobStory") -> Mapping[str, Any]:
    """Return a story as it is printed for programs: the record, and what belongs to it beside its fields."""
    from pydantic_core import to_jsonable_python

    document: dict[str, Any] = to_jsonable_python(story.job)
    document["events"] = [{"moment": one.moment, "what": one.what} for one in events_of(story.job)]
    document["relatives"] = list(story.relatives)
    return document


def events_of(job: JobInfo) -> Iterator[Event]:
    """Tell what became of a job, in order, as far as its record remembers."""
    yield Event(job.enqueued, "enqueued" + (f" by schedule {job.schedule}" if job.schedule else ""))
    for failure in job.failures:
        yield Event(failure.started, f"start {failure.token} on {failure.worker}")
        yield Event(failure.ended, _how_it_failed(failure))
    told = {failure.token for failure in job.failures}
    if job.started is not None and job.token not in told:
        yield Event(job.started, f"start {job.token} on {job.worker or '?'}")
    if job.status is JobStatus.SCHEDULED and job.due is not None:
        yield Event(job.due, "due" if job.token == 0 else "due again")
    if job.status.ended:
        yield Event(job.finished, _how_it_ended(job))
    elif job.expires is not None and job.token == 0:
        yield Event(job.expires, "expires unless it has started")


def _how_it_failed(failure: FailedStart) -> str:
    error = failure.error
    ran = _seconds_between(failure.started, failure.ended)
    after = f" after {ago(ran)}" if ran is not None else ""
    return f"failed{after}: {error.type}: {' '.join(error.message.split())}" if error else f"failed{after}"


def _how_it_ended(job: JobInfo) -> str:
    ran = _seconds_between(job.started, job.finished)
    match job.status:
        case JobStatus.COMPLETED:
            return f"completed after {ago(ran)}" if ran is not None else "completed"
        case JobStatus.FAILED:
            return "dead: moved to the DLQ"
        case _:
            return f"cancelled: {job.error.message}" if job.error else "cancelled"


def _rows(events: Sequence[Event]) -> list[tuple[str, str, str]]:
    rows: list[tuple[str, str, str]] = []
    last: datetime | None = None
    for event in events:
        gap = _seconds_between(last, event.moment)
        rows.append((at(event.moment), ago(gap) if gap is not None else "", event.what))
        last = event.moment or last
    return rows


def _facts(story: "JobStory") -> Iterator[tuple[str, object]]:
    job = story.job
    arguments = [*map(_short, job.args), *(f"{name}={_short(v)}" for name, v in job.kwargs.items())]
    yield "task", job.task
    yield "arguments", "encrypted" if job.encrypted else ", ".join(arguments) or "none"
    yield "status", _status(story)
    yield "parked", _why_parked(job)
    yield "progress", f"{job.progress[0]:.0%} {job.progress[1]}" if job.progress else None
    result = "encrypted" if job.encrypted else _short(job.result)
    yield "result", result if job.status is JobStatus.COMPLETED else None
    yield "error", f"{job.error.type}: {job.error.message}" if job.error else None
    yield "priority", job.priority.value
    yield "starts", f"{job.token} ({job.attempt} attempts failed, {job.crashes} workers lost)"
    yield "worker", job.worker
    yield "timeout", ago(job.timeout) if job.timeout else None
    yield "dedupe key", job.dedupe_key
    yield "batch", job.batch_id
    yield "schedule", job.schedule
    yield "tick", at(job.tick)
    yield "headers", _short(dict(job.headers)) if job.headers else None
    yield "then", f"{story.then}, once it completes" if story.then else None
    yield "on failure", job.on_failure


def _status(story: "JobStory") -> str:
    job = story.job
    asked = ", to be cancelled" if job.cancel_requested and not job.status.ended else ""
    moment = job.finished if job.status.ended else job.started if job.status is JobStatus.RUNNING else None
    if job.status is JobStatus.SCHEDULED and job.due is not None:
        moment = job.due
    distance = since(moment, story.now)
    if not distance:
        return f"{job.status.value}{asked}"
    if job.status is JobStatus.RUNNING:
        return f"running for {distance}{asked}"
    if job.status is JobStatus.SCHEDULED:
        return f"scheduled, due {distance if distance.startswith('in ') else 'now'}{asked}"
    return f"{job.status.value} {distance} ago"


def _why_parked(job: JobInfo) -> str | None:
    if job.status is not JobStatus.PARKED:
        return None
    if job.parked_by and job.parked_by.startswith("key:"):
        return f"no worker so far has key {job.parked_by.removeprefix('key:')} to decrypt it"
    return "its arguments are of another signature" if job.parked_by else "no worker so far knows its task"


def _start(failure: FailedStart, before: Sequence[FailedStart]) -> tuple[str, list[tuple[str, object]]]:
    error = failure.error
    trace = error.traceback.rstrip() if error and error.traceback else None
    same = next(
        (one for one in before if one.error and error and one.error.traceback == error.traceback), None
    )
    if trace and same is not None:
        trace = f"as that of start {same.token}"
    return f"start {failure.token}: {error.type if error else '?'}", [
        ("worker", failure.worker),
        ("message", error.message if error else None),
        ("traceback", trace),
    ]


def _seconds_between(first: datetime | None, last: datetime | None) -> float | None:
    return None if first is None or last is None else max(0.0, (last - first).total_seconds())


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text):,} characters)"
