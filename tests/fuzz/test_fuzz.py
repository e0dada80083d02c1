"""Whatever a reader is given, it reads it or refuses it with an error of capelin."""

import random

import pytest

from tests.fuzz.targets import TARGETS, found


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_no_text_breaks_a_reader(name: str) -> None:
    seeds = [f"{name}:{number}" for number in range(1000)]
    broken = {seed: what for seed in seeds if (what := found(TARGETS[name], seed))}
    assert broken == {}, f"python -m tests.fuzz --seed {next(iter(broken))} makes it again"


def _breaks(draw: random.Random) -> None:
    raise IndexError(draw.randrange(3))


def test_a_reader_that_breaks_is_found() -> None:
    what = found(_breaks, "any:1")
    assert what is not None
    assert what.startswith("IndexError: ")
    assert found(_breaks, "any:1") == what
