"""The handshake instead of polling: one note, one token, one woken worker, and no lost wake-up."""

from collections.abc import Callable

import pytest

from capelin.lua import KnownTask, NewJob, OutcomeRow
from tests.scripts.driving import RETENTION, TTL, Shard

Act = Callable[[Shard], object]


def note(shard: Shard) -> str | None:
    return shard.look().meta.get("note")


def tokens(shard: Shard) -> int:
    return shard.look().tokens


def asleep(shard: Shard) -> None:
    """The owner takes, gets less than it asked for, and will wait."""
    assert not shard.take("owner", 100, waits=True).more
    assert note(shard) is not None
    assert tokens(shard) == 0


def test_an_owner_that_got_all_it_asked_for_leaves_no_note(shard: Shard) -> None:
    shard.enqueue("u1", "u2")
    shard.take("owner", 1, waits=True)
    assert note(shard) is None


def test_an_owner_that_got_less_says_until_when_it_waits(shard: Shard) -> None:
    shard.take("owner", waits=True)
    assert note(shard) == ""
    shard.enqueue(NewJob("u1", "a", due="+500"))
    shard.take("owner", waits=True)
    assert note(shard) == str(shard.now + 500)


def test_a_worker_that_does_not_own_the_shard_leaves_no_note(shard: Shard) -> None:
    shard.take("guest", waits=False)
    assert note(shard) is None


def test_one_note_is_answered_by_one_token_however_much_comes(shard: Shard) -> None:
    asleep(shard)
    for n in range(20):
        shard.enqueue(f"u{n}", f"v{n}")
    assert (note(shard), tokens(shard)) == (None, 1)


def test_without_a_note_nobody_is_woken(shard: Shard) -> None:
    shard.enqueue("u1")
    assert tokens(shard) == 0


def running(shard: Shard, uid: str = "u1", *, key: str = "") -> None:
    shard.enqueue(NewJob(uid, "a", unique_key=key))
    shard.take("w1")


def parked(shard: Shard) -> None:
    running(shard, key="k")
    shard.finish(OutcomeRow("u1", 1, "park"))


def dead(shard: Shard) -> None:
    running(shard)
    shard.finish(OutcomeRow("u1", 1, "dead", "Boom", failure="{}"))


def followed(shard: Shard) -> None:
    running(shard, key="k")
    shard.enqueue(NewJob("u2", "a", unique_key="k", on_duplicate="follow"))


def followed_and_waiting(shard: Shard) -> None:
    followed(shard)
    shard.finish(OutcomeRow("u1", 1, "retry", "", "+5000", "{}"))


def with_then(shard: Shard) -> None:
    shard.enqueue(NewJob("u1", "a", extra='{"then": "[\\"b\\",\\"\\",\\"\\",\\"\\",\\"\\",{}]"}'))
    shard.take("w1")


def with_on_failure(shard: Shard) -> None:
    shard.enqueue(NewJob("u1", "a", extra='{"on_failure": "[\\"b\\",\\"\\",\\"\\"]"}'))
    shard.take("w1")


def parked_with_on_failure(shard: Shard) -> None:
    with_on_failure(shard)
    shard.finish(OutcomeRow("u1", 1, "park"))


def ending(kind: str, **more: str) -> Act:
    return lambda shard: shard.finish(
        OutcomeRow("u1", 1, kind, more.get("body", ""), more.get("due", ""), more.get("failure", "{}"))
    )


def scheduled(shard: Shard) -> None:
    shard.enqueue(NewJob("u1", "a", due="+5000", unique_key="k"))


def reaped(shard: Shard) -> None:
    shard.advance(TTL)
    shard.reap("owner")


def too_old(shard: Shard) -> None:
    shard.advance(RETENTION)
    shard.retain()


def nothing(_: Shard) -> None:
    """No more than the note."""


# What makes work appear, and what must have happened before.
APPEARING: dict[str, tuple[Act, Act]] = {
    "enqueue": (nothing, lambda shard: shard.enqueue("u1")),
    "replace a scheduled job": (
        scheduled,
        lambda shard: shard.enqueue(NewJob("u2", "a", unique_key="k", on_duplicate="replace")),
    ),
    "replace a parked job": (
        parked,
        lambda shard: shard.enqueue(NewJob("u2", "a", unique_key="k", on_duplicate="replace")),
    ),
    "retry at once": (running, ending("retry")),
    "snooze of no length": (running, ending("snooze")),
    "hand back": (running, ending("return")),
    "reap": (running, reaped),
    "replay": (dead, lambda shard: shard.replay("u1")),
    "hurry": (scheduled, lambda shard: shard.replay("u1")),
    "follower freed by completion": (followed, ending("complete")),
    "follower freed by death": (followed, ending("dead")),
    "follower freed by cancel": (followed_and_waiting, lambda shard: shard.cancel("u1")),
    "then": (with_then, ending("complete")),
    "on_failure": (with_on_failure, ending("dead")),
    "on_failure of a parked job": (
        parked_with_on_failure,
        too_old,
    ),
}


@pytest.mark.parametrize("name", APPEARING)
def test_whatever_makes_work_appear_wakes_the_owner_once(shard: Shard, name: str) -> None:
    before, act = APPEARING[name]
    before(shard)
    asleep(shard)
    act(shard)
    assert (note(shard), tokens(shard)) == (None, 1)
    assert shard.take("owner", 100).jobs, "and there is work for it"


@pytest.mark.parametrize("name", APPEARING)
def test_in_a_paused_shard_only_resume_answers_the_note(shard: Shard, name: str) -> None:
    before, act = APPEARING[name]
    before(shard)
    shard.pause()
    asleep(shard)
    assert note(shard) == "", "it names no due time"
    act(shard)
    assert (note(shard), tokens(shard)) == ("", 0)
    shard.resume()
    assert (note(shard), tokens(shard)) == (None, 1)
    assert shard.take("owner", 100).jobs


def test_resume_without_a_note_wakes_nobody(shard: Shard) -> None:
    shard.pause()
    shard.resume()
    assert tokens(shard) == 0


# Work for a later moment, of ms from now.
LATER: dict[str, tuple[Act, Callable[[str], Act]]] = {
    "enqueue": (nothing, lambda due: lambda shard: shard.enqueue(NewJob("v", "a", due=due))),
    "retry": (running, lambda due: ending("retry", due=due)),
    "snooze": (running, lambda due: ending("snooze", due=due)),
    "follower": (
        lambda shard: running(shard, key="k"),
        lambda due: (
            lambda shard: (
                shard.enqueue(NewJob("u2", "a", unique_key="k", on_duplicate="follow", due=due)),
                shard.finish(OutcomeRow("u1", 1, "complete")),
            )
        ),
    ),
}


@pytest.mark.parametrize("name", LATER)
@pytest.mark.parametrize(("due", "woken"), [("+499", True), ("+500", False), ("+5000", False)])
def test_an_owner_with_a_due_time_is_woken_for_earlier_work_only(
    shard: Shard, *, name: str, due: str, woken: bool
) -> None:
    before, act = LATER[name]
    before(shard)
    shard.enqueue(NewJob("first", "a", due="+500"))
    asleep(shard)
    act(due)(shard)
    assert tokens(shard) == (1 if woken else 0)
    assert (note(shard) is None) == woken


@pytest.mark.parametrize("name", LATER)
def test_an_owner_without_a_due_time_is_woken_for_any(shard: Shard, name: str) -> None:
    before, act = LATER[name]
    before(shard)
    asleep(shard)
    act("+5000")(shard)
    assert (note(shard), tokens(shard)) == (None, 1)
    shard.take("owner", waits=True)
    assert note(shard) == str(shard.now + 5000)


def test_a_follower_that_waits_for_its_first_wakes_nobody(shard: Shard) -> None:
    running(shard, key="k")
    asleep(shard)
    shard.enqueue(NewJob("u2", "a", unique_key="k", on_duplicate="follow"))
    assert (note(shard), tokens(shard)) == ("", 0)


@pytest.mark.parametrize("kind", ["complete", "dead", "cancel", "park"])
def test_an_end_that_makes_no_work_wakes_nobody(shard: Shard, kind: str) -> None:
    running(shard)
    asleep(shard)
    shard.finish(OutcomeRow("u1", 1, kind, failure="{}"))
    assert tokens(shard) == 0


def test_a_duplicate_or_a_known_request_wakes_nobody(shard: Shard) -> None:
    running(shard, key="k")
    asleep(shard)
    shard.enqueue(NewJob("u1", "a"), NewJob("u2", "a", unique_key="k"))
    assert tokens(shard) == 0


@pytest.mark.parametrize(("count", "woken"), [(1, 1), (2, 0)])
def test_a_thief_that_made_more_ready_than_it_took_wakes_the_owner(
    shard: Shard, count: int, woken: int
) -> None:
    shard.enqueue(NewJob("due", "a", priority="low", due="+10"))
    asleep(shard)
    shard.server.command("XADD", shard.keys.streams[1], f"{shard.now}-1", "j", "old")
    shard.server.command(
        "HSET", shard.keys.job("old"), "task", "a", "status", "queued", "priority", "critical"
    )
    shard.server.command("HSET", shard.keys.job("old"), "at", shard.now)
    shard.advance(150)
    assert [job.uid for job in shard.take("thief", count, older_than=100).jobs] == ["old", "due"][:count]
    assert tokens(shard) == woken


def test_unparking_wakes_nobody_since_the_jobs_are_in_hands_already(shard: Shard) -> None:
    parked(shard)
    asleep(shard)
    assert len(shard.unpark("w2", 10, KnownTask("a", "d"))) == 1
    assert tokens(shard) == 0


def test_a_note_that_makes_no_sense_wakes_the_owner(shard: Shard) -> None:
    shard.server.command("HSET", shard.keys.meta, "note", "soon")
    shard.enqueue(NewJob("u1", "a", due="+500"))
    assert tokens(shard) == 1
