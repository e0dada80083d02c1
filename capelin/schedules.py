"""A schedule as a value: when it ticks, what each tick enqueues, and what happens to ticks that were missed.

The whole of it is stored in Redis, so that any leader fires it, also one whose program lacks the task.
Nothing here talks to Redis or looks at a clock.
"""

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypedDict, cast

from capelin.durations import Duration, milliseconds, seconds
from capelin.errors import InvalidOption
from capelin.ids import derived_uid
from capelin.names import check_name
from capelin.options import milliseconds_since_epoch
from capelin.priority import Priority
from capelin.requests import JobRequest, OnDuplicate
from capelin.sealing import Seal
from capelin.ticks import CatchUp, Overlap
from capelin.timing import Timing, every, parse_cron, timing_from_json

CatchUpName = Literal["latest", "all", "none"]
OverlapName = Literal["allow", "skip", "queue"]

SKIP_IF_OLDER_THAN = timedelta(minutes=5)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NOT_STORED = {
    "at",
    "dedupe_for",
    "dedupe_key",
    "delay",
    "fsync",
    "min_replicas",
    "on_duplicate",
    "schedule",
}


class ScheduleArguments(TypedDict, total=False):
    """What decides about the ticks of a schedule (see ``SchedulePolicy``)."""

    skip_if_older_than: Duration | None
    catch_up: CatchUp | CatchUpName
    overlap: Overlap | OverlapName
    jitter: Duration
    start: datetime | None
    end: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulePolicy:
    """What becomes of ticks.

    Attributes:
        skip_if_older_than: A tick that nobody could fire for longer than this is skipped, and counted (5
            minutes; a second at least). None: no tick is ever too old.
        catch_up: Of ticks that were missed (nobody led, Redis was away), ``latest`` (the default) fires the
            newest that is not too old, ``all`` each that is not too old, ``none`` none.
        overlap: When the run of an earlier tick has not ended, ``allow`` (the default) starts another beside
            it, ``skip`` skips the tick, ``queue`` lets one run wait until the first has ended.
        jitter: Each run starts up to this much after its tick; by how much is the same whoever leads.
        start, end: No ticks before and after these moments (aware).

    Raises:
        InvalidOption: A value makes no sense.
    """

    skip_if_older_than: Duration | None = SKIP_IF_OLDER_THAN
    catch_up: CatchUp | CatchUpName = CatchUp.LATEST
    overlap: Overlap | OverlapName = Overlap.ALLOW
    jitter: Duration = 0.0
    start: datetime | None = None
    end: datetime | None = None

    def __post_init__(self) -> None:
        start, end = self.fields()["start"], self.fields()["end"]
        if start is not None and end is not None and end < start:
            raise InvalidOption(option="end", value=self.end, why=f"it is before start={self.start}")

    def fields(self) -> dict[str, Any]:
        """Return the fields of a ``Schedule``, in plain units."""
        stale = self.skip_if_older_than
        return {
            # Less would skip every tick: one always fires some milliseconds after its moment.
            "stale_after": None
            if stale is None
            else milliseconds(seconds("skip_if_older_than", stale, minimum=1.0)),
            "catch_up": _one_of(CatchUp, "catch_up", self.catch_up),
            "overlap": _one_of(Overlap, "overlap", self.overlap),
            "jitter": milliseconds(seconds("jitter", self.jitter)),
            "start": _moment("start", self.start),
            "end": _moment("end", self.end),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """One schedule of one app. All moments and spans are ms.

    Attributes:
        name: Its name, one for the whole namespace.
        timing: When it ticks.
        request: What each tick enqueues.
        described: Digest and priority of the tasks that ``on_failure`` names, by name: whoever fires the tick
            may not know them.
        stale_after: A tick that is older is skipped; None for never.
    """

    name: str
    timing: Timing
    request: JobRequest[Any]
    described: Mapping[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    catch_up: CatchUp = CatchUp.LATEST
    overlap: Overlap = Overlap.ALLOW
    stale_after: int | None = milliseconds(SKIP_IF_OLDER_THAN.total_seconds())
    jitter: int = 0
    start: int | None = None
    end: int | None = None

    def __post_init__(self) -> None:
        check_name("schedule", self.name)
        for option in ("delay", "at", "dedupe_key"):
            if (value := getattr(self.request, option)) is not None:
                why = "not in a schedule: " + (
                    "overlap= says what a second run does"
                    if option == "dedupe_key"
                    else "its ticks say when it runs"
                )
                raise InvalidOption(option=option, value=value, why=why)

    @property
    def timing_text(self) -> str:
        """Text that differs when it ticks at other moments."""
        return _json({**self.timing.to_json(), "start": self.start, "end": self.end})

    def run(self) -> JobRequest[Any]:
        """Return what a run enqueues that is not a tick's."""
        request = replace(self.request, schedule=self.name)
        if self.overlap is Overlap.ALLOW:
            return request
        mode = OnDuplicate.KEEP if self.overlap is Overlap.SKIP else OnDuplicate.FOLLOW
        return replace(request, dedupe_key=self.key, on_duplicate=mode, shard_key=None)

    def job_of(self, tick: int) -> JobRequest[Any]:
        """Return what a tick enqueues. It is the same whoever asks, so that it can be sent again."""
        request = self.run()
        if request.dedupe_key is None and request.shard_key is None:
            # Runs spread over the shards, and so over the fleet; whoever sends a tick again finds the same.
            request = replace(request, shard_key=f"{self.key}:{tick}")
        if self.jitter:
            share = zlib.crc32(f"{self.name}:{tick}".encode()) % (self.jitter + 1)
            request = replace(request, at=tick + share)
        return request

    @property
    def key(self) -> str:
        """What keeps its runs apart if they may not overlap."""
        return f"schedule:{self.name}"

    def uid_of(self, tick: int) -> str:
        """Return the uid of a tick's job: the same whoever leads, and another for every tick and schedule."""
        moment = (_EPOCH + timedelta(milliseconds=tick)).strftime("%Y%m%dT%H%M%S")
        below = f"{tick % 1000:03d}" if tick % 1000 else ""
        return derived_uid(self.name, f"{moment}{below}Z")

    def sealed(self, seal: Seal) -> "Schedule":
        """Return it with its arguments encrypted: each time the same, or it would seem to have changed."""
        return replace(self, request=_sealed(self.request, seal)) if seal.active else self

    def to_json(self) -> str:
        """Return it as text that is the same for the same schedule."""
        found: dict[str, Any] = {
            "name": self.name,
            "timing": self.timing.to_json(),
            "request": _request_to_json(self.request),
            "described": {name: list(words) for name, words in self.described.items()},
        }
        for name in ("catch_up", "overlap", "stale_after", "jitter", "start", "end"):
            found[name] = getattr(self, name)
        return _json(found)

    @classmethod
    def from_json(cls, text: str) -> "Schedule":
        """Read what ``to_json`` wrote; what a newer release added is left out.

        Raises:
            ValueError, KeyError, TypeError: It cannot be read.
        """
        raw = cast(dict[str, Any], json.loads(text))
        return cls(
            name=raw["name"],
            timing=timing_from_json(raw["timing"]),
            request=_request_from_json(raw["request"]),
            described={name: (words[0], words[1]) for name, words in raw["described"].items()},
            catch_up=CatchUp(raw["catch_up"]),
            overlap=Overlap(raw["overlap"]),
            stale_after=raw["stale_after"],
            jitter=raw["jitter"],
            start=raw["start"],
            end=raw["end"],
        )


def timing_of(when: str | Duration, timezone: str | None) -> Timing:
    """Return the timing that a text (cron) or a duration (every so often) stands for.

    Raises:
        InvalidOption: It makes no sense, or a timezone is given with a duration.
    """
    if isinstance(when, str):
        return parse_cron(when, timezone or "UTC")
    if timezone is not None:
        raise InvalidOption(
            option="timezone",
            value=timezone,
            why="only a cron expression has one; every so often ticks at multiples since the epoch",
        )
    return every(when)


def _one_of(kind: Any, option: str, value: object) -> Any:
    try:
        return kind(value)
    except ValueError as cause:
        names = ", ".join(repr(member.value) for member in kind)
        raise InvalidOption(option=option, value=value, why=f"expected one of {names}") from cause


def _moment(option: str, value: object) -> int | None:
    if value is None:
        return None
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise InvalidOption(
            option=option, value=value, why="expected an aware datetime, as datetime(2027, 1, 1, tzinfo=UTC)"
        )
    return milliseconds_since_epoch(value)


def _sealed(request: JobRequest[Any], seal: Seal) -> JobRequest[Any]:
    then = None if request.then is None else _sealed(request.then, seal)
    return replace(request, args=seal.args(request.args, request.task, stable=True), then=then)


def _request_to_json(request: JobRequest[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for one in fields(request):
        value = getattr(request, one.name)
        if one.name in _NOT_STORED or value is None or value in ("", {}):
            continue
        found[one.name] = _request_to_json(value) if one.name == "then" else value
    return found | ({"headers": dict(request.headers)} if request.headers else {})


def _request_from_json(raw: Mapping[str, Any]) -> JobRequest[Any]:
    known = {one.name for one in fields(JobRequest)}
    found = {name: value for name, value in raw.items() if name in known}
    if "then" in found:
        found["then"] = _request_from_json(found["then"])
    found["priority"] = Priority(found.get("priority", Priority.NORMAL))
    return JobRequest(**found)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
