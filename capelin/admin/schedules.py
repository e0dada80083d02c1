"""Schedules: the book of a namespace, adding one by its task's name alone, and who leads."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from typing_extensions import Unpack

from capelin._declaring import schedule_of
from capelin.admin.access import Access
from capelin.admin.fleet import read_fleet
from capelin.calls import request_fields
from capelin.codec import encode_plain
from capelin.durations import Duration
from capelin.errors import ScheduleExists, ScheduleNotFound
from capelin.lua.replies import ScheduleVerdict
from capelin.names import check_name
from capelin.options import CallArguments, CallOptions, TaskOptions
from capelin.records import moment
from capelin.requests import JobRequest, check_request_size
from capelin.schedule_book import ScheduleBook, ScheduleInfo, ScheduleStatus
from capelin.schedules import ScheduleArguments, SchedulePolicy, timing_of
from capelin.timetable import CODE
from capelin.workers.fleet import Member

OPERATOR = "cli"
"""The app that owns the schedules which operators add, unless they name another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleAdded:
    """What became of a schedule that was to be added.

    Attributes:
        change: ``added``, ``changed``, or ``same``: it was there as it is.
        schedule: How it stands now.
        workers: Ids of the live workers that serve its queue and know its task.
    """

    change: ScheduleVerdict
    schedule: ScheduleInfo
    workers: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderStanding:
    """Who leads the scheduler, and who would.

    Attributes:
        worker: The leader's worker id; None when nobody's lease holds.
        since: When it took the lead, by Redis's clock.
        epoch: Of the lease: it grows with every leader. 0: nobody ever led.
        lease_seconds: For how long the lease holds, unless it is renewed.
        app, host, pid: What the leader says of itself; empty when it is no member of the fleet.
        candidates: Ids of the other live workers that may lead.
        workers: How many workers are alive, the leader included.
    """

    worker: str | None
    since: datetime | None = None
    epoch: int = 0
    lease_seconds: float | None = None
    app: str = ""
    host: str = ""
    pid: int = 0
    candidates: Sequence[str] = field(default_factory=tuple[str, ...])
    workers: int = 0


def schedule_book(access: Access) -> ScheduleBook:
    """Return the schedules of the namespace: listed, paused, resumed, triggered, removed."""
    return ScheduleBook(access.connection, access.keys, access.settings)


def named_request(
    task: str, args: Sequence[Any], kwargs: Mapping[str, Any], options: CallArguments
) -> JobRequest[Any]:
    """Return a job to be of a task that only its name is known of; its arguments are plain JSON.

    Raises:
        InvalidName, InvalidOption: Something makes no sense.
        InvalidArguments: An argument is not plain JSON.
    """
    given = request_fields(TaskOptions().effective()) | CallOptions(**options).request_fields()
    return JobRequest(
        task=check_name("task", task), args=encode_plain(task, tuple(args), dict(kwargs)), **given
    )


async def add_schedule(
    access: Access,
    name: str,
    when: str | Duration,
    request: JobRequest[Any],
    *,
    app: str = OPERATOR,
    timezone: str | None = None,
    **policy: Unpack[ScheduleArguments],
) -> ScheduleAdded:
    """Add a schedule, or change the one of that name; the same again changes nothing.

    Args:
        access: Where.
        name: Its name, one for the whole namespace.
        when: A cron expression, or how often (seconds or a ``timedelta``).
        request: What each tick enqueues: see ``named_request``.
        app: The app that owns it.
        timezone: The zone whose clocks a cron expression means; UTC by default.
        policy: ``SchedulePolicy`` says what these mean.

    Raises:
        InvalidName, InvalidOption: Something makes no sense; nothing was written.
        ScheduleExists: The name is that of another app's schedule, or of one that code declares.
        Unreachable, RedisRefused: It may or may not have been written.
    """
    for part in app.split(":"):  # an app may go by its import string
        check_name("app", part)
    made = schedule_of(name, timing_of(when, timezone), request, SchedulePolicy(**policy), _nothing_known)
    book = schedule_book(access)
    check_request_size(request, book.max_payload_bytes)
    # All that is to be told afterwards is read before, too: what cannot be read stops this before it begins.
    alive = await _alive(access)
    with contextlib.suppress(ScheduleNotFound):
        await book.info(name)
    change = await book.timetable.put(app, made.sealed(book.seal))
    able = (member.id for member in alive if request.queue in member.queues and request.task in member.tasks)
    return ScheduleAdded(change=change, schedule=await book.info(name), workers=tuple(able))


async def removable(access: Access, name: str) -> ScheduleInfo:
    """Return how a schedule stands that can be removed.

    Raises:
        ScheduleNotFound: There is none of that name.
        ScheduleExists: Code declares it: it would come back.
        Unreachable, RedisRefused: It could not be read.
    """
    found = await schedule_book(access).info(name)
    if found.source == CODE and found.status is not ScheduleStatus.RETIRED:
        raise ScheduleExists(
            name=name,
            why=f"the code of app {found.app!r} declares it, so it would come back; "
            f"remove it there, or: capelin schedules pause {name}",
        )
    return found


async def read_leader(access: Access) -> LeaderStanding:
    """Return who leads, and who would.

    Raises:
        Unreachable, RedisRefused: It could not be read.
    """
    found = await schedule_book(access).leader()
    alive = {member.id: member for member in await _alive(access)}
    candidates = tuple(name for name, one in alive.items() if one.candidate and name != found.worker)
    if found.worker is None:
        return LeaderStanding(worker=None, epoch=found.epoch, candidates=candidates, workers=len(alive))
    known = alive.get(found.worker)
    return LeaderStanding(
        worker=found.worker,
        since=moment(found.epoch),  # an epoch is what Redis's clock said when the lease was taken
        epoch=found.epoch,
        lease_seconds=found.lease_seconds,
        app="" if known is None else known.app,
        host="" if known is None else known.host,
        pid=0 if known is None else known.pid,
        candidates=candidates,
        workers=len(alive),
    )


async def _alive(access: Access) -> list[Member]:
    now = await access.clock()
    fleet = await read_fleet(access)
    return [member for _, (member, expires) in sorted(fleet.items()) if expires > now]


def _nothing_known(_task: str) -> tuple[str, str]:
    return "", ""
