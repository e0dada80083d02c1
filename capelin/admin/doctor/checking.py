"""Runs the checks: all of them, each for a bounded time, and none at the expense of another."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass

from capelin.admin.access import Access, NotThere
from capelin.admin.doctor import members, path, permissions, server, ticking, topology, work
from capelin.admin.doctor.finding import Finding, Report, Severity
from capelin.admin.doctor.patient import Patient
from capelin.admin.doctor.readings import Bounds
from capelin.errors import RedisRefused, Unreachable


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that is looked at.

    Attributes:
        name: Its name, under which the docs explain it.
        looks: Writes what it sees; its docstring says at what it looks.
    """

    name: str
    looks: Callable[[Patient, Report], Awaitable[None]]


def _check(name: str, looks: Callable[[Patient, Report], Awaitable[None]]) -> Check:
    return Check(name=name, looks=looks)


CHECKS: Sequence[Check] = (
    _check("version", server.version),
    _check("uptime", server.uptime),
    _check("eviction", server.eviction),
    _check("persistence", server.persistence),
    _check("memory", server.memory),
    _check("clients", server.clients),
    _check("latency", path.latency),
    _check("clock", path.clock),
    _check("cluster", topology.cluster),
    _check("replicas", topology.replicas),
    _check("scripts", permissions.scripts),
    _check("acl", permissions.acl),
    _check("schema", work.schema),
    _check("members", members.members),
    _check("unserved", work.unserved),
    _check("owners", members.owners),
    _check("stuck", members.stuck),
    _check("oldest", work.oldest),
    _check("paused", work.paused),
    _check("parked", work.parked),
    _check("dead", work.dead),
    _check("leader", ticking.leader),
    _check("schedules", ticking.schedules),
    _check("singletons", ticking.singletons),
)
"""Every check, in the order in which they are told."""

_ALONE = "latency"


async def examine(
    access: Access,
    *,
    only: Collection[str] = (),
    skip: Collection[str] = (),
    user: str | None = None,
    bounds: Bounds | None = None,
    clock: Callable[[], float] = time.time,
) -> list[Finding]:
    """Look at everything that breaks queues in production.

    Args:
        access: The way to Redis.
        only: Names of the checks to run; all if empty.
        skip: Names of checks to leave out.
        user: Whose rights to look at, instead of those of the URL's user.
        bounds: What is too much.
        clock: This machine's clock, seconds since the epoch.

    Returns:
        What was found, at least one finding a check, in the order of ``CHECKS``. A check that fails, is
        refused, or takes too long says so, and the others go on.

    Raises:
        NotThere: There is no check of that name.
        Unreachable, RedisRefused: Redis does not answer, or does not let us in.

    Example:
        async with open_access(url, prefix="capelin", settings=Settings()) as access:
            worst = max(finding.severity.rank for finding in await examine(access))
    """
    known = [check.name for check in CHECKS]
    for name in (*only, *skip):
        if name not in known:
            raise NotThere(what="check", name=name, known=known)
    wanted = [check for check in CHECKS if check.name not in skip and (not only or check.name in only)]
    patient = Patient(access, user=user, bounds=bounds, clock=clock)
    try:
        await patient.greet()
        # Round trips are timed while nothing else is asked.
        alone = {check.name: await _run(check, patient) for check in wanted if check.name == _ALONE}
        others = [check for check in wanted if check.name != _ALONE]
        found = await asyncio.gather(*(_run(check, patient) for check in others))
        by_name = alone | {check.name: one for check, one in zip(others, found, strict=True)}
        return [finding for check in wanted for finding in by_name[check.name]]
    finally:
        await patient.close()


async def _run(check: Check, patient: Patient) -> list[Finding]:
    report = Report(check.name)
    patience = patient.bounds.patience
    try:
        async with asyncio.timeout(patience):
            await check.looks(patient, report)
    except TimeoutError:
        report.warning(
            f"no answer within {patience:g} s",
            why="this could not be looked at, and what is so slow is a finding of its own",
            do="look at the check latency, and try again",
        )
    except Unreachable as error:
        report.warning(
            f"could not be looked at: {error.cause}",
            why="what it would have found is not known",
            do="look at the checks cluster and latency, and try again",
        )
    except RedisRefused as error:
        report.note(
            f"could not be looked at: {error.message}",
            why="the URL's user may not ask for it",
            do="run capelin doctor as an operator, or give the user that right: docs/doctor.md lists them",
        )
    except Exception as error:  # noqa: BLE001 -- whatever one check stumbles over, the others are told
        report.warning(
            f"could not be looked at: {type(error).__name__}: {error}",
            why="what it met in Redis is not what capelin writes",
            do="look at the key by hand; something else may use this prefix",
        )
    return report.findings or [Finding(check=check.name, severity=Severity.OK, what="nothing to look at")]
