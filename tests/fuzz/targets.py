"""Everything that is fuzzed, by name: how it is set up, and what part of all cases it gets."""

import random
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from capelin.errors import CapelinError
from tests.fuzz.commands import command_line
from tests.fuzz.live import live
from tests.fuzz.readers import READERS
from tests.fuzz.requests import http
from tests.fuzz.words import Target


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Where cases of one kind are tried.

    Attributes:
        share: Of all cases. What works on real servers takes a thousand times as long as what reads a text.
        few: How many are tried in `make test`.
        refuses: Whether an error of capelin is a fine end of a case: its reader said no.
        needs_redis: Whether it starts servers.
    """

    set_up: Callable[[], AbstractContextManager[Target]]
    share: float
    few: int
    refuses: bool = False
    needs_redis: bool = False


def _reader(read: Target) -> Callable[[], AbstractContextManager[Target]]:
    @contextmanager
    def set_up() -> Generator[Target]:
        yield read

    return set_up


BENCHES: Mapping[str, Bench] = {
    "live": Bench(set_up=live, share=0.012, few=6, needs_redis=True),
    "cli": Bench(set_up=command_line, share=0.015, few=20, needs_redis=True),
    "http": Bench(set_up=http, share=0.2, few=60),
    **{
        name: Bench(set_up=_reader(read), share=0.773 / len(READERS), few=400, refuses=True)
        for name, read in READERS.items()
    },
}


def shares(cases: int) -> dict[str, int]:
    """How many cases each kind gets, of at least so many in all."""
    return {name: max(1, round(cases * bench.share) + 1) for name, bench in BENCHES.items()}


def found(target: Target, seed: str, *, refuses: bool = True) -> str | None:
    """Run one case; return what went wrong, or None. The seed makes the same case again."""
    try:
        target(random.Random(seed))  # noqa: S311 -- a case, to be made again
    except CapelinError as error:
        return None if refuses else f"{type(error).__name__}: {error}"
    except Exception as error:  # noqa: BLE001 -- whatever it is, nobody may raise it
        return f"{type(error).__name__}: {error}"
    return None
