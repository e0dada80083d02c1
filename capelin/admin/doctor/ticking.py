"""Checks of what is to run by itself: schedules, the leader who fires them, singletons."""

import asyncio

from capelin.admin.doctor.finding import Report
from capelin.admin.doctor.patient import Patient
from capelin.admin.doctor.words import count, some, span
from capelin.admin.singletons import list_singletons
from capelin.schedule_book import ScheduleInfo, ScheduleStatus


async def leader(patient: Patient, report: Report) -> None:
    """Look whether somebody fires the schedules."""
    active = [one for one in await patient.schedules() if one.status is ScheduleStatus.ACTIVE]
    held = await patient.book.leader()
    if held.worker is None and active:  # while one leader follows another, nobody leads for a moment
        await asyncio.sleep(patient.bounds.again)
        held = await patient.book.leader()
    if held.worker is not None:
        report.ok(f"{held.worker} leads, with a lease for {held.lease_seconds or 0:.1f} s more")
    elif not active:
        report.ok("nobody leads, and no schedule needs it")
    else:
        able = [member.id for member in (await patient.fleet()).live if member.candidate]
        report.problem(
            f"nobody leads the scheduler, with {count(len(active), 'schedule')} to fire",
            why="no tick is fired",
            do=f"{count(len(able), 'worker')} could lead and do not: look at their logs ({some(able, 3)})"
            if able
            else "start one that may: capelin worker APP (without --no-scheduler), or capelin scheduler APP",
        )


async def schedules(patient: Patient, report: Report) -> None:
    """Look whether every schedule runs in time."""
    found = await patient.schedules()
    now = await patient.book.now() / 1000
    for one in found:
        look = f"capelin schedules show {one.name}"
        if one.status is ScheduleStatus.UNREADABLE:
            report.warning(
                f"schedule {one.name} cannot be read",
                why="a newer release wrote it: only that one fires it",
                do="finish the deploy, or pip install -U capelin here",
            )
        elif one.status is ScheduleStatus.PAUSED:
            since = f" since {span(now - one.paused.timestamp())}" if one.paused else ""
            report.note(
                f"schedule {one.name} is paused{since}",
                why="none of its ticks is fired",
                do=f"capelin schedules resume {one.name}",
            )
        elif one.status is ScheduleStatus.ACTIVE:
            _judge(one, now, patient.bounds.late, look, report)
    if not report.findings:
        report.ok(f"{count(len(found), 'schedule')}, none late")


def _judge(one: ScheduleInfo, now: float, bound: float, look: str, report: Report) -> None:
    late = now - one.next.timestamp() if one.next is not None else 0.0
    if late > bound:
        report.problem(
            f"schedule {one.name} ({one.when}): a tick is due since {span(late)} and not fired",
            why="nobody leads, or the leader is stuck",
            do=f"capelin leader; {look}",
        )
    elif not one.healthy:
        last = (
            f"last ran {span(now - one.last_run.timestamp())} ago"
            if one.last_run
            else "has never completed a run"
        )
        report.problem(
            f"schedule {one.name} ({one.when}) {last}, though {one.fired:,} ticks were fired",
            why="twice its interval has passed without a run that completed",
            do=f"{look}; capelin jobs ls --task {one.task}; its job waits, fails or hangs",
        )


async def singletons(patient: Patient, report: Report) -> None:
    """Look whether every singleton gives signs of life."""
    found = await list_singletons(patient.access)
    now = await patient.access.clock() / 1000
    for one in found:
        if not one.healthy:
            last = f"gave none for {span(now - one.beat.timestamp())}" if one.beat else "never gave one"
            host = f"hosted by {one.holder}" if one.holder else "hosted by nobody"
            failed = f"; it last failed with {one.last_error}" if one.last_error else ""
            report.problem(
                f"singleton {one.name} ({host}) {last}{failed}",
                why=f"it is to give a sign of life every {span(2 * one.interval)}",
                do=f"capelin singletons show {one.name}"
                + ("" if one.holder else "; start a worker of its app: capelin worker APP"),
            )
        elif one.set_aside:
            report.note(
                f"singleton {one.name} has a state that could not be read, which is kept aside",
                why="it began anew, without what it knew",
                do=f"capelin singletons show {one.name}",
            )
    if not report.findings:
        report.ok(f"{count(len(found), 'singleton')}, none silent")
