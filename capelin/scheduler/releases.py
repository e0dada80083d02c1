"""Which release's schedules count, when several run at once.

Each worker writes once, when it starts, what its release declares: the schedules and singletons of its code,
under a digest of them. Redis notes when a release was first seen. The leader compares that with the fleet:

* Of an app, the newest release that has a live worker counts; its schedules are put in place, and those that
  other releases declared and it does not are retired. So the first new pod of a rolling deploy decides, and
  old pods, also ones that restart, do not fight it.
* When the last worker of that release has been gone for a minute, the newest one that is left counts: that is
  a rollback. Until then nothing changes; a release whose pods crash for a moment does not lose its schedules.
* An app without any live worker keeps what it had: its schedules are fired by whoever leads.

A release that nobody has run for an hour is forgotten, so that deploying it again makes it the newest.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import structlog

from capelin import inbox
from capelin.connection import Connection
from capelin.keys import Keys
from capelin.lua import Call
from capelin.lua.replies import ScheduleVerdict
from capelin.lua.scheduling import Changed, NewSchedule, ScheduleName, schedule_drop, schedule_put
from capelin.scheduler.firing import Deposed
from capelin.schedules import Schedule
from capelin.timetable import CODE, Entry, Timetable

log = structlog.get_logger("capelin.scheduler")

GONE_FOR = 60.0
"""Seconds without a worker after which a release leaves the field to an older one."""
_LOOK_EVERY = 15.0
_SOON = 0.25
_FORGOTTEN_AFTER = 3600.0
_RETIRED_FOR = 7 * 86400 * 1000
_AT_ONCE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """What one release of one app declares.

    Attributes:
        app: The app's name.
        digest: Of all that follows: the release.
        schedules: Its schedules.
        singletons: Names of its singletons.
    """

    app: str
    digest: str
    schedules: tuple[NewSchedule, ...]
    singletons: tuple[str, ...]

    @classmethod
    def of(cls, app: str, schedules: Iterable[Schedule], singletons: Iterable[str]) -> "Declaration":
        """Return the declaration of these."""
        rows = tuple(
            NewSchedule(one.name, one.timing_text, one.to_json())
            for one in sorted(schedules, key=lambda schedule: schedule.name)
        )
        names = tuple(sorted(singletons))
        digest = hashlib.sha256(_json([rows, names]).encode()).hexdigest()[:16]
        return cls(app=app, digest=digest, schedules=rows, singletons=names)

    @property
    def key(self) -> str:
        """The field under which it is stored."""
        return f"{self.app} {self.digest}"

    def to_json(self) -> str:
        """Return what it declares, as text."""
        return _json({"schedules": [list(row) for row in self.schedules], "singletons": self.singletons})


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A release that was declared. ``first`` is when it was first seen, ms by Redis's clock."""

    declaration: Declaration
    first: int


class Choice:
    """Decides which release of an app counts: see the module's words. It remembers who was seen when.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[tuple[str, str], float] = {}

    def see(self, known: Iterable[tuple[str, str]], live: Iterable[tuple[str, str]]) -> None:
        """Note which releases (app, digest) are declared, and which have a worker now."""
        now = self._clock()
        living = set(live)
        self._seen = {one: now if one in living else self._seen.get(one, now) for one in known}

    def gone_for(self, release: tuple[str, str]) -> float:
        """Return for how many seconds a release has had no worker, as far as is known here."""
        return self._clock() - self._seen.get(release, self._clock())

    def next_change(self) -> float:
        """Return in how many seconds the next of the releases that are gone has been gone for long enough."""
        left = (GONE_FOR - self.gone_for(release) for release in self._seen)
        return min((seconds for seconds in left if 0 < seconds < GONE_FOR), default=GONE_FOR)

    def decide(self, app: str, first_seen: Mapping[str, int], live: set[str]) -> str | None:
        """Return the release of an app that counts, or None: nothing is to be changed for now.

        Args:
            app: The app.
            first_seen: When each of its declared releases was first seen.
            live: Those that have a worker.
        """
        for digest in sorted(first_seen, key=lambda one: (first_seen[one], one), reverse=True):
            if digest in live:
                return digest
            if self.gone_for((app, digest)) < GONE_FOR:
                return None
        return None


class Releases:
    """Puts in place what the releases declare: a leader's business.

    Args:
        connection: Where.
        keys: The namespace.
        owner: The leader's worker id.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        connection: Connection,
        keys: Keys,
        *,
        owner: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connection, self._keys, self._owner, self._clock = connection, keys, owner, clock
        self._timetable = Timetable(connection, keys)
        self._choice = Choice(clock)
        self._said: set[str] = set()
        self._looked_at: Mapping[str, tuple[str, str]] | None = None
        self._look_again = 0.0
        self._patience = _SOON

    async def settle(self, epoch: int, members: Mapping[str, tuple[str, str]]) -> None:
        """Look at the fleet, and change what has to be changed.

        Args:
            epoch: Of the lease.
            members: App and release of every live worker, by its id.

        Raises:
            Deposed: Somebody else leads.
            Unreachable, RedisRefused: Something is left to do; call it again.
        """
        if members == self._looked_at and self._clock() < self._look_again:
            return
        known = await self._declared()
        _, entries = await self._timetable.read()
        live = {release for release in members.values() if release[1]}
        self._choice.see(known, live)
        unknown = await self._ask_again(members, known)
        for app in sorted({app for app, _ in live}):
            first_seen = {digest: one.first for (name, digest), one in known.items() if name == app}
            living = {digest for name, digest in live if name == app}
            chosen = self._choice.decide(app, first_seen, living)
            if chosen is not None:
                # Each time: a name that was another app's may be free, an old pod that restarts may have
                # declared a singleton again, and Redis may have lost what was written last.
                await self._apply(epoch, known[app, chosen].declaration, entries)
        await self._forget(known, live)
        await self._purge(epoch, entries)
        self._looked_at = dict(members)
        # Who was asked answers soon; who never does is asked ever more rarely.
        self._patience = min(2 * self._patience, _LOOK_EVERY) if unknown else _SOON
        wait = self._patience if unknown else _LOOK_EVERY
        self._look_again = self._clock() + min(wait, self._choice.next_change())

    async def _declared(self) -> dict[tuple[str, str], Known]:
        flat = await self._connection.command("HGETALL", self._keys.schedules_declared)
        found: dict[tuple[str, str], Known] = {}
        for key, text in zip(flat[::2], flat[1::2], strict=True):
            one = _read(key.decode(errors="replace"), text)
            if one is None:
                log.error("a release's declaration cannot be read", release=key.decode(errors="replace"))
            else:
                found[one.declaration.app, one.declaration.digest] = one
        return found

    async def _ask_again(
        self, members: Mapping[str, tuple[str, str]], known: Mapping[tuple[str, str], Known]
    ) -> bool:
        """A Redis that forgot what a release declares learns it again from its workers; return if it must."""
        unknown = [worker for worker, release in members.items() if release[1] and release not in known]
        await inbox.post_many(self._connection, self._keys, unknown, inbox.Kind.DECLARE)
        return bool(unknown)

    async def _apply(self, epoch: int, declared: Declaration, entries: Mapping[str, Entry]) -> None:
        """Put a release's schedules in place, and retire what it declares no more."""
        for begin in range(0, len(declared.schedules), _AT_ONCE):
            rows = declared.schedules[begin : begin + _AT_ONCE]
            changed = await self._run(
                schedule_put(
                    self._keys,
                    owner=self._owner,
                    epoch=epoch,
                    app=declared.app,
                    source=CODE,
                    schedules=rows,
                )
            )
            self._say(declared, rows, changed)
        names = {row.name for row in declared.schedules}
        left = [
            entry.name
            for entry in entries.values()
            if entry.app == declared.app
            and entry.source == CODE
            and entry.retired is None
            and entry.name not in names
        ]
        await self._drop(epoch, left, retire=True)
        for name in left:
            log.info("a schedule has left the code; it is retired", schedule=name, app=declared.app)
        await self._retire_singletons(declared)
        self._said.add(declared.key)

    def _say(self, declared: Declaration, rows: Iterable[NewSchedule], changed: Changed) -> None:
        for row, verdict, owner in zip(rows, changed.verdicts, changed.taken_by, strict=True):
            if verdict is ScheduleVerdict.TAKEN:
                say = log.debug if declared.key in self._said else log.error
                say(
                    "a schedule's name belongs to another app; give it another (name=...)",
                    schedule=row.name,
                    app=declared.app,
                    owner=owner,
                )
            elif verdict is not ScheduleVerdict.SAME:
                log.info("a schedule is in place", schedule=row.name, app=declared.app, change=verdict.value)

    async def _retire_singletons(self, declared: Declaration) -> None:
        flat = await self._connection.command("HGETALL", self._keys.singletons)
        left = [
            name
            for name, text in zip(flat[::2], flat[1::2], strict=True)
            if name.decode(errors="replace") not in declared.singletons and _app_of(text) == declared.app
        ]
        if left:
            await self._connection.command("HDEL", self._keys.singletons, *left)

    async def _forget(self, known: Mapping[tuple[str, str], Known], live: set[tuple[str, str]]) -> None:
        old = [
            one.declaration.key
            for release, one in known.items()
            if release not in live and self._choice.gone_for(release) > _FORGOTTEN_AFTER
        ]
        if old:
            await self._connection.command("HDEL", self._keys.schedules_declared, *old)

    async def _purge(self, epoch: int, entries: Mapping[str, Entry]) -> None:
        """Remove what was retired a week ago: by now, no rollback brings it back."""
        if not any(entry.retired for entry in entries.values()):
            return
        seconds, _ = await self._connection.command("TIME", key=self._keys.schedules_items)
        before = int(seconds) * 1000 - _RETIRED_FOR
        old = [entry.name for entry in entries.values() if entry.retired and entry.retired < before]
        await self._drop(epoch, old, retire=False)

    async def _drop(self, epoch: int, names: list[str], *, retire: bool) -> None:
        for begin in range(0, len(names), _AT_ONCE):
            rows = [ScheduleName(name) for name in names[begin : begin + _AT_ONCE]]
            await self._run(
                schedule_drop(self._keys, owner=self._owner, epoch=epoch, retire=retire, schedules=rows)
            )

    async def _run(self, call: Call[Changed | None]) -> Changed:
        changed = await self._connection.run(call)
        if changed is None:
            raise Deposed
        return changed


def _read(key: str, text: bytes) -> Known | None:
    app, _, digest = key.rpartition(" ")
    try:
        raw = cast("dict[str, Any]", json.loads(text))
        declared = cast("dict[str, Any]", json.loads(raw["text"]))
        return Known(
            declaration=Declaration(
                app=app,
                digest=digest,
                schedules=tuple(NewSchedule(*row) for row in declared["schedules"]),
                singletons=tuple(declared["singletons"]),
            ),
            first=int(raw["first"]),
        )
    except (ValueError, KeyError, TypeError):
        return None


def _app_of(text: bytes) -> str | None:
    try:
        raw: object = json.loads(text)
    except ValueError:
        return None
    return cast("dict[str, str]", raw).get("app") if isinstance(raw, dict) else None


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
