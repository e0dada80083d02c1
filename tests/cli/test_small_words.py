"""The small words of the command line: weights, time spans; and examples in docstrings that run."""

import doctest
from types import ModuleType

import pytest

from capelin import _tables
from capelin.cli import weights
from capelin.cli.weights import read_weights
from capelin.errors import InvalidName, InvalidOption


@pytest.mark.parametrize("module", [_tables, weights], ids=lambda module: str(module.__name__))
def test_examples_in_docstrings_run(module: ModuleType) -> None:
    found = doctest.testmod(module)
    assert found.attempted > 0
    assert found.failed == 0


def test_weights_are_read() -> None:
    assert read_weights(None) is None
    assert read_weights(["emails=3", "reports"]) == {"emails": 3, "reports": 1}


@pytest.mark.parametrize("word", ["a=0", "a=-1", "a=", "a=x", "a=1.5", "a=1001"])
def test_weights_that_make_no_sense_are_refused(word: str) -> None:
    with pytest.raises(InvalidOption, match="whole number"):
        read_weights([word])


def test_queues_whose_names_are_not_allowed_are_refused() -> None:
    with pytest.raises(InvalidName):
        read_weights(["e mails"])


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (None, ""),
        (-1.0, "0.0 s"),
        (9.94, "9.9 s"),
        (59, "59 s"),
        (60, "1 m"),
        (3599, "59 m"),
        (90_000, "1 d"),
    ],
)
def test_time_spans_are_written_short(seconds: float | None, written: str) -> None:
    assert _tables.ago(seconds) == written
