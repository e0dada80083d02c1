"""Every mutant applies to today's text, and the page says who notices it: `make mutate` sees to it."""

import re

import pytest

from tests.mutation.catalog import MUTANTS, PARTS
from tests.mutation.mutants import lua, mutant
from tests.mutation.table import PAGE, read_killers, render
from tests.mutation.trial import ROOT

_FEWEST = 30


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_applies_to_todays_text(name: str) -> None:
    MUTANTS[name].check()


def test_there_are_many_and_no_two_have_a_name() -> None:
    assert len(MUTANTS) == sum(map(len, PARTS.values())) >= _FEWEST


def test_a_mutant_whose_text_is_gone_is_refused() -> None:
    gone = mutant("gone", "none", lua("finish", "no such text"), aimed=("scripts/test_finish",))
    with pytest.raises(ValueError, match=r"finish\.lua has 0 times"):
        gone.check()


def test_the_page_names_for_each_mutant_a_test_that_exists_and_was_aimed_at_it() -> None:
    killers = read_killers()
    assert set(killers) == set(MUTANTS), "write the page anew: make mutate"
    assert PAGE.read_text() == render(killers)
    for name, killer in killers.items():
        file, *_, test = killer.split("::")
        assert re.search(rf"def {test}\(", (ROOT / file).read_text()), f"{killer} is gone: make mutate"
        assert any(aimed.partition("::")[0] == file for aimed in MUTANTS[name].aimed)
