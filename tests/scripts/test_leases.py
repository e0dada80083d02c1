"""Ownership: leases with their epochs, and the fleet's membership."""

from typing import TypeVar

import pytest

from capelin import lua
from capelin.keys import Keys
from capelin.lua import Beat, Call, Lease
from tests.scripts.driving import TTL, Shard

T = TypeVar("T")
KEYS = Keys()


def run(shard: Shard, call: Call[T]) -> T:
    return shard.server.run(call)


def acquire(shard: Shard, owner: str) -> Lease:
    return run(shard, lua.lease_acquire(shard.keys.lease, owner=owner, ttl=TTL))


def renew(shard: Shard, owner: str, epoch: int) -> bool:
    return run(shard, lua.lease_renew(shard.keys.lease, owner=owner, epoch=epoch, ttl=TTL))


def release(shard: Shard, owner: str, epoch: int) -> bool:
    return run(shard, lua.lease_release(shard.keys.lease, owner=owner, epoch=epoch))


class TestLease:
    """A named, time-limited, fenced ownership."""

    def test_a_free_one_is_taken_with_an_epoch_from_the_clock(self, shard: Shard) -> None:
        lease = acquire(shard, "w1")
        assert (lease.epoch, lease.expires_in, lease.owner) == (shard.now, TTL, "w1")

    @pytest.mark.parametrize("epoch", ["inf", "1e300", "9" * 25, "-5", "first"])
    def test_an_epoch_that_no_lease_ever_had_is_not_counted_from(self, shard: Shard, epoch: str) -> None:
        shard.server.command("HSET", shard.keys.lease, "owner", "", "epoch", epoch)
        lease = acquire(shard, "w1")
        assert lease.epoch == shard.now
        assert renew(shard, "w1", lease.epoch)

    @pytest.mark.parametrize("expires", ["inf", "1e300", "9" * 19])
    def test_one_that_nobody_can_have_been_given_for_so_long_is_free(
        self, shard: Shard, expires: str
    ) -> None:
        shard.server.command("HSET", shard.keys.lease, "owner", "nobody", "epoch", 1, "expires", expires)
        assert acquire(shard, "w1").owner == "w1"

    def test_a_held_one_is_refused_with_who_and_how_long(self, shard: Shard) -> None:
        acquire(shard, "w1")
        shard.advance(1_000)
        lease = acquire(shard, "w2")
        assert (lease.epoch, lease.expires_in, lease.owner) == (0, TTL - 1_000, "w1")

    @pytest.mark.parametrize(("age", "taken"), [(TTL - 1, False), (TTL, True)])
    def test_an_expired_one_is_free_at_the_very_moment(self, shard: Shard, *, age: int, taken: bool) -> None:
        acquire(shard, "w1")
        shard.advance(age)
        assert (acquire(shard, "w2").epoch > 0) == taken

    def test_every_taking_has_a_larger_epoch_also_when_the_clock_stands_still(self, shard: Shard) -> None:
        epochs: list[int] = []
        for owner in ("w1", "w1", "w2", "w1", "w2"):
            lease = acquire(shard, owner)
            epochs.append(lease.epoch)
            release(shard, owner, lease.epoch)
        assert epochs == [shard.now + n for n in range(5)]

    def test_one_that_redis_forgot_never_repeats_an_epoch(self, shard: Shard) -> None:
        first = acquire(shard, "w1").epoch
        shard.server.command("DEL", shard.keys.lease)
        shard.advance(2)
        assert acquire(shard, "w2").epoch > first

    def test_an_expired_one_that_nobody_took_is_renewed_with_its_epoch(self, shard: Shard) -> None:
        epoch = acquire(shard, "w1").epoch
        shard.advance(100 * TTL)
        assert renew(shard, "w1", epoch)
        assert acquire(shard, "w2").expires_in == TTL

    def test_a_lost_one_is_not_renewed_nor_released(self, shard: Shard) -> None:
        epoch = acquire(shard, "w1").epoch
        shard.advance(TTL)
        mine = acquire(shard, "w2").epoch
        assert not renew(shard, "w1", epoch)
        assert not release(shard, "w1", epoch)
        assert not renew(shard, "w2", epoch)
        assert not renew(shard, "w1", mine)
        assert renew(shard, "w2", mine)

    def test_a_released_one_is_free_at_once_and_its_holder_cannot_renew_it(self, shard: Shard) -> None:
        epoch = acquire(shard, "w1").epoch
        assert release(shard, "w1", epoch)
        assert not release(shard, "w1", epoch)
        assert not renew(shard, "w1", epoch)
        assert acquire(shard, "w2").epoch > epoch

    def test_one_that_never_was_is_not_renewed(self, shard: Shard) -> None:
        assert not renew(shard, "w1", 1)
        assert shard.look().lease == {}

    def test_a_shards_lease_is_renewed_together_with_the_stake(self, shard: Shard) -> None:
        epoch = acquire(shard, "w1").epoch
        shard.advance(1_000)
        assert shard.renew("w1", epoch=epoch).lease == "kept"
        assert acquire(shard, "w2").expires_in == TTL
        assert shard.renew("w1", epoch=epoch - 1).lease == "lost"
        assert shard.renew("w2", epoch=epoch).lease == "lost"
        assert shard.renew("w2").lease == "none"


def beat(shard: Shard, worker: str, *, member: str = "{}", free: int = 1, fit: bool = True) -> Beat:
    call = lua.fleet_beat(
        KEYS, worker=worker, member=member, ttl=TTL, free=free, judge_until=shard.now if fit else 0
    )
    return run(shard, call)


def members(shard: Shard) -> set[str]:
    fields = shard.server.command("HKEYS", KEYS.fleet_members)
    assert isinstance(fields, list)
    return {str(field) for field in fields} - {"#version"}


class TestFleet:
    """One membership, with a version that grows with it."""

    def test_the_version_grows_only_when_the_membership_changed(self, shard: Shard) -> None:
        assert beat(shard, "w1").version == 1
        assert beat(shard, "w1").version == 1
        assert beat(shard, "w2").version == 2
        assert beat(shard, "w2", member='{"queues":[]}').version == 3
        assert run(shard, lua.fleet_leave(KEYS, worker="w1")) == 4
        assert run(shard, lua.fleet_leave(KEYS, worker="w1")) == 4
        assert beat(shard, "w2", member='{"queues":[]}').version == 4

    def test_a_pulse_changes_no_membership_and_ends_with_its_worker(self, shard: Shard) -> None:
        def say(pulse: str) -> Beat:
            call = lua.fleet_beat(KEYS, worker="w1", member="{}", ttl=TTL, free=1, judge_until=0, pulse=pulse)
            return run(shard, call)

        pulse = KEYS.fleet_pulse("w1")
        assert say("one").version == say("two").version
        assert shard.server.command("GET", pulse) == "two"
        assert beat(shard, "w1").version == 1, "one that says nothing leaves it to end"
        left = shard.server.command("PTTL", pulse)
        assert isinstance(left, int)
        assert 0 < left <= TTL
        run(shard, lua.fleet_leave(KEYS, worker="w1"))
        assert shard.server.command("EXISTS", pulse) == 0

    def test_it_counts_the_others_that_have_free_slots(self, shard: Shard) -> None:
        assert beat(shard, "w1", free=3).idle == 0
        assert beat(shard, "w2", free=0).idle == 1
        assert beat(shard, "w1", free=3).idle == 0
        assert beat(shard, "w2", free=1).idle == 1
        assert beat(shard, "w1", free=0).idle == 1

    def test_it_says_when_the_next_member_expires_and_what_time_it_is(self, shard: Shard) -> None:
        beat(shard, "w1")
        shard.advance(1_000)
        reply = beat(shard, "w2")
        assert (reply.next_expiry, reply.now) == (TTL - 1_000, shard.now)

    def test_when_the_silent_are_removed_the_version_grows_once(self, shard: Shard) -> None:
        beat(shard, "w1")
        shard.advance(TTL // 2)
        before = beat(shard, "w2").version
        shard.advance(TTL // 2)
        assert beat(shard, "w2").version == before + 1
        assert beat(shard, "w2").version == before + 1
        assert members(shard) == {"w2"}

    @pytest.mark.parametrize(("fit", "left"), [(True, {"w2"}), (False, {"w1", "w2"})])
    def test_only_who_is_fit_to_judge_removes_the_silent(
        self, shard: Shard, *, fit: bool, left: set[str]
    ) -> None:
        beat(shard, "w1")
        shard.advance(TTL)
        reply = beat(shard, "w2", fit=fit)
        assert members(shard) == left
        assert reply.idle == len(left) - 1
        if not fit:
            assert reply.next_expiry == 0

    def test_a_judgement_that_was_held_up_by_an_outage_removes_nobody(self, shard: Shard) -> None:
        beat(shard, "w1")
        shard.advance(TTL)
        call = lua.fleet_beat(KEYS, worker="w2", member="{}", ttl=TTL, free=1, judge_until=shard.now - 1)
        run(shard, call)
        assert members(shard) == {"w1", "w2"}

    def test_a_member_that_was_removed_joins_again_with_its_next_beat(self, shard: Shard) -> None:
        beat(shard, "w1")
        shard.advance(TTL)
        before = beat(shard, "w2").version
        again = beat(shard, "w1")
        assert (again.version, again.joined) == (before + 1, True)
        assert not beat(shard, "w1").joined
        assert members(shard) == {"w1", "w2"}

    def test_who_leaves_is_gone_from_every_list(self, shard: Shard) -> None:
        beat(shard, "w1")
        beat(shard, "w2", free=0)
        run(shard, lua.fleet_leave(KEYS, worker="w1"))
        reply = beat(shard, "w2", free=0)
        assert (members(shard), reply.idle, reply.next_expiry) == ({"w2"}, 0, TTL)


class TestQueue:
    """The layout of a queue is written by whoever uses it first."""

    def test_the_first_decides_and_all_get_the_same(self, shard: Shard) -> None:
        for shards, schema in [(8, 1), (64, 2)]:
            layout = run(shard, lua.open_queue(KEYS, "emails", shards=shards, schema=schema))
            assert (layout.shards, layout.schema, layout.version) == (8, 1, 1)
