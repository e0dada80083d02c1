"""Transitions of schedules. What the leader writes is fenced by the epoch of its lease."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from capelin.keys import Keys
from capelin.lua.call import Call
from capelin.lua.producing import FIRST_LAYOUT
from capelin.lua.replies import ScheduleVerdict, text
from capelin.lua.typed import Transition, checked

_PUT = Transition("schedule_put")
_DROP = Transition("schedule_drop")
_PAUSE = Transition("schedule_pause")
_INTEND = Transition("schedule_intend")
_COMMIT = Transition("schedule_commit")
_DECLARE = Transition("schedule_declare")
_BEAT = Transition("schedule_beat")


class NewSchedule(NamedTuple):
    """One schedule of a ``schedule_put``.

    Attributes:
        timing: Text that differs when it ticks at other times.
        definition: JSON that scripts do not read.
    """

    name: str
    timing: str
    definition: str


class ScheduleName(NamedTuple):
    """One schedule of a ``schedule_drop``."""

    name: str


class Tick(NamedTuple):
    """One tick of a ``schedule_intend``.

    Attributes:
        revision: Of the definition that the leader read.
        moment: The tick, ms.
        job: The id of the job that it becomes.
        layout: The version of the queue's layout by which its shard was chosen.
    """

    name: str
    revision: int
    moment: int
    job: str
    layout: int = FIRST_LAYOUT


class NewState(NamedTuple):
    """What became of ticks of one schedule: its whole state, as JSON."""

    name: str
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """The reply of what changes schedules.

    Attributes:
        leader: The worker that is to look again; empty when nobody leads.
        verdicts: One a schedule, in order.
        taken_by: For each, the app that owns the name, when that is why it was refused; else empty.
    """

    leader: str
    verdicts: tuple[ScheduleVerdict, ...]
    taken_by: tuple[str, ...]

    @classmethod
    def read(cls, raw: Any) -> "Changed | None":
        """Read the reply; None: the caller leads no more."""
        if raw == b"deposed":
            return None
        leader, *rest = (text(value) for value in raw)
        parts = [value.partition(":") for value in rest]
        return cls(
            leader=leader,
            verdicts=tuple(ScheduleVerdict(verdict) for verdict, _, _ in parts),
            taken_by=tuple(app for _, _, app in parts),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Intended:
    """The reply of ``schedule_intend``.

    Attributes:
        now: Redis's clock, ms.
        version: Of all definitions together.
        not_after: For each tick the moment, ms, until which its job may be enqueued; 0: the schedule has
            changed, and is to be read again.
    """

    now: int
    version: int
    not_after: tuple[int, ...]

    @classmethod
    def read(cls, raw: Any) -> "Intended | None":
        """Read the reply; None: the caller leads no more."""
        if raw == b"deposed":
            return None
        now, version, *rest = (int(value) for value in raw)
        return cls(now=now, version=version, not_after=tuple(rest))


class Committed(NamedTuple):
    """The reply of ``schedule_commit``: Redis's clock, ms, and the version of all definitions together."""

    now: int
    version: int


@checked(_PUT, rows=NewSchedule)
def schedule_put(
    keys: Keys, /, *, owner: str, epoch: int | str, app: str, source: str, schedules: Sequence[NewSchedule]
) -> Call[Changed | None]:
    """Add or change schedules of an app.

    Args:
        keys: The namespace.
        owner: The leader that puts what a release declares; empty for anybody else.
        epoch: Its lease's; empty for anybody else.
        app: The app that owns them.
        source: ``code`` or ``api``.
        schedules: At most 500.
    """
    names = (keys.schedules_lease, keys.schedules_items, keys.schedules_meta)
    return _PUT(names, Changed.read, schedules, owner=owner, epoch=epoch, app=app, source=source)


@checked(_DROP, rows=ScheduleName)
def schedule_drop(
    keys: Keys, /, *, owner: str, epoch: int | str, retire: bool, schedules: Sequence[ScheduleName]
) -> Call[Changed | None]:
    """Remove schedules, or retire them; ``owner`` and ``epoch`` as for ``schedule_put``."""
    names = (
        keys.schedules_lease,
        keys.schedules_items,
        keys.schedules_meta,
        keys.schedules_states,
        keys.schedules_intents,
        keys.schedules_paused,
        keys.schedules_beats,
    )
    return _DROP(names, Changed.read, schedules, owner=owner, epoch=epoch, retire="1" if retire else "")


def _read_one(raw: Any) -> Changed:
    changed = Changed.read(raw)
    if changed is None:
        raise TypeError("only a leader is deposed")
    return changed


@checked(_PAUSE)
def schedule_pause(keys: Keys, /, *, name: str, pause: bool) -> Call[Changed]:
    """Pause a schedule, or let it go on."""
    names = (keys.schedules_lease, keys.schedules_items, keys.schedules_meta, keys.schedules_paused)
    return _PAUSE(names, _read_one, name=name, pause="1" if pause else "")


@checked(_INTEND, rows=Tick)
def schedule_intend(
    keys: Keys, /, *, owner: str, epoch: int, window: int, ticks: Sequence[Tick]
) -> Call[Intended | None]:
    """Write which ticks are about to be enqueued, within ``window`` ms; at most 500. None: deposed."""
    names = (
        keys.schedules_lease,
        keys.schedules_items,
        keys.schedules_intents,
        keys.schedules_paused,
        keys.schedules_meta,
    )
    return _INTEND(names, Intended.read, ticks, owner=owner, epoch=epoch, window=window)


def _read_committed(raw: Any) -> Committed | None:
    return None if raw == b"deposed" else Committed(int(raw[0]), int(raw[1]))


@checked(_COMMIT, rows=NewState)
def schedule_commit(
    keys: Keys, /, *, owner: str, epoch: int, schedules: Sequence[NewState]
) -> Call[Committed | None]:
    """Write what became of ticks; at most 500, or none to ask for the clock. None: deposed."""
    names = (
        keys.schedules_lease,
        keys.schedules_items,
        keys.schedules_states,
        keys.schedules_intents,
        keys.schedules_meta,
    )
    return _COMMIT(names, _read_committed, schedules, owner=owner, epoch=epoch)


@checked(_DECLARE)
def schedule_declare(keys: Keys, /, *, release: str, text: str) -> Call[bool]:
    """Say what a release declares (``<app> <digest>``, JSON). True: nobody had said it before."""
    return _DECLARE((keys.schedules_declared,), bool, release=release, text=text)


@checked(_BEAT)
def schedule_beat(keys: Keys, /, *, name: str) -> Call[bool]:
    """Say that a run of a schedule has completed. False: there is no such schedule any more."""
    return _BEAT((keys.schedules_items, keys.schedules_beats), bool, name=name)
