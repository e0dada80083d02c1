"""Singletons: what a holder reads and writes, and what is refused to everybody else."""

import json
from typing import Any

import pytest

from capelin import lua
from capelin.keys import Keys
from capelin.lua.singletons import (
    Declared,
    Note,
    lease_look,
    singleton_aside,
    singleton_begin,
    singleton_declare,
    singleton_note,
    singleton_save,
)
from tests.scripts.driving import TTL, Shard
from tests.scripts.looking import pairs

KEYS = Keys()
NAME = "indexer"


def acquire(shard: Shard, owner: str) -> int:
    return shard.server.run(lua.lease_acquire(KEYS.lease(NAME), owner=owner, ttl=TTL)).epoch


def begin(shard: Shard, owner: str, epoch: int) -> bytes | str | None:
    loaded = shard.server.run(singleton_begin(KEYS, NAME, owner=owner, epoch=epoch))
    return "refused" if loaded is None else loaded.state


def save(shard: Shard, owner: str, epoch: int, text: str = "{}", number: int = 1) -> bool:
    call = singleton_save(KEYS, NAME, owner=owner, epoch=epoch, number=number, text=text.encode())
    return shard.server.run(call)


def note(shard: Shard, owner: str, epoch: int, what: Note = Note.BEAT, error: str = "") -> bool:
    return shard.server.run(singleton_note(KEYS, NAME, owner=owner, epoch=epoch, what=what, error=error))


def aside(shard: Shard, owner: str, epoch: int) -> bool:
    return shard.server.run(singleton_aside(KEYS, NAME, owner=owner, epoch=epoch))


def kept(shard: Shard) -> dict[str, str]:
    return pairs(shard.server.command("HGETALL", KEYS.lease_state(NAME)))


class TestHolder:
    """Whoever holds the lease."""

    def test_it_finds_nothing_at_first_and_notes_itself(self, shard: Shard) -> None:
        epoch = acquire(shard, "w1")
        assert begin(shard, "w1", epoch) is None
        assert kept(shard) == {
            "worker": "w1",
            "epoch": str(epoch),
            "since": str(shard.now),
            "number": "0",
        }

    def test_what_it_saves_the_next_one_finds(self, shard: Shard) -> None:
        epoch = acquire(shard, "w1")
        assert save(shard, "w1", epoch, '{"n":1}')
        saved_at = shard.now
        shard.advance(TTL)
        later = acquire(shard, "w2")
        assert begin(shard, "w2", later) == b'{"n":1}'
        left = kept(shard)
        assert (left["worker"], left["epoch"]) == ("w2", str(later))
        assert (left["saved"], left["beat"]) == (str(saved_at), str(saved_at))

    def test_a_save_that_was_sent_twice_and_comes_after_the_next_one_changes_nothing(
        self, shard: Shard
    ) -> None:
        epoch = acquire(shard, "w1")
        begin(shard, "w1", epoch)
        assert save(shard, "w1", epoch, '{"n":1}', number=1)
        assert save(shard, "w1", epoch, '{"n":1}', number=1)
        assert save(shard, "w1", epoch, '{"n":2}', number=2)
        assert save(shard, "w1", epoch, '{"n":1}', number=1)
        assert kept(shard)["state"] == '{"n":2}'
        # The next holder counts from the beginning.
        shard.advance(TTL)
        later = acquire(shard, "w2")
        begin(shard, "w2", later)
        assert save(shard, "w2", later, '{"n":3}', number=1)
        assert kept(shard)["state"] == '{"n":3}'

    def test_its_signs_of_life_and_runs_are_counted_and_a_failure_is_no_sign_of_life(
        self, shard: Shard
    ) -> None:
        epoch = acquire(shard, "w1")
        assert note(shard, "w1", epoch)
        began = shard.now
        assert kept(shard) == {"beat": str(began)}
        shard.advance(10)
        assert note(shard, "w1", epoch, Note.FAILED, "ValueError: no")
        assert kept(shard) == {
            "beat": str(began),
            "failures": "1",
            "last_error": "ValueError: no",
            "failed": str(shard.now),
        }
        shard.advance(10)
        assert note(shard, "w1", epoch, Note.RAN)
        assert note(shard, "w1", epoch, Note.RAN)
        left = kept(shard)
        assert (left["runs"], left["failures"], left["beat"]) == ("2", "1", str(shard.now))

    def test_a_state_that_it_cannot_read_is_kept_aside(self, shard: Shard) -> None:
        epoch = acquire(shard, "w1")
        save(shard, "w1", epoch, "old")
        assert aside(shard, "w1", epoch)
        assert begin(shard, "w1", epoch) is None
        assert kept(shard)["aside"] == "old"
        assert aside(shard, "w1", epoch)  # there is none: what is aside stays
        assert kept(shard)["aside"] == "old"

    def test_it_may_write_past_the_end_of_its_lease_as_long_as_nobody_took_it(self, shard: Shard) -> None:
        epoch = acquire(shard, "w1")
        shard.advance(100 * TTL)
        assert save(shard, "w1", epoch)


def lost_to_another(shard: Shard, epoch: int) -> None:
    assert epoch
    shard.advance(TTL)
    acquire(shard, "w2")


def given_up(shard: Shard, epoch: int) -> None:
    shard.server.run(lua.lease_release(KEYS.lease(NAME), owner="w1", epoch=epoch))


def taken_anew_by_itself(shard: Shard, epoch: int) -> None:
    assert epoch
    acquire(shard, "w1")


def forgotten_by_redis(shard: Shard, epoch: int) -> None:
    assert epoch
    shard.server.command("DEL", KEYS.lease(NAME))


@pytest.mark.parametrize("end", [lost_to_another, given_up, taken_anew_by_itself, forgotten_by_redis])
def test_who_does_not_hold_the_lease_any_more_writes_nothing(shard: Shard, end: Any) -> None:
    epoch = acquire(shard, "w1")
    begin(shard, "w1", epoch)
    save(shard, "w1", epoch, "mine")
    end(shard, epoch)
    before = kept(shard)
    shard.advance(1)
    assert begin(shard, "w1", epoch) == "refused"
    assert not save(shard, "w1", epoch, "late", number=2)
    assert not any(note(shard, "w1", epoch, what) for what in Note)
    assert not aside(shard, "w1", epoch)
    assert kept(shard) == before


def test_nobody_writes_with_the_epoch_of_another(shard: Shard) -> None:
    epoch = acquire(shard, "w1")
    assert not save(shard, "w2", epoch)
    assert not save(shard, "w1", epoch - 1)
    assert not save(shard, "w1", epoch + 1)
    assert kept(shard) == {}


class TestLooking:
    """A lease as others see it."""

    def test_one_that_is_held_given_up_or_unknown(self, shard: Shard) -> None:
        key = KEYS.lease(NAME)
        assert shard.server.run(lease_look(key)).owner == ""
        epoch = acquire(shard, "w1")
        shard.advance(1_000)
        assert shard.server.run(lease_look(key)) == ("w1", TTL - 1_000)
        shard.advance(TTL)
        assert shard.server.run(lease_look(key)) == ("w1", -1_000)
        shard.server.run(lua.lease_release(key, owner="w1", epoch=epoch))
        assert shard.server.run(lease_look(key)).owner == ""

    def test_looking_leaves_nothing_behind(self, shard: Shard) -> None:
        shard.server.run(lease_look(KEYS.lease(NAME)))
        assert shard.server.command("EXISTS", KEYS.lease(NAME)) == 0


class TestDeclaring:
    """What a worker may host is noted in Redis."""

    def declare(self, shard: Shard, *declared: tuple[str, dict[str, Any]]) -> list[str]:
        rows = [Declared(name, json.dumps(definition)) for name, definition in declared]
        return shard.server.run(singleton_declare(KEYS, declared=rows))

    def found(self, shard: Shard) -> dict[str, Any]:
        known = pairs(shard.server.command("HGETALL", KEYS.singletons))
        return {name: json.loads(text) for name, text in known.items()}

    def test_when_it_was_first_seen_is_kept_when_the_rest_changes(self, shard: Shard) -> None:
        first = shard.now
        assert self.declare(shard, ("a", {"app": "x", "n": 1}), ("b", {"app": "x"})) == ["", ""]
        shard.advance(5)
        assert self.declare(shard, ("a", {"app": "x", "n": 2}), ("c", {"app": "x"})) == ["x", ""]
        assert self.found(shard) == {
            "a": {"app": "x", "n": 2, "registered": first},
            "b": {"app": "x", "registered": first},
            "c": {"app": "x", "registered": first + 5},
        }

    def test_the_app_that_declared_it_before_is_told(self, shard: Shard) -> None:
        self.declare(shard, ("a", {"app": "x"}))
        assert self.declare(shard, ("a", {"app": "y"})) == ["x"]
        assert self.declare(shard, ("a", {"app": "y"})) == ["y"]

    @pytest.mark.parametrize("torn", ["", "{", "5", "null", '{"registered":"soon","app":5}', "[]"])
    def test_a_torn_one_is_written_anew(self, shard: Shard, torn: str) -> None:
        shard.server.command("HSET", KEYS.singletons, "a", torn)
        assert self.declare(shard, ("a", {"app": "x"})) == [""]
        assert self.found(shard) == {"a": {"app": "x", "registered": shard.now}}
