"""The small parts of a worker that need no Redis: the table of starts, trust, stalls, and how to take."""

from collections import Counter, deque
from dataclasses import dataclass
from typing import ClassVar

import pytest

from capelin.keys import Keys, ShardKeys
from capelin.lua import Delivery, Renewed, Taken
from capelin.settings import Settings
from capelin.workers.limits import Limits
from capelin.workers.ready import Ready
from capelin.workers.reconciliation import Reconciliation
from capelin.workers.running import Running, Start, Stop
from capelin.workers.slots import Room, Slots
from capelin.workers.stall import Stall
from capelin.workers.taking import Taking
from capelin.workers.trust import Trust
from capelin.workers.weights import Weights

SHARD = Keys().shard("default", 0)
OTHER = Keys().shard("default", 1)


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.step = 0.0  # how much later it is each time that somebody looks, as with real clocks

    def __call__(self) -> float:
        self.now += self.step
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def start(token: int = 1, uid: str = "a", shard: ShardKeys = SHARD) -> Start:
    delivery = Delivery(uid, "4:1-1", token, task="", digest="", args=b"", enqueued=0)
    return Start(shard, delivery)


class TestRunning:
    """All doors by which a start enters meet in one table."""

    def test_a_start_enters_once_by_whatever_door(self) -> None:
        running = Running()
        assert running.add(start())
        assert not running.add(start())
        assert running.add(start(shard=OTHER))
        assert len(running) == 2

    def test_a_start_that_has_ended_does_not_begin_again(self) -> None:
        """A reply that is late, or an adoption that was slow to arrive, finds that it is over."""
        running = Running()
        first = start()
        running.add(first)
        running.remove(first)
        assert not running.add(start())
        assert running.add(start(token=2)), "the job was taken again: that is another start"

    def test_a_newer_start_ends_the_older_one(self) -> None:
        running = Running()
        older = start()
        running.add(older)
        assert running.add(start(token=2))
        assert older.stop is Stop.LOST
        running.remove(older)
        found = running.find(SHARD, "a")
        assert found is not None
        assert found.token == 2
        assert not running.add(start(token=1))


class TestReconciliation:
    """What renewals say of starts whose delivery was lost."""

    PATIENCE = 6.0

    @pytest.fixture
    def unanswered(self) -> deque[ShardKeys]:
        return deque()

    @pytest.fixture
    def book(self, unanswered: deque[ShardKeys], clock: Clock) -> Reconciliation:
        clock.step = 1e-6
        return Reconciliation(unanswered, patience=self.PATIENCE, clock=clock)

    def said(self, *unknown: tuple[str, int], pending: int = 0) -> Renewed:
        return Renewed(
            lease="none",
            lost=[],
            cancelled=[],
            unknown=list(unknown),
            pending=pending,
            next_stake=None,
            now=0,
        )

    def test_a_start_is_adopted_when_two_renewals_running_missed_it(self, book: Reconciliation) -> None:
        assert book.read(SHARD, self.said(("a", 1), pending=1)) == []
        assert book.read(SHARD, self.said(("a", 1), ("b", 1), pending=2)) == [("a", 1)]
        assert book.read(SHARD, self.said(("a", 2), ("b", 1), pending=2)) == [("b", 1)]
        assert book.read(OTHER, self.said(("a", 2), pending=1)) == [], "another shard's is another job"

    def test_starts_are_adopted_in_the_order_in_which_redis_holds_them(self, book: Reconciliation) -> None:
        starts = [(uid, 1) for uid in "fadbec"]
        book.read(SHARD, self.said(*starts, pending=6))
        assert book.read(SHARD, self.said(*starts, pending=6)) == starts

    def test_a_reply_that_came_meanwhile_ends_it(self, book: Reconciliation) -> None:
        book.read(SHARD, self.said(("a", 1), pending=1))
        assert book.read(SHARD, self.said(pending=1)) == []
        assert book.read(SHARD, self.said(("a", 1), pending=1)) == []

    def test_a_shard_whose_take_was_not_answered_keeps_a_stake_for_as_long_as_the_take_may_come(
        self, book: Reconciliation, unanswered: deque[ShardKeys], clock: Clock
    ) -> None:
        unanswered.append(SHARD)
        # However often renewals are hurried.
        for _ in range(10):
            assert book.shards() == [SHARD]
            assert book.unsure(SHARD)
            book.read(SHARD, self.said())
        clock.now += self.PATIENCE + 1
        book.read(SHARD, self.said())
        assert not book.unsure(SHARD)
        assert book.shards() == []

    def test_a_shard_with_something_pending_is_renewed(self, book: Reconciliation) -> None:
        book.read(SHARD, self.said(pending=1))
        assert book.shards() == [SHARD]
        book.read(SHARD, self.said())
        assert book.shards() == []


class TestTrust:
    """A worker judges others only by what it saw of Redis itself."""

    TTL, INTERVAL = 6.0, 2.0

    @pytest.fixture
    def trust(self, clock: Clock) -> Trust:
        return Trust(ttl=self.TTL, interval=self.INTERVAL, clock=clock)

    def renew(self, trust: Trust, clock: Clock, seconds: float) -> None:
        """Renew on time for so long; Redis's clock is this clock in ms."""
        until = clock.now + seconds
        while True:
            trust.renewed(int(clock.now * 1000))
            trust.renewed_in(SHARD, int(clock.now * 1000) + 5_000)
            if clock.now >= until:
                return
            clock.now += self.INTERVAL

    def test_it_waits_for_a_ttl_and_an_interval_after_its_start(self, trust: Trust, clock: Clock) -> None:
        assert not trust.fit
        self.renew(trust, clock, 6)
        assert not trust.fit
        assert trust.fit_in == pytest.approx(2.0)
        self.renew(trust, clock, 2)
        assert trust.fit
        assert trust.fit_in == 0

    def test_a_late_renewal_starts_the_wait_anew_and_what_ended_before_counts_no_crash(
        self, trust: Trust, clock: Clock
    ) -> None:
        self.renew(trust, clock, 10)
        assert trust.no_crash_before(SHARD) == 0
        clock.now += 3.5
        assert not trust.fit, "nobody answered for too long"
        back = clock.now
        self.renew(trust, clock, 6)
        assert not trust.fit
        self.renew(trust, clock, 2)
        assert trust.fit
        assert trust.no_crash_before(SHARD) == int((back + self.TTL) * 1000)

    def test_a_judgement_holds_until_a_renewal_would_be_late_by_the_clock_of_the_shards_redis(
        self, trust: Trust, clock: Clock
    ) -> None:
        assert trust.judge_until == trust.judge_until_in(SHARD) == 0
        self.renew(trust, clock, 10)
        now = int(clock.now * 1000)
        assert trust.judge_until == now + 3_000
        assert trust.judge_until_in(SHARD) == now + 5_000 + 3_000
        assert trust.judge_until_in(OTHER) == 0, "its clock is not known"
        clock.now += 3.5
        assert trust.judge_until == trust.judge_until_in(SHARD) == 0

    def test_one_shard_may_be_away_while_others_answer(self, trust: Trust, clock: Clock) -> None:
        self.renew(trust, clock, 10)
        trust.failed_in(SHARD)
        assert trust.fit
        assert not trust.fit_for(SHARD)
        assert trust.judge_until_in(SHARD) == 0
        self.renew(trust, clock, 8)
        assert trust.fit_for(SHARD)
        assert trust.judge_until_in(SHARD) > 0


class TestStall:
    """A blocked event loop is told from a process that stood still as a whole."""

    def stall(self, clock: Clock) -> Stall:
        progressed = clock.now
        return Stall(lambda: progressed, clock=clock)

    def awake(self, stall: Stall, clock: Clock, seconds: float) -> None:
        until = clock.now + seconds
        while clock.now < until:
            clock.now += 0.25
            stall.tick()

    def test_it_counts_while_this_loop_is_awake(self, clock: Clock) -> None:
        stall = self.stall(clock)
        self.awake(stall, clock, 3)
        assert stall.seconds == pytest.approx(3)

    def test_a_process_that_stood_still_is_not_stuck(self, clock: Clock) -> None:
        stall = self.stall(clock)
        self.awake(stall, clock, 1)
        clock.now += 3_600
        assert stall.seconds == 0
        stall.tick()
        assert stall.seconds == 0
        self.awake(stall, clock, 2)
        assert stall.seconds == pytest.approx(2)

    def test_progress_ends_it(self, clock: Clock) -> None:
        progressed = clock.now
        stall = Stall(lambda: progressed, clock=clock)
        self.awake(stall, clock, 3)
        progressed = clock.now
        assert stall.seconds == 0


class TestSlots:
    """A worker asks for no more than it can run, over all queues and pipelines together."""

    SIZES: ClassVar = {"loop": 10, "thread": 16, "process": 1}

    def slots(self) -> Slots:
        queues = {"async": {"loop"}, "blocking": {"thread"}, "mixed": {"loop", "thread"}}
        return Slots(self.SIZES, {queue: frozenset(pools) for queue, pools in queues.items()})

    def test_what_was_promised_to_one_queue_is_not_free_for_another_that_shares_a_pool(self) -> None:
        slots = self.slots()
        slots.promise("async", 4)
        assert [slots.free_for(queue) for queue in ("async", "mixed", "blocking")] == [6, 6, 16]
        slots.promise("mixed", 6)
        assert [slots.free_for(queue) for queue in ("async", "mixed", "blocking")] == [0, 0, 10]
        slots.redeem("mixed", 6)
        slots.take("loop")
        assert [slots.free_for(queue) for queue in ("async", "mixed", "blocking")] == [5, 5, 16]

    def test_a_pipeline_leaves_room_for_the_next_one(self) -> None:
        slots = self.slots()
        first = Room(slots, 2)
        assert first.free_for("async") == 5
        first.promise("async", 5)
        assert first.free_for("async") == 0
        assert Room(slots, 2).free_for("async") == 5

    def test_visits_of_many_shards_ask_for_no_more_than_the_pool_of_their_queue_has(self) -> None:
        """Another queue's larger pool is no room for them."""
        slots = self.slots()
        ready = Ready()
        for number in range(8):
            ready.mark(Keys().shard("async", number), deep=True)
            ready.mark(Keys().shard("blocking", number))
        planned: Counter[str] = Counter()
        for _ in range(4):
            for visit in ready.plan(Room(slots, 2)):
                planned[visit.shard.queue] += visit.count
        assert planned["async"] == 10
        assert planned["blocking"] == 16

    def test_a_full_shard_gets_all_the_room_but_what_woken_ones_of_its_queue_need(self) -> None:
        slots = Slots({"loop": 100, "thread": 1, "process": 1}, {"default": frozenset({"loop"})})
        shards = [Keys().shard("default", number) for number in range(9)]
        ready = Ready()
        for shard in shards[:3]:
            ready.mark(shard, deep=True)
        assert [(visit.shard, visit.count) for visit in ready.plan(Room(slots, 2))] == [(shards[0], 50)]
        for shard in shards[3:5]:
            ready.mark(shard)
        assert [visit.count for visit in ready.plan(Room(slots, 2))] == [34, 8, 8]
        slots.redeem("default", 100)
        for shard in shards[3:]:
            ready.mark(shard)
        counts = {visit.shard: visit.count for visit in ready.plan(Room(slots, 2))}
        assert counts[shards[2]] == 25  # never less than half
        assert sum(counts.values()) == 50


@dataclass
class Owns:
    """An owner of everything."""

    idle_others: int = 0

    def owns(self, shard: ShardKeys) -> bool:
        return shard.queue == "default"


class TestTaking:
    """What a take asks for is decided once, when it is sent."""

    LIMITS = Limits.of(Settings(steal_after=0.1))

    def taking(self, owned: Owns, slots: Slots) -> Taking:
        return Taking(worker="w", limits=self.LIMITS, slots=slots, owned=owned, weights=Weights(), lanes=2)

    @pytest.fixture
    def slots(self) -> Slots:
        sizes = {"loop": 4, "thread": 1, "process": 1}
        return Slots(sizes, {"default": frozenset({"loop"})})

    def taken(self, next_due: int | None = None) -> Taken:
        return Taken(jobs=[], more=False, next_due=next_due, torn=[], dropped=0, expired=0, now=1_000)

    def test_an_owner_waits_and_is_woken(self, slots: Slots) -> None:
        taking = self.taking(Owns(), slots)
        manner = taking.manner(SHARD)
        assert (manner.waits, manner.older_than) == (True, None)
        assert taking.look_again_in(manner, self.taken()) is None
        assert taking.look_again_in(manner, self.taken(next_due=1_500)) == 0.5

    def test_an_owner_above_its_share_leaves_no_note_and_looks_again_also_when_it_falls_below_it(
        self, slots: Slots
    ) -> None:
        owned = Owns(idle_others=1)
        taking = self.taking(owned, slots)
        for _ in range(3):
            slots.take("loop")
        manner = taking.manner(SHARD)
        assert (manner.waits, manner.older_than) == (False, 200)
        # While its take was on its way, its jobs ended and the others became busy.
        for _ in range(3):
            slots.give("loop")
        owned.idle_others = 0
        assert taking.look_again_in(manner, self.taken()) == 0.1
        assert taking.look_again_in(manner, self.taken(next_due=1_020)) == 0.02

    def test_in_a_foreign_shard_nobody_leaves_a_note(self, slots: Slots) -> None:
        manner = self.taking(Owns(), slots).manner(Keys().shard("other", 0))
        assert (manner.waits, manner.older_than) == (False, None)
