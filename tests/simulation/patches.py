"""The real world, replaced for as long as a simulation runs: clocks, randomness, names.

`time.time` and `time.monotonic` are replaced where modules look them up, and where functions hold them as the
defaults of their arguments, so that nothing of capelin or fakeredis sees another clock than the simulation's.
"""

import gc
import os
import random
import socket
import sys
import time
import uuid
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from types import FunctionType, ModuleType
from typing import Any
from unittest import mock

from tests.simulation.loop import LANE, SimLoop

EPOCH = 1_767_225_600
"""What the wall clocks show when a simulation begins (2026-01-01), s: its ticks can be read."""


@contextmanager
def simulated(loop: SimLoop, seed: int) -> Generator[None]:
    """Put a simulation's clock and randomness in place of the real ones."""
    draw = random.Random(seed ^ 0x5EED)  # noqa: S311 -- to be repeated, not to be secret

    def wall_clock() -> float:
        # Redis's is right by definition.
        return EPOCH + loop.elapsed + LANE.get(loop.home).main.skew

    clocks = {time.time: wall_clock, time.monotonic: loop.time}

    def uuid7() -> uuid.UUID:
        milliseconds = int(wall_clock() * 1000)
        return uuid.UUID(int=milliseconds << 80 | 7 << 76 | draw.getrandbits(74))

    import fakeredis  # noqa: F401 # pyright: ignore[reportUnusedImport] -- so that its defaults are found

    before = random.getstate()
    with ExitStack() as stack:
        for function, name, place in _defaults_that_are(clocks):
            stack.enter_context(_default(function, name, place, clocks))
        stack.enter_context(mock.patch.object(time, "time", clocks[time.time]))
        stack.enter_context(mock.patch.object(time, "monotonic", clocks[time.monotonic]))
        stack.enter_context(mock.patch("capelin.ids.uuid7", uuid7))
        stack.enter_context(mock.patch.object(os, "getpid", lambda: 1))  # noqa: PT008 -- asked for at each call
        stack.enter_context(mock.patch.object(socket, "gethostname", lambda: "host"))  # noqa: PT008
        # A file of the kernel's, and no two runs would say the same.
        stack.enter_context(mock.patch("capelin.workers.pulse.resident_memory", return_value=1 << 26))
        # So many are asked for strays again and again; a scenario cuts no queue into more.
        stack.enter_context(mock.patch("capelin.resharding.MOST_SHARDS", 16))
        random.seed(seed)
        stack.callback(random.setstate, before)
        # What is collected when depends on what ran before; async generators would end at other moments.
        if gc.isenabled():
            gc.disable()
            stack.callback(gc.enable)
        yield


def real_clocks_left(*packages: str) -> list[str]:
    """The names in these packages' modules that would still be a real clock: `from time import monotonic`."""
    real = {time.time, time.monotonic, time.perf_counter}
    return sorted(
        f"{module}.{name}"
        for module, loaded in list(sys.modules.items())
        if module.partition(".")[0] in packages
        for name, value in vars(loaded).items()
        if getattr(value, "__hash__", None) is not None and _is_one_of(value, real)
    )


def _is_one_of(value: object, real: set[Any]) -> bool:
    return any(value is one for one in real)


_Default = tuple[FunctionType, str | None, int]


def _defaults_that_are(clocks: dict[Any, Any]) -> list[_Default]:
    """Functions, and the defaults of theirs that are real clocks: by name, or by place."""
    modules = [name for name in sys.modules if name.partition(".")[0] in ("capelin", "fakeredis")]
    if _known.get("modules") != modules:
        _known["modules"] = modules
        _known["defaults"] = list(_find_defaults([sys.modules[name] for name in modules], clocks))
    defaults: list[_Default] = _known["defaults"]
    return defaults


_known: dict[str, Any] = {}


def _find_defaults(modules: list[ModuleType], clocks: dict[Any, Any]) -> Generator[_Default]:
    seen: set[int] = set()
    for module in modules:
        for value in list(vars(module).values()):
            found = list(vars(value).values()) if isinstance(value, type) else [value]
            for function in found:
                if not isinstance(function, FunctionType) or id(function) in seen:
                    continue
                seen.add(id(function))
                for name, default in (function.__kwdefaults__ or {}).items():
                    if _is_one_of(default, set(clocks)):
                        yield function, name, 0
                for place, default in enumerate(function.__defaults__ or ()):
                    if _is_one_of(default, set(clocks)):
                        yield function, None, place


@contextmanager
def _default(function: FunctionType, name: str | None, place: int, clocks: dict[Any, Any]) -> Generator[None]:
    if name is not None:
        kept: dict[str, Any] = function.__kwdefaults__ or {}
        function.__kwdefaults__ = kept | {name: clocks[kept[name]]}
        try:
            yield
        finally:
            function.__kwdefaults__ = kept
        return
    positional = function.__defaults__ or ()
    changed = list(positional)
    changed[place] = clocks[positional[place]]
    function.__defaults__ = tuple(changed)
    try:
        yield
    finally:
        function.__defaults__ = positional
