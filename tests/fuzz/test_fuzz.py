"""Whatever is handed to capelin, from a text to a request, is read or refused, and no more comes of it.

`make fuzz CASES=100000` tries many; here is a handful of each kind, the same ones in every process.
"""

import random

import pytest

from capelin.errors import InvalidOption
from tests.fuzz.targets import BENCHES, found, shares


@pytest.mark.parametrize("name", sorted(BENCHES))
def test_nothing_that_is_handed_in_breaks_anything(name: str, request: pytest.FixtureRequest) -> None:
    bench = BENCHES[name]
    if bench.needs_redis:
        request.getfixturevalue("redis_server")  # skips where there is none
    seeds = [f"{name}:{number}" for number in range(bench.few)]
    with bench.set_up() as target:
        broken = {seed: what for seed in seeds if (what := found(target, seed, refuses=bench.refuses))}
    assert broken == {}, f"python -m tests.fuzz --seed {next(iter(broken))} makes it again"


def _breaks(draw: random.Random) -> None:
    raise IndexError(draw.randrange(3))


def test_what_breaks_is_found() -> None:
    what = found(_breaks, "any:1")
    assert what is not None
    assert what.startswith("IndexError: ")
    assert found(_breaks, "any:1") == what


def test_every_kind_has_its_share_of_as_many_cases_as_are_asked_for() -> None:
    parts = shares(100_000)
    assert parts.keys() == BENCHES.keys()
    assert sum(parts.values()) >= 100_000
    assert min(parts.values()) >= 1_000


def _refuses(draw: random.Random) -> None:
    raise InvalidOption(option="any", value=draw.random(), why="no")


def test_who_refuses_what_must_be_done_is_found() -> None:
    assert found(_refuses, "live:1", refuses=False) is not None
    assert found(_refuses, "url:1") is None
