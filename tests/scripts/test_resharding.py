"""What a shard refuses once it has heard of a newer layout, and what it answers (guarantees 1, 6, 7, 8)."""

import json

from capelin import lua
from capelin.keys import Keys
from capelin.lua import (
    Cut,
    Home,
    Layout,
    Lent,
    Loan,
    NewJob,
    OutcomeKind,
    OutcomeRow,
    Replayed,
    Sealed,
    Submitted,
)
from tests.scripts.driving import RESEND_WINDOW, Shard

KEYS = Keys()


def send(shard: Shard, *jobs: NewJob, layout: int = 1, question: bool = False) -> list[tuple[Submitted, str]]:
    """Enqueue, placed by a layout."""
    call = lua.enqueue(
        shard.keys, most=None, resend_window=RESEND_WINDOW, layout=layout, question=question, jobs=jobs
    )
    replies = shard.server.run(call)
    assert replies is not None
    return replies


def ask(shard: Shard, uid: str, *, layout: int = 2, past: str = "") -> tuple[Submitted, str]:
    """Ask whether the key is free."""
    extra = json.dumps({"past": past}) if past else ""
    [answer] = send(shard, keyed(uid, extra=extra), layout=layout, question=True)
    return answer


def keyed(uid: str, how: str = "keep", extra: str = "") -> NewJob:
    return NewJob(uid, "a", unique_key="k", on_duplicate=how, extra=extra)


def seal(shard: Shard, layout: int) -> Sealed:
    return shard.server.run(lua.seal(shard.keys, layout=layout))


def bury(shard: Shard) -> None:
    """Take one job, and send it to the DLQ."""
    job = shard.take_one()
    shard.finish(OutcomeRow(job.uid, job.token, OutcomeKind.DEAD.value, "Error", "", "{}"))


def replay(
    shard: Shard, uid: str, *, layout: int = 2, home: str = "", past: str = ""
) -> tuple[Replayed, str]:
    return shard.server.run(lua.replay(shard.keys, uid=uid, layout=layout, home=home, past=past))


def lend(shard: Shard, job: str, *, layout: int = 2, past: str = "") -> tuple[Lent, str]:
    return shard.server.run(lua.lend(shard.keys, layout=layout, task="a", key="k", job=job, past=past))


def elsewhere(shard: Shard) -> Shard:
    """Another shard of the same server."""
    return Shard(shard.server, number=shard.keys.shard + 1)


# Enqueue.


def test_a_shard_that_has_heard_of_a_newer_layout_takes_nothing_of_an_older_one(shard: Shard) -> None:
    seal(shard, 3)
    assert send(shard, NewJob("u1", "a"), keyed("u2"), layout=2) == [("moved", "3"), ("moved", "3")]
    assert shard.look().records == {}
    assert send(shard, NewJob("u3", "a"), layout=3) == [("new", "u3")]


def test_any_request_of_a_newer_layout_is_how_a_shard_hears_of_it(shard: Shard) -> None:
    send(shard, NewJob("u1", "a"), layout=2)
    assert send(shard, NewJob("u2", "a"), layout=1) == [("moved", "2")]
    assert ask(shard, "u3", layout=4) == ("free", "u3")
    assert send(shard, NewJob("u4", "a"), layout=3) == [("moved", "4")]


def test_what_was_written_is_known_whatever_the_shard_has_heard_since(shard: Shard) -> None:
    send(shard, NewJob("u1", "a"), keyed("u2"))
    send(shard, keyed("u3", "replace"))
    seal(shard, 2)
    sent_again = send(shard, NewJob("u1", "a"), keyed("u2"), keyed("u3", "replace"), NewJob("u4", "a"))
    assert sent_again == [("again", "u1"), ("again", "u2"), ("replaced", "u2"), ("moved", "2")]


def test_what_a_shard_has_heard_never_shrinks(shard: Shard) -> None:
    assert seal(shard, 5).heard == 5
    assert seal(shard, 2).heard == 5
    assert seal(shard, 0).heard == 5


def test_a_question_writes_nothing_when_the_key_is_free(shard: Shard) -> None:
    assert ask(shard, "u1") == ("free", "u1")
    assert shard.look().records == {}
    assert shard.look().unique == {}


def test_a_question_about_a_job_without_a_key_writes_nothing_either(shard: Shard) -> None:
    tick = ticking(shard.now + 1000)._replace(unique_key="")
    asked = send(shard, NewJob("u1", "a"), tick, layout=2, question=True)
    assert asked == [("free", "u1"), ("free", "t-1")]
    assert shard.look().records == {}
    assert send(shard, tick, layout=2) == [("new", "t-1")]


def test_a_question_meets_the_holder_as_an_enqueue_does(shard: Shard) -> None:
    send(shard, keyed("u1"))
    assert ask(shard, "u2") == ("duplicate", "u1")
    assert send(shard, keyed("u3", "replace"), layout=2, question=True) == [("replaced", "u1")]
    shard.take_one()
    assert send(shard, keyed("u4", "follow"), layout=2, question=True) == [("follower", "u4")]
    assert shard.record("u4")["status"] == "scheduled"


def test_a_follower_counts_as_its_first_does(shard: Shard) -> None:
    send(shard, keyed("u1"))
    first = shard.take_one()
    send(shard, NewJob("other", "a", due="+100000"))  # an empty shard holds no keys, whatever was counted
    send(shard, keyed("u2", "follow"), layout=2, question=True)
    assert seal(shard, 2).keys[1].by_jobs == 1
    shard.finish(OutcomeRow(first.uid, first.token, OutcomeKind.COMPLETE.value))
    assert seal(shard, 2).keys[1].by_jobs == 1, "the key was never free: it is still held in this home"
    second = shard.take_one()
    shard.finish(OutcomeRow(second.uid, second.token, OutcomeKind.COMPLETE.value))
    assert seal(shard, 2).keys == {}


def test_keys_are_counted_by_the_layout_under_which_they_were_taken(shard: Shard) -> None:
    send(shard, keyed("u1"))
    send(shard, NewJob("u2", "a", unique_key="k2"), layout=2)
    send(shard, NewJob("u3", "a", unique_key="k3", unique_for=5_000), layout=2)
    keys = seal(shard, 2).keys
    assert (keys[1].by_jobs, keys[2].by_jobs, keys[2].window) == (1, 1, 5_000)
    shard.cancel("u1")
    assert set(seal(shard, 2).keys) == {2}


def test_a_shard_without_live_jobs_holds_no_key_whatever_was_counted(shard: Shard) -> None:
    send(shard, keyed("u1"))
    shard.server.command("DEL", *[f"{shard.keys.base}:{name}" for name in ("stream:normal", "job:q.3.u1")])
    assert seal(shard, 2).keys == {}
    assert shard.look().keys == {}
    shard.server.command("DEL", f"{shard.keys.base}:unique:a:k")


# Ticks.


def ticking(not_after: int, uid: str = "t-1") -> NewJob:
    extra = json.dumps({"schedule": "s", "tick": "1", "not_after": str(not_after)})
    return NewJob(uid, "a", extra=extra, unique_key="k")


def test_a_tick_that_was_enqueued_is_known_in_a_shard_that_has_heard_of_more(shard: Shard) -> None:
    tick = ticking(shard.now + 1000)
    assert send(shard, tick) == [("new", "t-1")]
    seal(shard, 2)
    assert send(shard, tick) == [("again", "t-1")]


def test_a_tick_that_is_refused_or_only_asked_about_leaves_no_mark(shard: Shard) -> None:
    tick = ticking(shard.now + 1000)
    assert send(shard, tick, layout=2, question=True) == [("free", "t-1")]
    assert send(shard, tick, layout=1) == [("moved", "2")]
    assert send(shard, tick, layout=2) == [("new", "t-1")]


def test_a_tick_whose_key_is_held_in_an_older_home_is_decided_there(shard: Shard) -> None:
    send(shard, keyed("u1"))
    tick = ticking(shard.now + 1000)
    assert send(shard, tick, layout=2, question=True) == [("duplicate", "u1")]
    shard.cancel("u1")
    assert send(shard, tick, layout=2, question=True) == [("duplicate", "t-1")], "it stays passed over"


# Replay, and loans.


def test_a_dead_job_with_a_key_of_a_queue_that_was_cut_anew_asks_for_its_home(shard: Shard) -> None:
    send(shard, keyed("u1"), NewJob("u2", "a"))
    bury(shard)
    bury(shard)
    seal(shard, 2)
    assert replay(shard, "u1") == ("keyed", "a:k")
    assert replay(shard, "u1", layout=1) == ("keyed", "a:k")
    assert replay(shard, "u1", layout=1, home="here") == ("moved", "2")
    assert replay(shard, "u2") == ("replayed", "")
    assert replay(shard, "u1", home="here") == ("replayed", "")


def test_a_lent_key_is_away_until_its_borrower_is_done(shard: Shard) -> None:
    home, there = shard, elsewhere(shard)
    send(there, keyed("u1"))
    bury(there)
    verdict, number = lend(home, "q.4.u1")
    assert verdict == "lent"
    loan = f"q.4.u1#{number}"
    assert send(home, keyed("n1"), layout=2) == [("away", loan)]
    assert replay(there, "u1", home=number) == ("replayed", "")
    assert ask(there, "n1", past=loan) == ("duplicate", "u1")
    job = there.take_one()
    there.finish(OutcomeRow(job.uid, job.token, OutcomeKind.COMPLETE.value))
    assert ask(there, "n1", past=loan) == ("free", "n1")
    assert send(home, keyed("n1", extra=json.dumps({"past": loan})), layout=2) == [("new", "n1")]
    assert home.look().lent == {}


def test_a_loan_that_somebody_was_told_is_over_cannot_be_used(shard: Shard) -> None:
    home, there = shard, elsewhere(shard)
    send(there, keyed("u1"))
    bury(there)
    _, number = lend(home, "q.4.u1")
    loan = f"q.4.u1#{number}"
    # The operator dawdles; meanwhile somebody asks, and takes the key at its home.
    assert ask(there, "n1", past=loan) == ("free", "n1")
    assert replay(there, "u1", home=number) == ("moved", "")
    assert send(home, keyed("n1", extra=json.dumps({"past": loan})), layout=2) == [("new", "n1")]
    assert lend(home, "q.4.u1") == ("duplicate", "q.3.n1")


def test_a_loan_is_used_once(shard: Shard) -> None:
    home, there = shard, elsewhere(shard)
    send(there, keyed("u1"))
    bury(there)
    _, number = lend(home, "q.4.u1")
    assert replay(there, "u1", home=number) == ("replayed", "")
    bury(there)
    assert replay(there, "u1", home=number) == ("moved", "")


def test_who_takes_back_a_loan_must_have_asked_about_that_very_one(shard: Shard) -> None:
    _, first = lend(shard, "q.4.u1")
    _, second = lend(shard, "q.4.u1")
    assert int(second) > int(first)
    old = json.dumps({"past": f"q.4.u1#{first}"})
    assert send(shard, keyed("n1", extra=old), layout=2) == [("away", f"q.4.u1#{second}")]
    assert lend(shard, "q.5.u2") == ("away", f"q.4.u1#{second}")
    assert lend(shard, "q.5.u2", past=f"q.4.u1#{second}")[0] == "lent"


def test_a_home_of_an_older_layout_lends_nothing(shard: Shard) -> None:
    seal(shard, 3)
    assert lend(shard, "q.4.u1", layout=2) == ("moved", "3")


def test_only_the_very_loan_is_struck_off(shard: Shard) -> None:
    _, number = lend(shard, "q.4.u1")
    run = shard.server.run
    assert run(lua.loans(shard.keys, limit=10, over=[Loan("a:k", "q.4.u1#1")])) == [
        Loan("a:k", f"q.4.u1#{number}")
    ]
    assert run(lua.loans(shard.keys, limit=10, over=[Loan("a:k", f"q.4.u1#{number}")])) == []


# The queue's own layout.


def opened(shard: Shard, *, shards: int = 8, floor: int = 1, held: int = 0) -> Layout:
    return shard.server.run(lua.open_queue(KEYS, "q", shards=shards, schema=1, floor=floor, held=held))


def cut(shard: Shard, shards: int, *, floor: int = 1, most_homes: int = 8) -> tuple[Cut, Layout]:
    return shard.server.run(
        lua.queue_reshard(KEYS, "q", shards=shards, most_homes=most_homes, remembered=1000, floor=floor)
    )


def test_each_cut_is_one_version_and_remembers_those_before(shard: Shard) -> None:
    opened(shard)
    verdict, layout = cut(shard, 32)
    assert (verdict, layout.version, layout.shards, layout.reach) == ("resharded", 2, 32, 32)
    verdict, layout = cut(shard, 4)
    assert (verdict, layout.version, layout.shards, layout.reach) == ("resharded", 3, 4, 32)
    assert layout.homes == (Home(1, 8), Home(2, 32))
    assert layout.fewest == 8
    assert cut(shard, 4) == ("same", layout)
    assert cut(shard, 5, most_homes=2) == ("busy", layout)
    assert opened(shard) == layout


def test_a_queue_that_nobody_uses_is_not_cut(shard: Shard) -> None:
    assert cut(shard, 4)[0] == "missing"


def test_nothing_is_struck_off_a_layout_that_was_cut_since(shard: Shard) -> None:
    opened(shard)
    cut(shard, 4)
    cut(shard, 2)
    late = lua.queue_settle(KEYS, "q", [], layout=2, reach=4, looked=32)
    settled, layout = shard.server.run(late)
    assert not settled
    assert (layout.reach, len(layout.homes)) == (8, 2)
    settled, layout = shard.server.run(
        lua.queue_settle(KEYS, "q", [Home(2, 4)], layout=3, reach=3, looked=32)
    )
    assert settled
    assert (layout.reach, layout.homes, layout.fewest) == (3, (Home(2, 4),), 4)
    shard.advance(1000)
    _, layout = shard.server.run(lua.queue_settle(KEYS, "q", [], layout=3, reach=0, looked=32))
    assert layout.settled
    assert (layout.reach, layout.fewest) == (2, 2)


def test_a_version_that_was_lost_is_made_good_by_who_has_heard_of_it(shard: Shard) -> None:
    """It is none that anybody has seen: who knows what was lost must not take it for that."""
    assert opened(shard, floor=4).version == 5
    assert opened(shard, floor=6).version == 7
    assert opened(shard, floor=7).version == 7
    assert opened(shard, floor=2).version == 7
    assert cut(shard, 4, floor=9)[1].version == 10
    verdict, again = cut(shard, 4, floor=12)
    assert (verdict, again.version) == (Cut.SAME, 13)


def test_a_version_that_was_made_good_has_an_older_one_so_that_every_shard_hears_of_it(shard: Shard) -> None:
    opened(shard)
    made = opened(shard, floor=2)
    assert made.homes == (Home(1, made.shards),)
    assert not made.settled
    assert opened(shard, floor=5).homes == made.homes, "one is enough"


def test_shards_of_a_lost_layout_that_hold_something_are_served_again(shard: Shard) -> None:
    """Whoever has just looked says how many; no layout shrinks by it."""
    opened(shard)
    assert opened(shard, held=11).reach == 11
    assert opened(shard, held=9).reach == 11
    _, layout = shard.server.run(lua.queue_settle(KEYS, "q", [], layout=1, reach=13, looked=13))
    assert layout.reach == 13
