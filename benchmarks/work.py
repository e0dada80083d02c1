"""What the jobs of a run do: the same few lines for every system, as coroutines and as plain functions.

A job's first act is to say that it began. In a worker's own process that is a call; in a process that the
worker started (a pool, a program of the system's own) it is a message, see ``reports.py``.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from benchmarks import reports

Started = Callable[[int], None]

NAP = 0.01
"""How long a napping job sleeps, in seconds."""
SPIN = 0.005
"""How much CPU time a spinning job uses, in seconds."""


class Work(Enum):
    """What a job does; the value is its task's name."""

    # Enum's own is Python code, which would be timed with the look for a task.
    __hash__ = object.__hash__

    NOOP = "noop"
    """Nothing."""
    NAP = "nap"
    """It sleeps."""
    SPIN = "spin"
    """It computes."""
    CARRY = "carry"
    """Nothing, with a text of some size as its second argument."""
    ECHO = "echo"
    """It returns its number."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job to enqueue. All that an adapter needs is made with it, and not while it is timed.

    Attributes:
        work: What it does.
        number: Which it is.
        load: Its second argument; only a carrying job has one.
        task: Its task's name.
        arguments: Its positional arguments.
        named: Its arguments by name.
    """

    work: Work
    number: int
    load: str = ""
    task: str = field(init=False)
    arguments: tuple[Any, ...] = field(init=False)
    named: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        """Make the rest."""
        named: dict[str, Any] = {"number": self.number}
        if self.work is Work.CARRY:
            named["load"] = self.load
        object.__setattr__(self, "task", self.work.value)
        object.__setattr__(self, "named", named)
        object.__setattr__(self, "arguments", tuple(named.values()))


_tell: Started = reports.tell


def report_to(started: Started) -> None:
    """Have the jobs of this process, and of none that it forks, call ``started(number)`` first thing."""
    global _tell  # noqa: PLW0603 -- systems import the functions below by name: there is no object to hold it
    _tell = started


os.register_at_fork(after_in_child=lambda: report_to(reports.tell))


def began(number: int) -> None:
    """Say that a job begins."""
    _tell(number)


async def noop(number: int) -> None:
    """Do nothing."""
    _tell(number)


async def nap(number: int) -> None:
    """Sleep."""
    _tell(number)
    await asyncio.sleep(NAP)


async def spin(number: int) -> None:
    """Compute, on the event loop: what a system does that knows coroutines alone."""
    _tell(number)
    _compute()


async def carry(number: int, load: str) -> None:
    """Do nothing with the load."""
    _tell(number)
    del load


async def echo(number: int) -> int:
    """Return the number."""
    _tell(number)
    return number


def noop_plainly(number: int) -> None:
    """Do nothing."""
    _tell(number)


def nap_plainly(number: int) -> None:
    """Sleep."""
    _tell(number)
    time.sleep(NAP)


def spin_plainly(number: int) -> None:
    """Compute."""
    _tell(number)
    _compute()


def carry_plainly(number: int, load: str) -> None:
    """Do nothing with the load."""
    _tell(number)
    del load


def echo_plainly(number: int) -> int:
    """Return the number."""
    _tell(number)
    return number


def _compute() -> None:
    """Use up CPU time: seconds on a clock would pass while another process has the core."""
    end = time.thread_time() + SPIN
    while time.thread_time() < end:
        sum(range(500))


COROUTINES: dict[Work, Callable[..., Awaitable[Any]]] = {
    Work.NOOP: noop,
    Work.NAP: nap,
    Work.SPIN: spin,
    Work.CARRY: carry,
    Work.ECHO: echo,
}
FUNCTIONS: dict[Work, Callable[..., Any]] = {
    Work.NOOP: noop_plainly,
    Work.NAP: nap_plainly,
    Work.SPIN: spin_plainly,
    Work.CARRY: carry_plainly,
    Work.ECHO: echo_plainly,
}
