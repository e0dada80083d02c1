"""Doing something to many jobs from the command line: how many, may I, how far, what became of them."""

from collections.abc import AsyncIterable, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import typer

from capelin.cli.asking import ask, confirm
from capelin.cli.choosing import counted
from capelin.cli.printing import print_json, print_line, print_torn
from capelin.cli.progress import bar, spinner
from capelin.cli.times import read_rate

if TYPE_CHECKING:
    from capelin.admin import Access, Repaired, Selection, Sighting

T = TypeVar("T")

_TOLD = 5
"""Reasons that are printed; all are in the JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How it was asked for.

    Attributes:
        rate: As it was typed.
        dry: Only say how many.
        ask: Ask before it is done: it cannot be undone.
        yes: Somebody said yes beforehand.
    """

    redis: str | None
    prefix: str | None
    rate: str | None = None
    dry: bool = False
    ask: bool = False
    yes: bool = False
    as_json: bool = False
    as_lines: bool = False

    @property
    def for_programs(self) -> bool:
        """Whether nothing but JSON is to be printed."""
        return self.as_json or self.as_lines

    def say(self, document: object, words: str) -> None:
        """Print the outcome, for a program or for people."""
        if self.as_lines:
            print_line(document)
        elif self.as_json:
            print_json(document)
        else:
            typer.echo(words)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work(Generic[T]):
    """Something that is done to many jobs.

    Attributes:
        order: What is to be done, with ``{}`` for how many: ``replay {}``.
        doing: While it is done: ``replaying``.
        done: Once it is: ``set to run again``.
        count: Counts the jobs, as they are now; notes what is wrong with places that cannot be read.
        batches: Gives those that were counted: none that got its status after a moment, ms; notes, too.
        repair: Does it to some.
    """

    order: str
    doing: str
    done: str
    count: "Callable[[Access, dict[str, str]], Awaitable[int]]"
    batches: "Callable[[Access, int, dict[str, str]], AsyncIterable[Sequence[T]]]"
    repair: "Callable[[Access, Sequence[T]], Awaitable[Repaired]]"


def work_on(
    order: str,
    doing: str,
    done: str,
    wanted: "Selection",
    repair: "Callable[[Access, Sequence[Sighting]], Awaitable[Repaired]]",
) -> "Work[Sighting]":
    """Return the work on all jobs that a selection means, and that come to be meant by its doing."""
    from capelin.admin import count_matching, until_none

    return Work(
        order=order,
        doing=doing,
        done=done,
        count=lambda access, torn: count_matching(access, wanted, torn=torn),
        batches=lambda access, until, torn: until_none(access, wanted, until=until, torn=torn),
        repair=repair,
    )


def carry_out(work: Work[T], manner: Manner) -> None:
    """Count the jobs, ask, do it, and say what became of them; the exit status is 1 if not all was done.

    What cannot be read counts as refused.

    Raises:
        NotConfirmed: Nobody said yes.
        CapelinError: Redis cannot be asked; it may have been done to some.
    """
    from capelin.admin import Access, Repaired, repair_all

    torn: dict[str, str] = {}

    async def look(access: Access) -> tuple[int, int]:
        until = await access.clock()
        return await work.count(access, torn), until

    rate = None if manner.rate is None else read_rate("--rate", manner.rate)
    with spinner("counting", quiet=manner.for_programs):
        total, until = ask(manner.redis, manner.prefix, look)
    if manner.dry:
        order = work.order.format(counted(total))
        document = {"would": order, "jobs": total} | ({"torn": torn} if torn else {})
        manner.say(document, f"would {order}; nothing was changed")
        print_torn(torn)
        return
    if total and manner.ask:
        confirm(work.order.format(counted(total)).capitalize(), yes=manner.yes)

    async def act(access: Access) -> Repaired:
        with bar(work.doing, total, quiet=manner.for_programs) as tell:
            return await repair_all(
                work.batches(access, until, torn),
                lambda part: work.repair(access, part),
                rate=rate,
                tell=tell,
            )

    repaired = ask(manner.redis, manner.prefix, act) if total else Repaired()
    report(repaired + Repaired(refused=torn), work.done, manner)


def report(repaired: "Repaired", done: str, manner: Manner) -> None:
    """Say what became of the jobs; the exit status is 1 if not all was done."""
    manner.say(repaired, f"{counted(repaired.done)} {done}")
    if not repaired.refused:
        return
    if not manner.for_programs:
        reasons = list(repaired.refused.values())
        for why in reasons[:_TOLD]:
            typer.echo(f"not: {why}", err=True)
        if len(reasons) > _TOLD:
            typer.echo(f"not: {len(reasons) - _TOLD:,} others; --json names them all", err=True)
    raise typer.Exit(1)
