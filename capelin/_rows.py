"""From requests to the rows that the ``enqueue`` script takes: the record's fields, as text."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from capelin.context import JobContext, current_job
from capelin.durations import milliseconds
from capelin.lua import NewJob
from capelin.priority import Priority
from capelin.requests import JobRequest
from capelin.sealing import NO_SEAL, Seal

_MOST_REMEMBERED = 1000

Describe = Callable[[str], tuple[str, str]]
"""Of a task's name: its signature's digest and its priority; both empty for one that is not known here."""


class Rows:
    """Makes rows.

    Args:
        describe: Tells of the tasks that ``on_failure`` names.
        seal: Encrypts arguments.
    """

    def __init__(self, describe: Describe, seal: Seal = NO_SEAL) -> None:
        self._describe = describe
        self._seal = seal
        self._plain: dict[tuple[Any, ...], str] = {}

    @property
    def seals(self) -> bool:
        """Whether it encrypts arguments."""
        return self._seal.active

    def row(self, request: JobRequest[Any], uid: str, origin: Mapping[str, str]) -> NewJob:
        """Return one request as a row.

        Args:
            request: What was asked for.
            uid: The job's uid.
            origin: Fields that say where it comes from: see ``origin``.
        """
        if origin or request.headers or request.then is not None or request.schedule is not None:
            fields = {**origin, **self._fields(request)}
            if request.then is not None:
                fields["then"] = _json(self._then(request.then))
            extra = _json(fields)
        else:
            extra = self._plain_extra(request)
        window = request.dedupe_for
        return NewJob(
            uid,
            request.task,
            request.digest,
            self._seal.args(request.args, request.task),
            _priority(request),
            _due(request),
            extra,
            request.dedupe_key or "",
            "" if window is None else milliseconds(window),
            request.on_duplicate,
        )

    def _plain_extra(self, request: JobRequest[Any]) -> str:
        """Return the fields that most jobs lack; the same few combinations come again and again."""
        key = (
            request.retention,
            request.on_failure,
            request.max_crashes,
            request.timeout,
            request.retry,
            request.expires,
            request.batch_id,
        )
        if key == _NOTHING:
            return ""
        text = self._plain.get(key)
        if text is None:
            if len(self._plain) >= _MOST_REMEMBERED:
                self._plain.clear()
            text = self._plain[key] = _json(self._fields(request))
        return text

    def _fields(self, request: JobRequest[Any]) -> dict[str, str | int]:
        fields: dict[str, str | int] = {}
        if request.expires is not None:
            fields["expires_in"] = milliseconds(request.expires)
        if request.timeout is not None:
            fields["timeout"] = _number(request.timeout)
        if request.retry is not None:
            fields["retry"] = request.retry
        if request.retention is not None:
            fields["retention"] = _number(request.retention)
        if request.headers:
            fields["headers"] = _json(dict(request.headers))
        if request.on_failure is not None:
            fields["on_failure"] = self._on_failure(request.on_failure)
        if request.max_crashes is not None:
            fields["max_crashes"] = request.max_crashes
        if request.schedule is not None:
            fields["schedule"] = request.schedule
        if request.batch_id is not None:
            fields["batch"] = request.batch_id
        return fields

    def _then(self, request: JobRequest[Any]) -> list[Any]:
        """Return what ``finish`` adds when the job completes: [task, digest, args, priority, due, extra]."""
        extra: dict[str, Any] = {**self._fields(request)}
        if request.then is not None:
            extra["then"] = self._then(request.then)
        args = self._seal.args(request.args, request.task)
        return [request.task, request.digest, args, _priority(request), _due(request), extra]

    def _on_failure(self, task: str) -> str:
        """Return what ``bury`` adds when the job is dead-lettered: [task, digest, priority]."""
        digest, priority = self._describe(task)
        return _json([task, digest, priority])


_NOTHING = (None,) * 7


def origin() -> dict[str, str]:
    """Return the fields that tie a job to the one that enqueues it; none outside a job."""
    job: JobContext | None = current_job(None)
    if job is None:
        return {}
    fields = {"parent": job.id, "correlation": job.correlation_id}
    return fields if job.batch_id is None else {**fields, "batch": job.batch_id}


def _priority(request: JobRequest[Any]) -> str:
    return "" if request.priority is Priority.NORMAL else request.priority


def _due(request: JobRequest[Any]) -> str:
    if request.at is not None:
        return str(request.at)
    return f"+{milliseconds(request.delay)}" if request.delay else ""


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
