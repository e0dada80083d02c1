"""Singletons: who hosts each, how its runs go, and whether it gives signs of life."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from capelin.admin.access import Access, NotThere
from capelin.keys import Keys
from capelin.lua.replies import text, whole
from capelin.records import moment

INTERVALS = 2
"""A singleton that gave no sign of life for so many intervals is not healthy."""
_FIELDS = ("beat", "saved", "runs", "failures", "last_error", "failed", "since")
_MINUTE = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SingletonInfo:
    """How a singleton stands.

    Attributes:
        name: Its name.
        app: The app that declared it last.
        interval: Seconds from the end of one run to the next.
        healthy: Whether it gave a sign of life within two intervals. A move gives no grace.
        due_by: The moment by which the next one must come.
        holder: The worker that hosts it; None when nobody's lease holds.
        epoch: Of the lease: the fencing token. 0 when nobody ever held it.
        lease_seconds: For how long the lease still holds.
        since: Since when its last host hosts it, or did.
        beat: Its last sign of life: a run that returned, a save, or a heartbeat.
        saved: When its state was last saved.
        registered: When it was first declared.
        runs: Runs that returned.
        failures: Runs that raised an error.
        failed: When the last one did.
        last_error: What that one raised.
        state_bytes: What its state takes as JSON; None when nothing was ever saved.
        set_aside: Whether a state that could not be read is kept aside.
    """

    name: str
    app: str
    interval: float
    healthy: bool
    due_by: datetime
    holder: str | None
    epoch: int
    lease_seconds: float | None
    since: datetime | None
    beat: datetime | None
    saved: datetime | None
    registered: datetime | None
    runs: int
    failures: int
    failed: datetime | None
    last_error: str | None
    state_bytes: int | None
    set_aside: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SingletonState:
    """What a singleton keeps in Redis.

    Attributes:
        state: The saved state as JSON, or None.
        aside: One that a host could not read, as it was found, or None.
    """

    state: str | None
    aside: str | None


async def list_singletons(access: Access) -> list[SingletonInfo]:
    """Return every singleton that the code of a release declares, by name.

    Raises:
        Unreachable, RedisRefused: Redis could not be asked.
    """
    [flat] = await access.commands([("HGETALL", access.keys.singletons)])
    definitions = dict(zip(map(text, flat[::2]), flat[1::2], strict=True))
    names = sorted(definitions)
    replies = await access.commands([one for name in names for one in _questions(access.keys, name)])
    now = await access.clock()  # last, so that no sign of life lies in the future
    return [
        _info(name, definitions[name], replies[4 * place : 4 * place + 4], now)
        for place, name in enumerate(names)
    ]


async def read_singleton(access: Access, name: str) -> tuple[SingletonInfo, SingletonState]:
    """Return how one singleton stands, and what it keeps.

    Raises:
        NotThere: No release declares one of that name.
        Unreachable, RedisRefused: Redis could not be asked.
    """
    found = {one.name: one for one in await list_singletons(access)}
    if name not in found:
        raise NotThere(what="singleton", name=name, known=found)
    [kept] = await access.commands([("HMGET", access.keys.lease_state(name), "state", "aside")])
    state, aside = (None if one is None else text(one) for one in kept)
    return found[name], SingletonState(state=state, aside=aside)


def _questions(keys: Keys, name: str) -> list[tuple[str, ...]]:
    state = keys.lease_state(name)
    return [
        ("HMGET", keys.lease(name), "owner", "epoch", "expires"),
        ("HMGET", state, *_FIELDS),
        ("HSTRLEN", state, "state"),
        ("HEXISTS", state, "aside"),
    ]


def _info(name: str, definition: bytes, replies: list[Any], now: int) -> SingletonInfo:
    (owner, epoch, expires), values, size, aside = replies
    known = dict(zip(_FIELDS, values, strict=True))
    declared = _read(definition)
    interval = _number(declared.get("interval_ms")) or _MINUTE
    registered = _number(declared.get("registered")) or None
    last = whole(known["beat"]) or registered or now
    left = whole(expires) - now
    held = bool(owner) and left > 0
    due_by = last + INTERVALS * interval
    return SingletonInfo(
        name=name,
        app=str(declared.get("app") or ""),
        interval=interval / 1000,
        healthy=now <= due_by,
        due_by=cast(datetime, moment(due_by)),
        holder=text(owner) if held else None,
        epoch=whole(epoch),
        lease_seconds=left / 1000 if held else None,
        since=moment(known["since"]),
        beat=moment(known["beat"]),
        saved=moment(known["saved"]),
        registered=moment(registered),
        runs=whole(known["runs"]),
        failures=whole(known["failures"]),
        failed=moment(known["failed"]),
        last_error=text(known["last_error"]) or None,
        state_bytes=int(size) or None,
        set_aside=bool(aside),
    )


def _number(value: object) -> int:
    return whole(value) if isinstance(value, int | float) else 0


def _read(definition: bytes) -> dict[str, Any]:
    try:
        declared: object = json.loads(definition)
    except ValueError:
        return {}
    return cast(dict[str, Any], declared) if isinstance(declared, dict) else {}
