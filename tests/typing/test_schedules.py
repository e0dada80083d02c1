"""What the type checkers infer of schedules, and what they flag; see ``test_inference``."""
# pyright: strict, reportUnnecessaryTypeIgnoreComment=error

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import assert_type

import pytest

from capelin.app import Capelin
from capelin.errors import CapelinError
from capelin.schedule_book import LeaderInfo, ScheduleBook, ScheduleInfo, Triggered
from capelin.tasks import AsyncTask, SyncTask, Tasks

app = Capelin("memory://")
tasks = Tasks(prefix="more.")


@app.cron("0 9 * * *", timezone="Europe/Berlin", skip_if_older_than=timedelta(minutes=5), args=("eu",))
async def digest(region: str, /) -> int:
    return len(region)


@tasks.every(60, catch_up="all", overlap="skip", queue="chores")
def tidy() -> str:
    return ""


@app.every(timedelta(hours=1), name="again", args=("us",))
@app.cron("@daily", name="other", kwargs={"region": "eu"})
@app.task
async def stacked(region: str) -> bool:
    return bool(region)


assert_type(digest, AsyncTask[[str], int])
assert_type(tidy, SyncTask[[], str])


async def inferred() -> None:
    assert_type(await digest("us"), int)
    assert_type(tidy(), str)
    assert_type(await stacked("eu"), bool)
    assert_type(await app.schedule("x", "0 9 * * *", digest.job("eu"), timezone="UTC"), ScheduleInfo)
    assert_type(await app.schedule("y", 60, digest.job("us"), jitter=3), ScheduleInfo)
    assert_type(app.schedules, ScheduleBook)
    assert_type(await app.schedules.ls(), list[ScheduleInfo])
    assert_type(await app.schedules.next("x"), list[datetime])
    assert_type(await app.schedules.trigger("x"), Triggered)
    assert_type(await app.schedules.leader(), LeaderInfo)
    assert_type((await app.schedules.info("x")).next, datetime | None)

    await app.schedule("z", 60, digest)  # type: ignore[arg-type]
    await stacked(5)  # type: ignore[arg-type]


FLAGGED: list[Callable[[], object]] = [
    lambda: app.cron("0 9 * * *", catch_up="some"),  # type: ignore[arg-type]
    lambda: app.cron("0 9 * * *", overlap="never"),  # type: ignore[arg-type]
    lambda: app.cron(60),  # type: ignore[arg-type]
    lambda: app.every(60, jitter="a bit"),  # type: ignore[arg-type]
    lambda: app.every(60, start="now"),  # type: ignore[arg-type]
    lambda: app.every(60, nonsense=1),  # type: ignore[call-arg]
]


@pytest.mark.parametrize("call", FLAGGED)
def test_what_the_checkers_flag_is_refused_when_it_runs(call: Callable[[], object]) -> None:
    with pytest.raises((CapelinError, TypeError)):
        _decorate(call)


def _decorate(call: Callable[[], object]) -> None:
    decorate = call()
    if callable(decorate):  # a word that nobody knows is refused with the function
        decorate(lambda: None)


def test_what_the_checkers_infer_is_what_is_made() -> None:
    assert [type(task) for task in (digest, stacked)] == [AsyncTask] * 2
    assert type(tidy) is SyncTask
