"""Singletons on every kind of Redis: hosted once, moved with their state, fenced."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, MutableMapping
from contextlib import AsyncExitStack
from typing import Any

import pytest
import structlog
from pydantic import BaseModel, ConfigDict

from capelin import Capelin, Leader, LeadershipLost, cluster, current_job
from capelin.scheduler import tenure
from tests.support.singletons import Stage
from tests.support.waiting import wait_until


class Count(BaseModel):
    """A state."""

    n: int = 0
    by: list[str] = []


@pytest.fixture
def logged() -> Iterator[list[MutableMapping[str, Any]]]:
    """What this process logs, line by line."""
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        yield lines


@pytest.fixture
async def stage(backend_url: str) -> AsyncIterator[Stage]:
    """A stage on each backend; its workers end with the test."""
    async with AsyncExitStack() as ends:
        yield Stage(backend_url, ends)


def counting(stage: Stage, app: Capelin[Any], name: str = "counter", interval: float = 0.05) -> None:
    """Declare a singleton that counts its runs in its state, and says so."""

    async def become(leader: Leader[Count]) -> None:
        stage.say("became", leader.name, leader.worker_id, leader.state.n)

    async def lose(leader: Leader[Count]) -> None:
        stage.say("lost", leader.name, leader.worker_id, leader.held)
        with contextlib.suppress(LeadershipLost):
            leader.state.by.append(leader.worker_id)
            await leader.save()
            stage.say("said goodbye", leader.name, leader.worker_id)

    @app.singleton(name, state=Count, on_become_leader=become, on_lose_leadership=lose, interval=interval)
    async def count(leader: Leader[Count]) -> None:
        leader.state.n += 1
        await leader.save()
        stage.say("ran", leader.name, leader.worker_id, leader.state.n, leader.fencing_token)


def counted_on(stage: Stage, name: str = "counter") -> bool:
    """Whether a singleton counted on, whoever hosted it: an update that is lost is made again.

    One whose host was cancelled while it saved may be in Redis though its run did not come to say so.
    """
    counts = [words[3] for words in stage.said if words[:2] == ("ran", name)]
    return counts == sorted(set(counts))


async def test_it_runs_again_and_again_on_one_worker_and_goes_on_with_its_state_on_the_next(
    stage: Stage,
) -> None:
    first_app, second_app = stage.app(), stage.app()
    counting(stage, first_app)
    counting(stage, second_app)
    async with first_app, second_app:
        first = await stage.start(first_app)
        await stage.heard("ran", "counter", first.id, times=3)
        second = await stage.start(second_app)
        await first.stop()
        await stage.heard("ran", "counter", second.id, times=3)
        await second.stop()
        assert counted_on(stage)
        tokens = [words[4] for words in stage.said if words[0] == "ran"]
        assert tokens == sorted(tokens)
        assert len(set(tokens)) == 1 + stage.count("became", "counter", second.id)
        assert stage.count("said goodbye", "counter", first.id) == 1
        # The hook came after the last run there, and before the first one of its successor.
        order = [words[0] for words in stage.said]
        goodbye = stage.said.index(("said goodbye", "counter", first.id))
        assert first.id not in [words[2] for words in stage.said[goodbye + 1 :]]
        assert order[goodbye + 1 :].count("became") == 1


async def test_each_runs_on_one_worker_and_different_ones_on_different_workers(stage: Stage) -> None:
    names = [f"s{number}" for number in range(6)]
    apps = [stage.app() for _ in range(3)]
    for app in apps:
        for name in names:
            counting(stage, app, name)
    async with AsyncExitStack() as closing:
        for app in apps:
            await closing.enter_async_context(app)
        workers = [await stage.start(app) for app in apps]

        async def spread_evenly() -> bool:
            holders = [(await stage.standing(apps[0], name)).holder for name in names]
            return sorted(map(str, holders)) == sorted(worker.id for worker in workers for _ in range(2))

        await wait_until(spread_evenly, description="two singletons on each of three workers")
        for worker in workers:
            await worker.stop()
    assert all(counted_on(stage, name) for name in names)


async def test_what_it_sees(stage: Stage, logged: list[MutableMapping[str, Any]]) -> None:
    app = stage.app()

    @app.singleton
    async def looking(leader: Leader) -> None:
        structlog.get_logger("user").info("looks around")
        stage.say("saw", current_job(None), cluster().worker_id, leader.worker_id, leader.state)

    async with app:
        worker = await stage.start(app)
        await stage.heard("saw", None, worker.id, worker.id, None)
        await worker.stop()
    [line] = [line for line in logged if line["event"] == "looks around"]
    assert line["singleton"] == "looking"


async def test_a_burst_and_a_worker_without_scheduler_host_none(stage: Stage) -> None:
    app = stage.app()
    counting(stage, app)
    async with app:
        burst = await stage.start(app, burst=True)
        await burst.task
        idle = await stage.start(app, scheduler=False)
        job = await app.enqueue(app.tasks["idle"].job())
        await job.result(timeout=10)
        # A worker that hosts declares what it may host when it begins.
        assert await app.client().connection.command("EXISTS", app.keys.singletons) == 0
        hosting = await stage.start(app)
        await stage.heard("ran", "counter", hosting.id, times=2)
        await idle.stop()
        await hosting.stop()
    assert {words[2] for words in stage.said} == {hosting.id}


async def test_an_app_without_tasks_can_have_singletons(stage: Stage) -> None:
    app = Capelin(stage.url, name="bare", settings=stage.app().settings)
    counting(stage, app)
    async with app:
        worker = await stage.start(app)
        await stage.heard("ran", "counter", worker.id, times=2)
        await worker.stop()


async def test_a_deposed_holder_saves_nothing_and_is_cancelled(stage: Stage) -> None:
    app = stage.app()
    deposed = asyncio.Event()

    async def lose(leader: Leader[Count]) -> None:
        stage.say("lost", leader.held)
        await leader.save()

    @app.singleton(state=Count, on_lose_leadership=lose)
    async def stubborn(leader: Leader[Count]) -> None:
        leader.state.n = 1
        await leader.save()
        stage.say("saved")
        await deposed.wait()
        leader.state.n = 2
        for attempt in (leader.save, leader.heartbeat):
            try:
                await attempt()
            except LeadershipLost as error:
                stage.say("refused", error.singleton, error.fencing_token == leader.fencing_token)
        stage.say("held", leader.held)
        await asyncio.Event().wait()

    async with app:
        worker = await stage.start(app)
        await stage.heard("saved")
        epoch = await stage.depose(app, "stubborn")
        deposed.set()
        await stage.heard("lost", False)
        assert stage.said[1:] == [("refused", "stubborn", True)] * 2 + [("held", False), ("lost", False)]
        found = await stage.standing(app, "stubborn")
        assert (found.holder, found.epoch, found.failures) == ("intruder", epoch, 0)
        text = await app.client().connection.command("HGET", app.keys.lease_state("stubborn"), "state")
        assert text == b'{"n":1,"by":[]}'
        await worker.stop()


async def test_a_run_that_does_nothing_is_cancelled_when_the_heartbeat_finds_the_lease_gone(
    stage: Stage,
) -> None:
    app = stage.app()

    @app.singleton
    async def waiting(leader: Leader) -> None:
        stage.say("waits", leader.fencing_token)
        try:
            await asyncio.Event().wait()
        finally:
            stage.say("ended", leader.held)

    async with app:
        worker = await stage.start(app)
        await stage.heard("waits")
        await stage.depose(app, "waiting")
        await stage.heard("ended", False)
        await worker.stop()


async def test_a_redis_that_forgot_everything_is_given_a_new_epoch_and_a_new_state(stage: Stage) -> None:
    app = stage.app()
    counting(stage, app)
    async with app:
        worker = await stage.start(app)
        await stage.heard("ran", "counter", worker.id, times=2)
        before = max(words[4] for words in stage.said if words[0] == "ran")
        keys = [app.keys.lease("counter"), app.keys.lease_state("counter")]
        for key in keys:
            await app.client().connection.command("DEL", key)
        await wait_until(
            lambda: any(words[4] > before for words in stage.said if words[0] == "ran"),
            description="a run under a new epoch",
        )
        assert next(words[3] for words in stage.said if words[0] == "ran" and words[4] > before) == 1
        await worker.stop()


class TestReleases:
    """The state from one release to the next."""

    async def moved(
        self, stage: Stage, text: str, state: type[BaseModel], options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, str]]:
        """Host a singleton that finds this text as its state; return what it read, and what is kept then."""
        app = stage.app()

        @app.singleton(state=state, **options or {})
        async def evolving(leader: Leader[Any]) -> None:
            stage.say("read", leader.state.model_copy())

        async with app:
            connection, key = app.client().connection, app.keys.lease_state("evolving")
            await connection.command("HSET", key, "state", text)
            worker = await stage.start(app)
            await stage.heard("read")
            await worker.stop()
            flat = [value.decode() for value in await connection.command("HGETALL", key)]
        return stage.said[0][1], dict(zip(flat[::2], flat[1::2], strict=True))

    async def test_new_fields_have_their_defaults_and_dropped_ones_are_left_out(self, stage: Stage) -> None:
        read, kept = await self.moved(stage, '{"n":3,"dropped":{"a":1}}', Count)
        assert read == Count(n=3, by=[])
        assert "aside" not in kept

    async def test_a_model_that_forbids_extra_fields_reads_it_as_well(self, stage: Stage) -> None:
        class Strict(BaseModel):
            model_config = ConfigDict(extra="forbid")
            n: int = 0

        read, kept = await self.moved(stage, '{"n":3,"dropped":{"a":1}}', Strict)
        assert read == Strict(n=3)
        assert "aside" not in kept

    @pytest.mark.parametrize("text", ['{"n":"many"}', "{", ""])
    async def test_one_that_cannot_be_read_is_kept_aside_reported_and_replaced_by_the_first_one(
        self, stage: Stage, text: str, logged: list[MutableMapping[str, Any]]
    ) -> None:
        read, kept = await self.moved(stage, text, Count, {"initial": lambda: Count(n=7)})
        assert read == Count(n=7)
        assert kept["aside"] == text
        assert "state" not in kept
        [line] = [line for line in logged if "cannot be read" in line["event"]]
        assert (line["log_level"], line["singleton"]) == ("error", "evolving")


async def test_one_that_raises_runs_again_from_what_was_saved_and_is_counted(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, logged: list[MutableMapping[str, Any]]
) -> None:
    monkeypatch.setattr(tenure, "FIRST_PAUSE", 0.02)
    app = stage.app()

    @app.singleton(state=Count, interval=0.05)
    async def shaky(leader: Leader[Count]) -> None:
        stage.say("runs", leader.state.n)
        if stage.count("runs") == 1:
            leader.state.n = 1
            await leader.save()
        if stage.count("runs") <= 3:
            leader.state.n = 99  # which is not saved
            raise ValueError(f"failure {stage.count('runs')}")

    async with app:
        worker = await stage.start(app)
        await stage.heard("runs", times=5)
        await wait_until_async_runs(stage, app)
        found = await stage.standing(app, "shaky")
        assert (found.failures, found.last_error) == (3, "ValueError: failure 3")
        assert found.runs >= 1
        assert found.healthy
        await worker.stop()
    assert [words[1] for words in stage.said[:4]] == [0, 1, 1, 1]
    lines = [line for line in logged if line["event"] == "a singleton failed; it runs again after a pause"]
    assert [str(line["exc_info"]) for line in lines] == [f"failure {n}" for n in (1, 2, 3)]


async def wait_until_async_runs(stage: Stage, app: Capelin[Any]) -> None:
    async def counted() -> bool:
        return (await stage.standing(app, "shaky")).runs >= 1

    await wait_until(counted, description="a run that returned to be counted")


async def test_what_operators_see_of_one(stage: Stage) -> None:
    app = stage.app(name="shop")
    counting(stage, app, interval=30)
    async with app:
        worker = await stage.start(app)
        await stage.heard("ran", "counter", worker.id)

        async def counted() -> bool:
            return (await stage.standing(app, "counter")).runs == 1

        await wait_until(counted, description="the run to be counted")
        found = await stage.standing(app, "counter")
        assert (found.app, found.interval, found.holder, found.healthy) == ("shop", 30, worker.id, True)
        assert found.beat is not None
        assert found.saved is not None
        assert found.registered is not None
        assert found.since is not None
        assert found.registered <= found.since <= found.saved <= found.beat
        assert (found.due_by - found.beat).total_seconds() == 60
        assert 0 < (found.lease_seconds or 0) <= 1
        assert (found.failures, found.last_error, found.set_aside) == (0, None, False)
        await worker.stop()
        after = await stage.standing(app, "counter")
        assert (after.holder, after.lease_seconds, after.runs) == (None, None, 1)


async def test_silence_for_two_intervals_is_unhealthy_also_of_one_that_never_ran(stage: Stage) -> None:
    app = stage.app()

    @app.singleton("silent", interval=0.05)
    async def silent(leader: Leader) -> None:
        await leader.heartbeat()
        stage.say("beat")
        await asyncio.Event().wait()

    @app.singleton("never", interval=0.05)
    async def never(leader: Leader) -> None:
        stage.say("began", leader.name)
        await asyncio.Event().wait()

    @app.singleton("patient", interval=60)
    async def patient(leader: Leader) -> None:
        stage.say("began", leader.name)
        await asyncio.Event().wait()

    async with app:
        worker = await stage.start(app)
        await stage.heard("beat")
        await stage.heard("began", "never")

        async def both_silent() -> bool:
            found = [await stage.standing(app, name) for name in ("silent", "never")]
            return not any(one.healthy for one in found)

        await wait_until(both_silent, description="both to be found silent")
        silent_one, never_one = [await stage.standing(app, name) for name in ("silent", "never")]
        assert silent_one.beat is not None
        assert never_one.beat is None
        assert (await stage.standing(app, "patient")).healthy
        await worker.stop()
