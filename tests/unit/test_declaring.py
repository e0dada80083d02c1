"""``cron`` and ``every``: what they make of a function or a task, and what they refuse at decoration."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from capelin._placing import placing_key
from capelin.app import Capelin
from capelin.errors import CapelinError, InvalidArguments, InvalidName, InvalidOption, InvalidTask
from capelin.keys import shard_of
from capelin.options import TaskOptions
from capelin.priority import Priority
from capelin.requests import OnDuplicate
from capelin.schedules import Schedule
from capelin.tasks import Tasks
from capelin.ticks import CatchUp, Overlap
from capelin.timing import Cron, Every

TICK = 1_795_445_738_000


@pytest.fixture
def app() -> Capelin[None]:
    return Capelin("memory://declaring", name="shop", defaults=TaskOptions(queue="chores"))


def only(app: Capelin[None]) -> Schedule:
    [schedule] = app.declared_schedules()
    return schedule


class TestDeclaring:
    """What is declared is a value that any process can read back."""

    def test_a_function_becomes_a_task_and_a_schedule_of_its_name(self, app: Capelin[None]) -> None:
        @app.cron("0 9 * * mon-fri", timezone="Europe/Berlin")
        async def digest() -> None:
            """Sends the digest."""

        assert app.tasks["digest"] is digest
        schedule = only(app)
        assert schedule.name == "digest"
        assert schedule.timing == Cron("0 9 * * mon-fri", "Europe/Berlin")
        assert (schedule.request.task, schedule.request.queue) == ("digest", "chores")
        assert (schedule.catch_up, schedule.overlap) == (CatchUp.LATEST, Overlap.ALLOW)
        assert schedule.stale_after == 300_000

    def test_options_of_the_task_and_of_the_ticks_stand_side_by_side(self, app: Capelin[None]) -> None:
        @app.every(
            timedelta(minutes=1),
            name="sweep",
            queue="brooms",
            priority="high",
            retention=60,
            skip_if_older_than=None,
            catch_up="all",
            overlap="queue",
            jitter=2.5,
            start=datetime(2026, 1, 1, tzinfo=UTC),
            end=datetime(2027, 1, 1, tzinfo=UTC),
        )
        def tidy() -> None: ...

        schedule = only(app)
        assert app.tasks["sweep"] is tidy
        assert schedule.timing == Every(60_000)
        assert (schedule.request.queue, schedule.request.priority) == ("brooms", Priority.HIGH)
        assert schedule.request.retention == 60
        assert (schedule.stale_after, schedule.catch_up, schedule.overlap) == (None, "all", "queue")
        assert (schedule.jitter, schedule.start) == (2500, 1_767_225_600_000)

    def test_a_task_may_have_several_schedules_each_with_its_arguments(self, app: Capelin[None]) -> None:
        @app.cron("0 9 * * *", name="report.eu", args=("eu",))
        @app.cron("0 9 * * *", name="report.us", timezone="America/New_York", kwargs={"region": "us"})
        @app.task
        async def report(region: str) -> None: ...

        found = {schedule.name: schedule.request.args for schedule in app.declared_schedules()}
        assert found == {"report.eu": '[["eu"],{}]', "report.us": '[[],{"region":"us"}]'}
        assert list(app.tasks) == ["report"]

    def test_a_group_brings_its_schedules_also_those_that_come_later(self, app: Capelin[None]) -> None:
        tasks = Tasks(prefix="billing.")

        @tasks.every(60)
        async def early() -> None: ...

        app.include(tasks)

        @tasks.every(60)
        async def late() -> None: ...

        @tasks.cron("@daily", name="nightly")
        @tasks.task
        async def close() -> None: ...

        names = {schedule.name for schedule in app.declared_schedules()}
        assert names == {"billing.early", "billing.late", "billing.nightly"}

    def test_a_schedule_is_read_back_as_it_was_written(self, app: Capelin[None]) -> None:
        @app.task
        async def alert(failed: Any) -> None: ...

        @app.cron("*/10 * * * * *", overlap="skip", on_failure=alert, jitter=1)
        async def work() -> None: ...

        schedule = only(app)
        assert schedule.described == {"alert": (alert.signature.digest, "normal")}
        assert Schedule.from_json(schedule.to_json()) == schedule


class TestTicks:
    """A tick's job is the same whoever makes it."""

    def test_the_id_is_made_of_schedule_and_tick(self, app: Capelin[None]) -> None:
        @app.every(0.5, name="a.b")
        async def half() -> None: ...

        schedule = only(app)
        assert schedule.uid_of(TICK) == schedule.uid_of(TICK)
        assert schedule.uid_of(TICK).startswith("a_db-20261123T145538Z")
        assert schedule.uid_of(TICK + 500).startswith("a_db-20261123T145538500Z")

    def test_names_that_look_alike_in_an_id_are_told_apart(self, app: Capelin[None]) -> None:
        for name in ("a.b", "a_b"):
            app.every(60, name=name)(_nothing())
        first, second = (schedule.uid_of(TICK) for schedule in app.declared_schedules())
        assert first != second

    def test_jitter_is_the_same_for_every_leader_and_within_its_bound(self, app: Capelin[None]) -> None:
        @app.every(60, jitter=10)
        async def spread() -> None: ...

        schedule = only(app)
        moments = [schedule.job_of(tick).at for tick in range(TICK, TICK + 60_000_000, 60_000)]
        late = [moment - TICK - 60_000 * n for n, moment in enumerate(moments) if moment is not None]
        assert len(late) == 1000
        assert min(late) >= 0
        assert max(late) <= 10_000
        assert max(late) - min(late) > 9_000, "it is spread over all of it"
        assert schedule.job_of(TICK) == schedule.job_of(TICK)

    def test_runs_spread_over_the_shards_and_a_tick_always_has_the_same(self, app: Capelin[None]) -> None:
        @app.every(60)
        async def spread() -> None: ...

        schedule = only(app)
        keys = [placing_key(schedule.job_of(TICK + 60_000 * n)) or "" for n in range(100)]
        assert {shard_of(key, 8) for key in keys} == set(range(8))
        assert placing_key(schedule.job_of(TICK)) == keys[0]

    def test_runs_that_may_not_overlap_share_a_dedupe_key(self, app: Capelin[None]) -> None:
        @app.every(60, overlap="skip")
        async def alone() -> None: ...

        @app.every(60, overlap="queue")
        async def queued() -> None: ...

        modes = {one.name: one.job_of(TICK).on_duplicate for one in app.declared_schedules()}
        assert modes == {"alone": OnDuplicate.KEEP, "queued": OnDuplicate.FOLLOW}
        assert all(one.job_of(TICK).dedupe_key for one in app.declared_schedules())


class TestRefusals:
    """What makes no sense is refused while the module loads, with what to do about it."""

    @pytest.mark.parametrize(
        ("options", "option"),
        [
            ({"catch_up": "some"}, "catch_up"),
            ({"overlap": "maybe"}, "overlap"),
            ({"jitter": -1}, "jitter"),
            ({"skip_if_older_than": "soon"}, "skip_if_older_than"),
            ({"skip_if_older_than": 0}, "skip_if_older_than"),
            ({"start": datetime(2026, 1, 1)}, "start"),  # noqa: DTZ001 -- naive on purpose
            ({"end": "tomorrow"}, "end"),
            (
                {"start": datetime(2027, 1, 1, tzinfo=UTC), "end": datetime(2026, 1, 1, tzinfo=UTC)},
                "end",
            ),
            ({"priority": "urgent"}, "priority"),
        ],
    )
    def test_an_option_that_makes_no_sense(
        self, app: Capelin[None], options: dict[str, Any], option: str
    ) -> None:
        with pytest.raises(InvalidOption) as caught:
            app.every(60, **options)(_nothing())
        assert caught.value.option == option
        assert not app.declared

    @pytest.mark.parametrize("when", ["61 * * * *", "* * *", "@reboot", "", "0 0 31 2 *"])
    def test_an_expression_that_cannot_be_read(self, app: Capelin[None], when: str) -> None:
        with pytest.raises(InvalidOption):
            app.cron(when)

    def test_a_timezone_that_does_not_exist(self, app: Capelin[None]) -> None:
        with pytest.raises(InvalidOption, match="Europe/Berlin"):
            app.cron("0 9 * * *", timezone="Europe/Berlln")

    def test_a_task_that_needs_arguments_and_gets_none(self, app: Capelin[None]) -> None:
        with pytest.raises(InvalidArguments, match="to"):

            @app.every(60)
            async def send(to: str) -> None: ...

        assert not app.declared

    def test_arguments_that_do_not_fit(self, app: Capelin[None]) -> None:
        with pytest.raises(InvalidArguments, match="number"):

            @app.every(60, args=("seven",))
            async def count(number: int) -> None: ...

    def test_task_options_for_a_task_that_is_made_already(self, app: Capelin[None]) -> None:
        @app.task
        async def ready() -> None: ...

        with pytest.raises(InvalidOption, match=r"@app\.task"):
            app.every(60, queue="other")(ready)

    def test_a_name_that_is_taken(self, app: Capelin[None]) -> None:
        @app.every(60)
        @app.task
        async def ready() -> None: ...

        with pytest.raises(InvalidOption, match="another name"):
            app.every(30)(ready)

    def test_a_name_that_keys_do_not_allow(self, app: Capelin[None]) -> None:
        with pytest.raises(InvalidName):
            app.every(60, name="no spaces")(_nothing())

    def test_what_is_no_function(self, app: Capelin[None]) -> None:
        with pytest.raises(InvalidTask):
            app.every(60)(3)  # type: ignore[call-overload]

    @pytest.mark.parametrize("option", ["delay", "dedupe_key"])
    async def test_call_options_that_a_schedule_decides_itself(self, app: Capelin[None], option: str) -> None:
        @app.task
        async def ready() -> None: ...

        value: Any = {"delay": 5, "dedupe_key": "k"}[option]
        request = ready.options(**{option: value}).job()
        with pytest.raises(InvalidOption) as caught:
            await app.schedule("x", "@daily", request)
        assert caught.value.option == option

    async def test_a_timezone_together_with_a_period(self, app: Capelin[None]) -> None:
        @app.task
        async def ready() -> None: ...

        with pytest.raises(InvalidOption, match="cron"):
            await app.schedule("x", 60, ready.job(), timezone="Europe/Berlin")

    async def test_something_else_than_a_request(self, app: Capelin[None]) -> None:
        with pytest.raises(CapelinError):
            await app.schedule("x", 60, "ready")  # type: ignore[arg-type]


def _nothing() -> Any:
    async def nothing() -> None: ...

    return nothing
