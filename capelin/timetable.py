"""The schedules of a namespace as they stand in Redis: read, changed, paused, triggered.

Apps, the admin CLI and the leader share it. What changes a schedule tells the leader, so that it need not
look; when nobody leads, whoever leads next reads it all.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from capelin import inbox
from capelin.connection import Connection
from capelin.errors import CapelinError, ScheduleExists, ScheduleNotFound
from capelin.keys import Keys
from capelin.lua import FIRST_LAYOUT
from capelin.lua.replies import ScheduleVerdict, text, whole
from capelin.lua.scheduling import (
    Changed,
    NewSchedule,
    ScheduleName,
    schedule_drop,
    schedule_pause,
    schedule_put,
)
from capelin.schedules import Schedule

CODE = "code"
API = "api"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleState:
    """What became of the ticks of a schedule so far. Written by leaders only.

    Attributes:
        last: The newest tick that was decided about, ms; ticks after it are owed.
        tick: The newest tick that was fired, ms.
        job: The id of its job.
        outcome: What became of the newest tick: ``fired``, or why it was skipped.
        at: When that was decided, ms.
        fired: How many ticks were fired.
        skipped: How many were not, by reason.
    """

    last: int | None = None
    tick: int | None = None
    job: str | None = None
    outcome: str | None = None
    at: int | None = None
    fired: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict[str, int])

    def to_json(self) -> str:
        """Return it as stored."""
        found = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return json.dumps({**found, "skipped": dict(self.skipped)}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: bytes | None) -> "ScheduleState":
        """Read it; what cannot be read counts as nothing known."""
        raw = _object(text)
        skipped = raw.get("skipped")
        counts = cast("dict[str, object]", skipped) if isinstance(skipped, dict) else {}
        return cls(
            last=_whole(raw.get("last")),
            tick=_whole(raw.get("tick")),
            job=_text(raw.get("job")),
            outcome=_text(raw.get("outcome")),
            at=_whole(raw.get("at")),
            fired=_whole(raw.get("fired")) or 0,
            skipped={reason: _whole(count) or 0 for reason, count in counts.items()},
        )

    def fire(self, tick: int, job: str, *, at: int) -> "ScheduleState":
        """Return the state after a tick became a job."""
        return replace(self, last=tick, tick=tick, job=job, outcome="fired", at=at, fired=self.fired + 1)

    def skip(self, last: int, reason: str, count: int, *, at: int) -> "ScheduleState":
        """Return the state after ticks, ``last`` the newest of them, were passed over."""
        counts = {**self.skipped, reason: self.skipped.get(reason, 0) + count}
        return replace(self, last=last, outcome=reason, at=at, skipped=counts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """A tick that a leader is about to enqueue, or has enqueued without having said so yet.

    Attributes:
        tick: The tick, ms.
        job: The id of the job that it becomes.
        not_after: Redis enqueues it until this moment, ms.
        layout: The version of the queue's layout by which its shard was chosen: everybody sends it there
            under that one, so that a shard that refuses one refuses all.
    """

    tick: int
    job: str
    not_after: int
    layout: int = FIRST_LAYOUT

    @classmethod
    def from_json(cls, text: bytes) -> "Intent":
        """Read it.

        Raises:
            ValueError, KeyError, TypeError: It cannot be read.
        """
        raw = cast("dict[str, Any]", json.loads(text))
        return cls(
            tick=int(raw["tick"]),
            job=str(raw["job"]),
            not_after=int(raw["not_after"]),
            layout=int(raw.get("layout", FIRST_LAYOUT)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One schedule as it stands.

    Attributes:
        name: Its name.
        schedule: The schedule; None for one that this release cannot read.
        app: The app that owns it.
        source: ``code`` for one that a release declares, ``api`` for one that was added at run time.
        revision: Changes with every change.
        since: Ticks after this moment are owed, ms.
        retired: When it left its app's code, ms, or None.
        paused: Since when it is paused, ms, or None.
        state: What became of its ticks.
        intent: The tick that is being enqueued, or None.
        beat: When a run of it completed last, ms, or None.
    """

    name: str
    schedule: Schedule | None
    app: str
    source: str
    revision: int
    since: int
    retired: int | None = None
    paused: int | None = None
    state: ScheduleState = field(default_factory=ScheduleState)
    intent: Intent | None = None
    beat: int | None = None

    @property
    def fires(self) -> bool:
        """Whether its ticks are fired."""
        return self.schedule is not None and self.retired is None and self.paused is None

    @property
    def decided(self) -> int:
        """Ticks after this moment are owed, ms."""
        return max(self.since, self.state.last or 0)

    @property
    def next(self) -> int | None:
        """The next tick that is owed, ms, which may be past; None when there is none."""
        if self.schedule is None or not self.fires:
            return None
        after = self.decided
        if self.schedule.start is not None:
            after = max(after, self.schedule.start - 1)
        tick = self.schedule.timing.after(after)
        end = self.schedule.end
        return None if tick is None or (end is not None and tick > end) else tick


class Timetable:
    """The schedules of one namespace.

    Args:
        connection: Where.
        keys: The namespace.
    """

    def __init__(self, connection: Connection, keys: Keys) -> None:
        self._connection, self._keys = connection, keys

    async def read(self) -> tuple[int, dict[str, Entry]]:
        """Return the version of all definitions, and every schedule by name.

        Raises:
            Unreachable, RedisRefused: They could not be read.
        """
        keys = self._keys
        # The version first: what changes after it is read again, since the version then differs.
        version, items, states, intents, paused, beats = await self._ask(
            [
                ("HGET", keys.schedules_meta, "version"),
                *(
                    ("HGETALL", key)
                    for key in (
                        keys.schedules_items,
                        keys.schedules_states,
                        keys.schedules_intents,
                        keys.schedules_paused,
                        keys.schedules_beats,
                    )
                ),
            ]
        )
        found = [_pairs(flat) for flat in (states, intents, paused, beats)]
        entries = {
            name: _entry(name, text, *(values.get(name) for values in found))
            for name, text in _pairs(items).items()
        }
        return whole(version), dict(sorted(entries.items()))

    async def get(self, name: str) -> Entry:
        """Return one schedule.

        Raises:
            ScheduleNotFound: There is none of that name.
            Unreachable, RedisRefused: It could not be read.
        """
        keys = self._keys
        item, *values = await self._ask(
            [
                ("HGET", key, name)
                for key in (
                    keys.schedules_items,
                    keys.schedules_states,
                    keys.schedules_intents,
                    keys.schedules_paused,
                    keys.schedules_beats,
                )
            ]
        )
        if item is None:
            raise ScheduleNotFound(name=name, known=await self.names())
        return _entry(name, item, *values)

    async def names(self) -> list[str]:
        """Return the names of all schedules, in order."""
        return sorted(
            text(name) for name in await self._connection.command("HKEYS", self._keys.schedules_items)
        )

    async def put(self, app: str, schedule: Schedule) -> ScheduleVerdict:
        """Add a schedule at run time, or change it.

        Raises:
            ScheduleExists: The name is that of another app's schedule, or of one that code declares.
            Unreachable, RedisRefused: It may or may not have been written.
        """
        changed = await self._run(
            schedule_put(
                self._keys,
                owner="",
                epoch="",
                app=app,
                source=API,
                schedules=[NewSchedule(schedule.name, schedule.timing_text, schedule.to_json())],
            )
        )
        verdict = changed.verdicts[0]
        if verdict is ScheduleVerdict.TAKEN:
            raise ScheduleExists(
                name=schedule.name, why=f"it belongs to app {changed.taken_by[0]!r}; take another name"
            )
        if verdict is ScheduleVerdict.DECLARED:
            raise ScheduleExists(name=schedule.name, why="code declares it; change it there")
        return verdict

    async def remove(self, name: str) -> None:
        """Remove a schedule that was added at run time, or one that has left its app's code.

        Raises:
            ScheduleNotFound: There is none of that name.
            ScheduleExists: Code declares it: it would come back.
            Unreachable, RedisRefused: It may or may not have been removed.
        """
        changed = await self._run(
            schedule_drop(self._keys, owner="", epoch="", retire=False, schedules=[ScheduleName(name)])
        )
        if changed.verdicts[0] is ScheduleVerdict.MISSING:
            raise ScheduleNotFound(name=name, known=await self.names())
        if changed.verdicts[0] is ScheduleVerdict.DECLARED:
            raise ScheduleExists(name=name, why="code declares it; remove it there, or pause it")

    async def pause(self, name: str) -> bool:
        """Pause a schedule: none of its ticks is fired. Return whether it was not paused before.

        Raises:
            ScheduleNotFound: There is none of that name.
            Unreachable, RedisRefused: It may or may not have been paused.
        """
        return await self._pause(name, pause=True)

    async def resume(self, name: str) -> bool:
        """Let a schedule go on; ticks of the pause are not caught up. Return whether it was paused.

        Raises:
            ScheduleNotFound: There is none of that name.
            Unreachable, RedisRefused: It may or may not go on.
        """
        return await self._pause(name, pause=False)

    async def _pause(self, name: str, *, pause: bool) -> bool:
        changed = await self._run(schedule_pause(self._keys, name=name, pause=pause))
        if changed.verdicts[0] is ScheduleVerdict.MISSING:
            raise ScheduleNotFound(name=name, known=await self.names())
        return changed.verdicts[0] is not ScheduleVerdict.SAME

    async def _run(self, call: Any) -> Changed:
        changed = cast(Changed, await self._connection.run(call))
        if changed.leader:
            try:
                await inbox.post(self._connection, self._keys, changed.leader, inbox.Kind.SCHEDULES)
            except CapelinError:  # it looks at the version at its next renewal, too
                return changed
        return changed

    async def _ask(self, commands: Sequence[tuple[str | bytes | int | float, ...]]) -> list[Any]:
        replies = await self._connection.commands(commands)
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return replies


def _pairs(flat: Sequence[bytes]) -> dict[str, bytes]:
    return {text(name): value for name, value in zip(flat[::2], flat[1::2], strict=True)}


def _entry(name: str, item: bytes, *values: bytes | None) -> Entry:
    state, intent, paused, beat = values
    raw = _object(item)
    return Entry(
        name=name,
        schedule=_readable(raw),
        app=str(raw.get("app", "")),
        source=str(raw.get("source", "")),
        revision=_whole(raw.get("rev")) or 0,
        since=_whole(raw.get("since")) or 0,
        retired=_whole(raw.get("retired")),
        paused=None if paused is None else whole(paused),
        state=ScheduleState.from_json(state),
        intent=_intent(intent),
        beat=whole(beat) or None,
    )


def _object(text: bytes | None) -> dict[str, Any]:
    """Read an object; what is none, since it is torn or somebody else's, is empty."""
    try:
        found: object = json.loads(text or b"{}")
    except ValueError:
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _readable(raw: Mapping[str, Any]) -> Schedule | None:
    try:
        return Schedule.from_json(raw["def"])
    except (CapelinError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _intent(text: bytes | None) -> Intent | None:
    try:
        return None if text is None else Intent.from_json(text)
    except (ValueError, KeyError, TypeError):
        return None
