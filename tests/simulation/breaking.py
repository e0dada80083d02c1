"""Protocols that are broken on purpose: a checker that finds nothing wrong with these finds nothing."""

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any
from unittest import mock

from capelin.ids import new_uid
from capelin.lua import loader
from capelin.scheduler import firing
from capelin.scheduler.planning import Plan, plan
from capelin.schedules import Schedule
from capelin.ticks import CatchUp
from capelin.timing import Timing
from capelin.workers.control import Control
from capelin.workers.running import Running
from capelin.workers.trust import Trust
from tests.simulation import session


@contextmanager
def scripts(*changes: tuple[str, str, str]) -> Generator[None]:
    """Change the texts of scripts as the server runs them.

    Args:
        changes: The script, what to leave out of it, and what to put there.
    """
    for name, text, _ in changes:
        if text not in loader.load(name).text:
            raise ValueError(f"{name} has no {text!r} any more")
    changed: dict[str, list[tuple[str, str]]] = {}
    for name, text, instead in changes:
        changed.setdefault(name, []).append((text, instead))
    with mock.patch.dict(session.CHANGED, changed):
        yield


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
        scripts(
            ("enqueue", marker, ""),
            ("schedule_intend", fence, "return false"),
            ("schedule_commit", fence, "return false"),
        ),
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


_FENCE = "if j[3] ~= token or j[1] ~= 'running' or j[2] ~= worker then"

BREAKS: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "finish believes anybody": partial(scripts, ("finish", _FENCE, "if false then")),
    "a token is used twice": partial(
        scripts, ("take", "(tonumber(j[3]) or 0) + 1", "math.max(tonumber(j[3]) or 0, 1)")
    ),
    "take promotes without removing": partial(
        scripts, ("take", "redis.call('ZREM', scheduled, uid)\n", "\n")
    ),
    "nobody writes stakes": partial(
        scripts,
        ("take", "if #jobs > 0 then redis.call('ZADD', stakes", "if false then redis.call('ZADD', stakes"),
        ("renew", "if pending_here > 0 or staked == '1' then", "if false then"),
    ),
    "a sent again enqueue is not recognised": partial(
        scripts, ("enqueue", "if known[1] then return 'again', uid end", "")
    ),
    "dedupe looks away": partial(
        scripts, ("enqueue", "if not holder then return 'new' end", "if true then return 'new' end")
    ),
    "finish keeps no account of ends": partial(
        scripts, ("finish", "    keep(uid, j[12], j[7], j[10])\n", "")
    ),
    "reap forgets": partial(scripts, ("reap", "    enter(uid, RETURNED)\n", "")),
    "reap counts every end of a stake as a crash": rash,
    "what Redis forgot runs for ever": unmoved_by_forgetting,
    "ticks are forgotten": forgetful_of_ticks,
    "ticks are passed over": passing_over,
    "the parked are forgotten": deaf_to_the_parked,
}
"""What is broken, and how."""
