"""The pulse of a worker: how late its event loop is, and the memory that it holds."""

import pytest

from capelin.workers.pulse import TICK, Pulse, Ticker, resident_memory


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_loop_that_ticks_in_time_is_not_late() -> None:
    clock = Clock()
    ticker = Ticker(clock)
    clock.now += TICK
    ticker.tick()
    clock.now += TICK / 2
    assert ticker.lag == 0


def test_a_loop_that_stands_still_is_as_late_as_its_tick() -> None:
    clock = Clock()
    ticker = Ticker(clock)
    clock.now += TICK + 3
    assert ticker.lag == pytest.approx(3)
    ticker.tick()
    assert ticker.lag == pytest.approx(3), "it is remembered for a while"
    assert ticker.progressed == clock.now


def test_a_hold_up_is_forgotten_after_a_while() -> None:
    clock = Clock()
    ticker = Ticker(clock)
    clock.now += TICK + 3
    ticker.tick()
    for _ in range(int(16 / TICK)):
        clock.now += TICK
        ticker.tick()
    assert ticker.lag == pytest.approx(0, abs=1e-6)


def test_a_process_knows_its_memory() -> None:
    before = resident_memory()
    assert before > 1024 * 1024
    ballast = bytearray(64 * 1024 * 1024)
    ballast[::4096] = b"x" * len(ballast[::4096])
    assert resident_memory() > before + 32 * 1024 * 1024


def test_a_pulse_survives_its_way_through_redis() -> None:
    pulse = Pulse(lag=0.25, memory=123)
    assert Pulse.from_json(pulse.to_json()) == pulse


@pytest.mark.parametrize("text", [None, b"", b"null", b"[]", b"{}", b'{"lag": "x", "memory": 1}', b"\xff"])
def test_what_cannot_be_read_is_no_pulse(text: bytes | None) -> None:
    assert Pulse.from_json(text) is None
