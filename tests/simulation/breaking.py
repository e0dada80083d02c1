"""Protocols that are broken on purpose: a checker that finds nothing wrong with these finds nothing."""

import asyncio
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from capelin.ids import new_uid
from capelin.lua import Layout, loader
from capelin.scheduler import firing
from capelin.scheduler.planning import Plan, plan
from capelin.schedules import Schedule
from capelin.ticks import CatchUp
from capelin.timing import Timing
from capelin.workers.control import Control
from capelin.workers.running import Running
from capelin.workers.thief import Thief
from capelin.workers.trust import Trust
from tests.mutation.catalog import MUTANTS
from tests.mutation.mutants import PACKAGE, Edit, lua
from tests.simulation import session
from tests.simulation.cluster import SimCluster

_SCRIPTS = sorted(path.stem for path in (PACKAGE / "lua").glob("*.lua"))


@contextmanager
def changed(*edits: Edit) -> Generator[None]:
    """Change the texts of scripts as the server runs them, those that come from includes in every script."""
    texts: dict[str, list[tuple[str, str]]] = {}
    for edit in edits:
        script = None if edit.file.startswith("lua/includes/") else Path(edit.file).stem
        for name in _SCRIPTS if script is None else [script]:
            if edit.before in loader.load(name).text:
                texts.setdefault(name, []).append((edit.before, edit.after))
        edit.applied((PACKAGE / edit.file).read_text())
    with mock.patch.dict(session.CHANGED, texts):
        yield


def mutated(name: str) -> AbstractContextManager[None]:
    """One of the mutants of `tests.mutation`."""
    return changed(*MUTANTS[name].edits)


@contextmanager
def rash() -> Generator[None]:
    """Judge right after a start, an outage or a stall."""
    with (
        mock.patch.object(Trust, "fit", property(lambda _: True)),
        mock.patch.object(Trust, "fit_for", return_value=True),
        mock.patch.object(Trust, "judge_until", property(lambda _: 1 << 52)),
        mock.patch.object(Trust, "judge_until_in", return_value=1 << 52),
        mock.patch.object(Trust, "no_crash_before", return_value=0),
    ):
        yield


@contextmanager
def unmoved_by_forgetting() -> Generator[None]:
    """A start that has ended here, and that Redis holds running again, is left alone."""
    with mock.patch.object(Running, "has_ended", return_value=False):
        yield


def _any_uid(_: Schedule, tick: int) -> str:  # noqa: ARG001 -- that is what is broken
    return new_uid()


@contextmanager
def forgetful_of_ticks() -> Generator[None]:
    """A leader that was deposed goes on, and neither the shard nor the job's name remembers a tick."""
    marker = "if newest >= tick then return 'again' end"
    fence = "return held[1] ~= owner or held[2] ~= epoch"
    with (
        changed(lua("includes/ticks", marker), lua("includes/fence", fence, "return false")),
        mock.patch.object(Schedule, "uid_of", new=_any_uid),
    ):
        yield


@contextmanager
def passing_over() -> Generator[None]:
    """What fell due while nobody led is not caught up."""

    def late(timing: Timing, **given: Any) -> Plan:
        given["catch_up"] = CatchUp.NONE
        return plan(timing, **given)

    with mock.patch.object(firing, "plan", late):
        yield


@contextmanager
def deaf_to_the_parked() -> Generator[None]:
    """Nobody asks for parked jobs, or hears of them."""
    with (
        mock.patch.object(Control, "joined", return_value=None),
        mock.patch.object(Control, "found_parked", return_value=None),
    ):
        yield


@contextmanager
def honest() -> Generator[None]:
    """Nobody steals."""

    async def idle(_: Thief) -> None:
        await asyncio.Event().wait()

    with mock.patch.object(Thief, "run", idle):
        yield


@contextmanager
def forgetful_of_homes() -> Generator[None]:
    """Nobody asks for a key where it was at home before its queue was cut anew."""
    with mock.patch.object(Layout, "older_homes", return_value=()):
        yield


@contextmanager
def boastful() -> Generator[None]:
    """A server says that replicas have what they do not have."""

    def lie(*_: object, wanted: int, patience: float) -> int:  # noqa: ARG001 -- called by name
        return wanted

    with mock.patch.object(SimCluster, "_copies", lie):
        yield


_STAKES_OF_RENEWALS = lua("renew", "if pending_here > 0 or staked == '1' then", "if false then")
_SHARED = (
    "finish believes anybody",
    "a token is used twice",
    "take promotes without removing",
    "dedupe looks away",
    "finish keeps no account of ends",
    "reap forgets",
)
"""Mutants that a simulation finds, too."""

BREAKS: dict[str, Callable[[], AbstractContextManager[None]]] = {
    **{name: partial(mutated, name) for name in _SHARED},
    "nobody writes stakes": partial(changed, *MUTANTS["take writes no stake"].edits, _STAKES_OF_RENEWALS),
    # Its record says where the job is, so that a second entry alone would do no harm.
    "what is enqueued again is written anew": partial(
        changed,
        lua(
            "enqueue",
            "  if known[1] or known[3] then return 'again', uid end\n",
            "  if known[1] then redis.call('DEL', record(uid)) end\n",
        ),
    ),
    "reap counts every end of a stake as a crash": rash,
    "what Redis forgot runs for ever": unmoved_by_forgetting,
    "ticks are forgotten": forgetful_of_ticks,
    "ticks are passed over": passing_over,
    "the parked are forgotten": deaf_to_the_parked,
    "nobody steals": honest,
    "a window is no window": partial(mutated, "dedupe looks away"),
    "a pause pauses nothing": partial(
        changed,
        lua(
            "schedule_pause",
            "if redis.call('HSETNX', schedules_paused, name, now) == 0 then",
            "if false then",
        ),
    ),
    "replicas are said to have what they lack": boastful,
    "old homes are not asked": forgetful_of_homes,
}
"""What is broken, and how."""
