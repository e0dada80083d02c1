"""When the consumer lets the next wake token come, without a Redis: replies come when a test says so."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from typing import Any, cast

import pytest

from capelin.connection import Connection
from capelin.keys import Keys
from capelin.lua import Call, Taken
from capelin.settings import Settings
from capelin.workers.consumer import Consumer
from capelin.workers.limits import Limits
from capelin.workers.ownership import Ownership
from capelin.workers.recording import Recorder
from capelin.workers.running import Running
from capelin.workers.slots import Slots
from capelin.workers.weights import Weights
from tests.support.waiting import wait_until

ONE, TWO, THREE = (Keys().shard("default", number) for number in range(3))
NOTHING = Taken(jobs=[], more=False, next_due=None, torn=[], dropped=0, expired=0, now=1_000)


class Sent:
    """A pipeline whose replies a test gives."""

    def __init__(self, calls: Sequence[Call[Any]]) -> None:
        self.shards = [call.key for call in calls]
        self.asked = [dict(zip(call.script.args, call.args, strict=False)) for call in calls]
        self.answer: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()

    async def replies(self) -> list[Any]:
        return await self.answer

    def answered(self, reply: Any = NOTHING) -> None:
        self.answer.set_result([reply] * len(self.shards))


class Wire:
    """A connection that notes what is sent."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []

    def begin(self, calls: Sequence[Call[Any]]) -> Sent:
        self.sent.append(Sent(calls))
        return self.sent[-1]

    async def run_many(self, calls: Sequence[Call[Any]]) -> list[Any]:
        return await self.begin(calls).replies()


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def slots(request: pytest.FixtureRequest) -> Slots:
    return Slots(
        {"loop": getattr(request, "param", 40), "thread": 1, "process": 1}, {"default": frozenset({"loop"})}
    )


@pytest.fixture
async def consumer(wire: Wire, slots: Slots) -> AsyncGenerator[Consumer]:
    """One that owns everything and has nothing to do."""
    limits, running, owned = Limits.of(Settings()), Running(), Ownership()
    for shard in (ONE, TWO, THREE):
        owned.gained(shard, 1)
    consumer = Consumer(
        cast(Connection, wire),
        worker="w",
        limits=limits,
        slots=slots,
        running=running,
        owned=owned,
        weights=Weights(),
        recorder=Recorder(worker="w", limits=limits, layouts={"default": 3}, running=running),
    )
    lanes = asyncio.create_task(consumer.run())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    yield consumer
    lanes.cancel()
    await asyncio.wait([lanes])


async def test_an_idle_worker_waits_on_when_its_take_is_answered(consumer: Consumer, wire: Wire) -> None:
    over = consumer.woken(ONE)
    assert [sent.shards for sent in wire.sent] == [[ONE.meta]]  # in this very callback
    await asyncio.sleep(0)
    assert not over.done()
    wire.sent[0].answered()
    await over


async def test_a_worker_at_rest_asks_for_what_it_would_plan_to(
    consumer: Consumer, wire: Wire, slots: Slots
) -> None:
    for _ in range(2):  # the second time, all that is known
        before, over = len(wire.sent), consumer.woken(ONE)
        assert (consumer.asked.count, slots.free_for("default")) == (20, 20)
        wire.sent[before].answered()
        await over
        assert (consumer.asked.count, slots.free_for("default")) == (0, 40)
        await wait_until(lambda: consumer.drained, description="the worker to rest")
    consumer.notify(ONE)
    await wait_until(lambda: len(wire.sent) == 3, description="the planned take")
    assert wire.sent[0].asked == wire.sent[1].asked == wire.sent[2].asked
    assert wire.sent[0].asked[0]["waits"] == wire.sent[2].asked[0]["waits"] == 1
    wire.sent[2].answered()


async def test_a_worker_that_runs_jobs_asks_for_no_more_than_it_has_slots(
    consumer: Consumer, wire: Wire, slots: Slots
) -> None:
    over = consumer.woken(ONE)  # it knows what it asks for at rest
    wire.sent[0].answered()
    await over
    for _ in range(38):
        slots.take("loop")
    consumer.woken(ONE)
    assert wire.sent[1].asked[0]["count"] == 2
    assert slots.free_for("default") == 0


@pytest.mark.parametrize("slots", [2, 8, 24], indirect=True)
async def test_where_the_parts_of_the_priorities_do_not_come_out_even_each_has_its_turn(
    consumer: Consumer, wire: Wire
) -> None:
    """Or one shard would give a critical job less than a low one each time that it wakes its owner."""
    dealt: Counter[str] = Counter()
    for turn in range(20):
        over = consumer.woken(ONE)
        for name in ("critical", "high", "normal", "low"):
            dealt[name] += int(wire.sent[turn].asked[0][name])
        wire.sent[turn].answered()
        await over
    assert dealt["critical"] > dealt["high"] > dealt["normal"] > dealt["low"] > 0


async def test_a_worker_that_was_told_to_end_asks_for_nothing(consumer: Consumer, wire: Wire) -> None:
    consumer.taking = False
    assert consumer.woken(ONE).done()
    assert wire.sent == []


async def test_a_busy_worker_waits_on_at_once(consumer: Consumer, wire: Wire) -> None:
    consumer.woken(ONE)
    assert consumer.woken(TWO).done()
    assert [sent.shards for sent in wire.sent] == [[ONE.meta], [TWO.meta]]


async def test_what_comes_while_every_lane_is_busy_goes_with_the_next(consumer: Consumer, wire: Wire) -> None:
    consumer.woken(ONE)
    consumer.woken(TWO)
    await asyncio.sleep(0)
    assert consumer.woken(THREE).done()
    assert len(wire.sent) == 2
    wire.sent[0].answered()
    await wait_until(lambda: len(wire.sent) == 3, description="the third take to be sent")
    assert wire.sent[2].shards == [THREE.meta]


async def test_a_thief_takes_only_where_its_look_found_something(consumer: Consumer, wire: Wire) -> None:
    probe = asyncio.create_task(consumer.probe([ONE, TWO]))
    await wait_until(lambda: len(wire.sent) == 1, description="the look to be sent")
    wire.sent[0].answer.set_result([False, True])
    await wait_until(lambda: len(wire.sent) == 2, description="the take to be sent")
    assert wire.sent[1].shards == [TWO.meta]
    wire.sent[1].answered()
    await probe


async def test_a_thief_that_is_told_to_end_while_it_looks_takes_nothing(
    consumer: Consumer, wire: Wire
) -> None:
    """Who ends waits for the takes on their way: one that begins later would be nobody's."""
    probe = asyncio.create_task(consumer.probe([ONE]))
    await wait_until(lambda: len(wire.sent) == 1, description="the look to be sent")
    consumer.taking = False
    await consumer.asked.settled()
    wire.sent[0].answered(True)
    await probe
    assert len(wire.sent) == 1
