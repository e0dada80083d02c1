"""Rates from two looks."""

import pytest

from capelin.admin import Overview, QueueStanding
from capelin.top.rates import WINDOW, History, Rates


def look(now: float, *, enqueued: int, ended: int = 0, failed: int = 0, queue: str = "emails") -> Overview:
    standing = QueueStanding(queue=queue, shards=1, enqueued=enqueued, ended=ended, failed=failed)
    return Overview(now=round(now * 1000), queues=(standing,))


def rates(*looks: Overview) -> Rates | None:
    history = History()
    for each in looks:
        history.saw(each)
    return history.rates("emails")


def test_one_look_tells_no_rate() -> None:
    assert rates() is None
    assert rates(look(1, enqueued=5)) is None
    assert rates(look(1, enqueued=5), look(1, enqueued=5)) is None, "no time has passed"


def test_two_looks_tell_what_came_ended_and_failed() -> None:
    found = rates(look(1, enqueued=10, ended=4, failed=1), look(3, enqueued=30, ended=8, failed=2))
    assert found == Rates(came=10, ended=2, failed=0.5)


def test_old_looks_are_forgotten() -> None:
    burst = [look(0, enqueued=0), look(1, enqueued=1000)]
    calm = [look(1 + second, enqueued=1000) for second in range(1, round(WINDOW) + 1)]
    found = rates(*burst, *calm)
    assert found is not None
    assert found.came == 0


def test_looks_that_are_far_apart_still_tell_a_rate() -> None:
    assert rates(look(0, enqueued=0), look(60, enqueued=60), look(120, enqueued=180)) == Rates(
        came=2, ended=0, failed=0
    )


def test_a_queue_that_was_emptied_begins_anew() -> None:
    looks = [look(1, enqueued=100), look(2, enqueued=0)]
    assert rates(*looks) is None
    assert rates(*looks, look(3, enqueued=7)) == Rates(came=7, ended=0, failed=0)


def test_a_job_that_shows_up_late_makes_no_rate_negative() -> None:
    assert rates(look(1, enqueued=5, ended=5), look(2, enqueued=5, ended=4)) == Rates(
        came=0, ended=0, failed=0
    )


def test_a_queue_that_is_gone_is_forgotten() -> None:
    history = History()
    history.saw(look(1, enqueued=1))
    history.saw(look(2, enqueued=1))
    history.saw(look(3, enqueued=1, queue="reports"))
    assert history.rates("emails") is None


@pytest.mark.parametrize("name", ["emails", "nobody"])
def test_nothing_is_known_of_what_was_never_seen(name: str) -> None:
    assert History().rates(name) is None
