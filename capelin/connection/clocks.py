"""Clocks of in-process servers: a test moves time on, and nothing else of the process notices.

fakeredis asks the `time` module wherever Redis would look at its clock. Its modules are given another one,
which asks whoever set a clock for the server whose command is being run, and the system otherwise.
"""

import sys
import time
from collections.abc import Callable
from contextvars import ContextVar

Clock = Callable[[], float]

_clocks: dict[str, Clock] = {}
serving: ContextVar[str | None] = ContextVar("capelin_memory_server", default=None)
"""The name of the server whose commands this context runs."""


def set_clock(name: str, clock: Clock) -> None:
    """Let an in-process server go by this clock: seconds since the epoch. Set it before the first command."""
    import fakeredis  # noqa: F401 # pyright: ignore[reportUnusedImport] -- so that there is something to change

    _clocks[name] = clock
    for module in [module for at, module in sys.modules.items() if at.partition(".")[0] == "fakeredis"]:
        if vars(module).get("time") is time:
            vars(module)["time"] = _time


def forget_clock(name: str) -> None:
    """Let the server go by the system's clock again."""
    _clocks.pop(name, None)


class _Time:
    """Stands in for the `time` module."""

    def __getattr__(self, name: str) -> object:
        return getattr(time, name)

    @staticmethod
    def time() -> float:
        clock = _clocks.get(serving.get() or "")
        return time.time() if clock is None else clock()


_time = _Time()
