"""The leader's idea of Redis's clock: never ahead of it, and right again after a quick reply."""

import pytest

from capelin.scheduler.clock import RedisClock

START = 1_900_000_000_000


class Pair:
    """A process's clock, and Redis's: `ahead` ms later."""

    def __init__(self) -> None:
        self.seconds, self.ahead = 1_000.0, START
        self.clock = RedisClock(monotonic=lambda: self.seconds)

    @property
    def redis(self) -> float:
        """Redis's time, ms."""
        return self.seconds * 1000 + self.ahead

    def ask(self, there: float, back: float) -> None:
        """A call that takes so many seconds until its script runs, and its reply so many to come back."""
        sent = self.seconds
        self.seconds += there
        said = int(self.redis)
        self.seconds += back
        self.clock.heard(said, sent=sent)

    @property
    def late(self) -> float:
        """How far the process's idea is behind, ms."""
        return self.redis - self.clock.now()


def test_before_the_first_reply_it_tells_no_time() -> None:
    pair = Pair()
    assert not pair.clock.known
    with pytest.raises(RuntimeError, match="no reply"):
        pair.clock.now()


@pytest.mark.parametrize(
    ("there", "back"), [(0.0, 0.0), (3.0, 0.0), (0.0, 3.0), (1.5, 1.5), (0.0004, 0.0003)]
)
def test_it_is_never_early_and_late_by_no_more_than_the_reply_took(there: float, back: float) -> None:
    pair = Pair()
    pair.ask(there, back)
    assert 0 <= pair.late <= back * 1000 + 2
    pair.seconds += 30
    assert 0 <= pair.late <= back * 1000 + 2


def test_a_quick_reply_sets_right_what_a_slow_one_said_and_not_the_other_way() -> None:
    pair = Pair()
    pair.ask(0.0, 3.0)
    assert pair.late > 2_990
    pair.ask(0.0002, 0.0002)
    assert pair.late < 3
    pair.ask(0.0, 3.0)
    assert pair.late < 3


def test_an_old_reply_gives_way_to_a_slower_one_since_clocks_part() -> None:
    pair = Pair()
    pair.ask(0.0, 0.0)
    pair.seconds += 61
    pair.ahead += 100  # this far have they parted
    pair.ask(0.0, 0.05)
    assert 0 <= pair.late <= 52


@pytest.mark.parametrize("jump", [-3_600_000, -5_000, 5_000, 3_600_000])
def test_when_redis_is_set_to_another_time_the_next_reply_tells(jump: int) -> None:
    pair = Pair()
    pair.ask(0.0001, 0.0001)
    pair.ahead += jump
    pair.ask(0.2, 0.2)
    assert 0 <= pair.late <= 203
