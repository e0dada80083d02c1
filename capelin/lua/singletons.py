"""Transitions of singletons: their state, signs of life and definitions. All but the last are fenced by owner
and epoch, in the slot of the lease.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from capelin.keys import Keys
from capelin.lua.call import Call
from capelin.lua.replies import text
from capelin.lua.typed import Transition, checked

_BEGIN = Transition("singleton_begin")
_SAVE = Transition("singleton_save")
_NOTE = Transition("singleton_note")
_ASIDE = Transition("singleton_aside")
_DECLARE = Transition("singleton_declare")
_LOOK = Transition("lease_look")


class Note(StrEnum):
    """What a holder has to say."""

    BEAT = "beat"
    """It goes on."""
    RAN = "ran"
    """A run returned."""
    FAILED = "failed"
    """A run raised an error."""


class Loaded(NamedTuple):
    """What the last holder left; ``state`` is JSON, or None."""

    state: bytes | None


class LeaseSeen(NamedTuple):
    """A lease as somebody else sees it.

    Attributes:
        owner: Whose it is or was; empty when it was given up, or never taken.
        expires_in: ms; negative when it has expired.
    """

    owner: str
    expires_in: int


class Declared(NamedTuple):
    """One singleton that a worker may host: its name, and its definition as JSON (an object, not empty)."""

    name: str
    definition: str


def _keys(keys: Keys, name: str) -> tuple[str, str]:
    return keys.lease(name), keys.lease_state(name)


def _read_begun(raw: Any) -> Loaded | None:
    return None if raw == b"deposed" else Loaded(raw[0] if raw else None)


@checked(_BEGIN)
def singleton_begin(keys: Keys, name: str, /, *, owner: str, epoch: int) -> Call[Loaded | None]:
    """Note a new holder, and read the state. None: the lease is somebody else's."""
    return _BEGIN(_keys(keys, name), _read_begun, owner=owner, epoch=epoch)


@checked(_SAVE)
def singleton_save(
    keys: Keys, name: str, /, *, owner: str, epoch: int, number: int, text: bytes
) -> Call[bool]:
    """Write the state. False: refused, the lease is somebody else's.

    Args:
        keys: The namespace.
        name: The singleton.
        owner: Who holds the lease.
        epoch: Of the lease.
        number: Which save of this holder it is, from 1: one that comes after a later one changes nothing.
        text: The state.
    """
    return _SAVE(_keys(keys, name), bool, owner=owner, epoch=epoch, number=number, text=text)


@checked(_NOTE)
def singleton_note(keys: Keys, name: str, /, *, owner: str, epoch: int, what: Note, error: str) -> Call[bool]:
    """Note a sign of life, or how a run ended. False: refused, the lease is somebody else's."""
    return _NOTE(_keys(keys, name), bool, owner=owner, epoch=epoch, what=str(what), error=error)


@checked(_ASIDE)
def singleton_aside(keys: Keys, name: str, /, *, owner: str, epoch: int) -> Call[bool]:
    """Keep a state that cannot be read for people to look at. False: the lease is somebody else's."""
    return _ASIDE(_keys(keys, name), bool, owner=owner, epoch=epoch)


def _read_apps(raw: Any) -> list[str]:
    return [text(app) for app in raw]


@checked(_DECLARE, rows=Declared)
def singleton_declare(keys: Keys, /, *, declared: Sequence[Declared]) -> Call[list[str]]:
    """Say what a worker may host; returns, for each, the app that declared it before, or an empty text."""
    return _DECLARE((keys.singletons,), _read_apps, declared)


def _read_seen(raw: Any) -> LeaseSeen:
    return LeaseSeen(text(raw[0]), int(raw[1]))


@checked(_LOOK)
def lease_look(lease: str, /) -> Call[LeaseSeen]:
    """Look at a lease (a key) without touching it."""
    return _LOOK((lease,), _read_seen)
