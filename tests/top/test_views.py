"""What the lists say, and that they fit 80 columns."""

import doctest
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from capelin.admin import (
    DeadJob,
    JobStory,
    Kinship,
    Overview,
    QueueStanding,
    Relative,
    ShardStanding,
    WorkerStanding,
    WorkerState,
)
from capelin.errors import Unreachable
from capelin.records import FailedStart, JobError, JobInfo, JobStatus
from capelin.schedule_book import ScheduleInfo, ScheduleStatus
from capelin.top import story as stories
from capelin.top import views, words
from capelin.top.grid import Grid, Heading, Mood, Row
from capelin.top.picture import Picture
from capelin.top.rates import History
from capelin.top.views import View

NOW = datetime(2027, 1, 1, 12, 0, tzinfo=UTC)
MS = round(NOW.timestamp() * 1000)
LONG = "a-name-that-is-longer-than-any-column-of-a-narrow-screen-could-be.for-the-whole-world"


def queue(name: str = "emails", **more: Any) -> QueueStanding:
    return QueueStanding(queue=name, shards=8, workers=("w1",), **more)


def shard(**more: Any) -> ShardStanding:
    fields: dict[str, Any] = {
        "queue": "emails",
        "shard": 0,
        "owner": "w1",
        "lease_seconds": 5.0,
        "epoch": 1,
        "waiting": 0,
        "running": {},
        "scheduled": 0,
        "followers": 0,
        "next_due": None,
        "parked": {},
        "dead": 0,
        "finished": 0,
        "paused": None,
    }
    return ShardStanding(**{**fields, **more})


def rows(grid: Grid) -> list[dict[str, str]]:
    """The rows of a grid, by heading."""
    names = [heading.name for heading in grid.headings]
    return [dict(zip(names, row.cells, strict=True)) for row in grid.rows]


def queues(*standings: QueueStanding) -> Grid:
    return views.queues(Overview(now=MS, queues=standings), History())


def test_a_queue_shows_depth_by_priority_age_and_what_is_dead() -> None:
    waiting = {"returned": 1, "unparked": 1, "critical": 2, "high": 3, "normal": 40_000, "low": 0}
    [row] = rows(
        queues(
            queue(
                waiting=40_007, waiting_by_priority=waiting, oldest_seconds=75.0, running=12, dead=1_500_000
            )
        )
    )
    assert row == {
        " ": " ",
        "QUEUE": "emails",
        "BACK": "2",
        "CRIT": "2",
        "HIGH": "3",
        "NORM": "40k",
        "LOW": "·",
        "OLDEST": "1m",
        "IN/s": "-",
        "OUT/s": "-",
        "FAIL/s": "-",
        "RUN": "12",
        "DEAD": "1.5M",
        "SCHED": "·",
        "PARKED": "·",
        "WORKERS": "1",
    }


@pytest.mark.parametrize(
    ("standing", "mark", "mood"),
    [
        (queue(), " ", Mood.QUIET),
        (queue(running=1), " ", Mood.PLAIN),
        (queue(paused_shards=8), "‖", Mood.ODD),
        (queue(paused_shards=1), "‖", Mood.ODD),
        (queue(waiting=1, oldest_seconds=301.0), "!", Mood.BAD),
        (QueueStanding(queue="emails", shards=8, waiting=1), "!", Mood.BAD),
        (QueueStanding(queue="emails", shards=8), "!", Mood.ODD),
    ],
)
def test_what_is_wrong_with_a_queue_strikes_the_eye(standing: QueueStanding, mark: str, mood: Mood) -> None:
    [row] = queues(standing).rows
    assert (row.cells[0], row.mood) == (mark, mood)


def test_a_worker_shows_load_lag_and_memory_and_one_that_is_gone_is_bad() -> None:
    alive = WorkerStanding(
        id="w1",
        alive=True,
        state=WorkerState.ALIVE,
        app="shop:app",
        slots=40,
        running={"emails": 20, "reports": 10},
        shards=("emails:0", "emails:1"),
        leads=True,
        loop_lag=0.012,
        memory=64 * 1024**2,
        up_seconds=7200.0,
    )
    late = WorkerStanding(id="w2", alive=True, state=WorkerState.ALIVE, slots=1, loop_lag=2.5)
    gone = WorkerStanding(id="w3", alive=False, state=WorkerState.GONE, running={"emails": 1})
    grid = views.workers(Overview(now=MS, workers=(alive, late, gone)))
    first, second, third = rows(grid)
    assert first | {"QUEUES": ""} == {
        " ": "*",
        "WORKER": "w1",
        "JOBS": "30/40",
        "LOAD": "75%",
        "SHARDS": "2",
        "LAG": "12ms",
        "MEM": "64M",
        "UP": "2h",
        "STATE": "leads",
        "QUEUES": "",
    }
    assert (second["LAG"], second["MEM"], second["STATE"]) == ("2.5s", "-", "idle")
    assert (third["JOBS"], third["LOAD"], third["STATE"]) == ("1", "-", "gone")
    assert [row.mood for row in grid.rows] == [Mood.GOOD, Mood.BAD, Mood.BAD]


def test_a_shard_without_owner_is_bad_as_soon_as_jobs_wait_in_it() -> None:
    grid = views.shards(
        Overview(now=MS, shards=(shard(), shard(owner=None), shard(owner=None, waiting=1), shard(paused=NOW)))
    )
    assert [row["OWNER"] for row in rows(grid)] == ["w1", "nobody", "nobody", "w1"]
    assert [row.mood for row in grid.rows] == [Mood.QUIET, Mood.QUIET, Mood.BAD, Mood.ODD]


def test_a_schedule_shows_its_next_tick_and_one_that_is_silent_is_bad() -> None:
    fine = ScheduleInfo(
        name="digest",
        app="a",
        source="code",
        status=ScheduleStatus.ACTIVE,
        when="0 9 * * *",
        task="send",
        next=NOW + timedelta(minutes=90),
        last_run=NOW - timedelta(seconds=30),
        last_outcome="fired",
    )
    silent = ScheduleInfo(name="s", app="a", source="code", status=ScheduleStatus.ACTIVE, healthy=False)
    paused = ScheduleInfo(name="p", app="a", source="code", status=ScheduleStatus.PAUSED, paused=NOW)
    grid = views.schedules([fine, silent, paused], NOW)
    first, second, third = rows(grid)
    assert (first["NEXT"], first["LAST RUN"], first["TICK"], first["STATE"]) == (
        "+1h",
        "30s",
        "fired",
        "active",
    )
    assert (second["LAST RUN"], second["STATE"]) == ("never", "silent")
    assert (third[" "], third["STATE"]) == ("‖", "paused")
    assert [row.mood for row in grid.rows] == [Mood.PLAIN, Mood.BAD, Mood.ODD]


def everything() -> dict[View, Grid]:
    """Each list, with names that are far too long, and figures that are far too large."""
    error = JobError(type="ValueError", message=f"{LONG} [bold]\n{LONG}")
    many = 10**12
    overview = Overview(
        now=MS,
        queues=(
            queue(LONG, waiting=many, waiting_by_priority={"normal": many, "low": many}, oldest_seconds=1e9),
        ),
        shards=(shard(queue=LONG, owner=LONG, waiting=many, dead=many),),
        workers=(
            WorkerStanding(
                id=LONG,
                alive=True,
                state=WorkerState.ALIVE,
                slots=9999,
                running={LONG: 9999},
                queues=(LONG,),
            ),
        ),
    )
    schedule = ScheduleInfo(
        name=LONG, app=LONG, source="code", status=ScheduleStatus.UNREADABLE, when=LONG, task=LONG
    )
    dead = DeadJob(id=f"{LONG}.1.x", entry="1-0", task=LONG, reason=LONG, died=NOW, error=error)
    job = JobInfo(id=f"{LONG}.1.x", task=LONG, queue=LONG, shard=1, status=JobStatus.FAILED, error=error)
    return {
        View.QUEUES: views.queues(overview, History()),
        View.WORKERS: views.workers(overview),
        View.SHARDS: views.shards(overview),
        View.SCHEDULES: views.schedules([schedule], NOW),
        View.DEAD: views.dead([dead], many, NOW),
        View.JOBS: views.jobs([job], NOW),
    }


@pytest.mark.parametrize("view", list(View))
@pytest.mark.parametrize("width", [77, 97, 117, 197])
def test_every_list_fits_its_screen(view: View, width: int) -> None:
    drawn = everything()[view].drawn(width)
    for line in (drawn.names, *drawn.lines):
        assert sum(len(cell) + 1 for cell in line) <= width
        assert [len(cell) for cell in line] == [len(name) for name in drawn.names]


def test_a_wide_screen_shows_more() -> None:
    grid = everything()[View.QUEUES]
    assert "SCHED" not in {name.strip() for name in grid.drawn(77).names}
    assert "SCHED" in {name.strip() for name in grid.drawn(117).names}


def test_what_a_screen_has_beyond_the_need_goes_to_what_grows() -> None:
    grid = Grid(
        headings=(Heading(name="A", width=4, grows=1), Heading(name="B", width=4, right=True)),
        rows=(Row(key="k", cells=("long text", "7")),),
    )
    assert grid.drawn(10).lines == (("lon…", "   7"),)
    assert grid.drawn(20).lines == (("long text     ", "   7"),)


def test_the_story_of_a_job_has_its_times_its_waits_and_how_each_start_failed() -> None:
    error = JobError(type="ValueError", message="no", traceback="Traceback\n  line 7\nValueError: no")
    job = JobInfo(
        id="emails.3.u",
        task="send",
        queue="emails",
        shard=3,
        status=JobStatus.FAILED,
        args=("a@b.c",),
        kwargs={"subject": "hi"},
        enqueued=NOW - timedelta(seconds=60),
        started=NOW - timedelta(seconds=48),
        finished=NOW - timedelta(seconds=45),
        token=2,
        attempt=2,
        worker="w1",
        error=error,
        parent_id="emails.0.p",
        failures=(
            FailedStart(token=1, attempt=1, crashes=0, worker="w0", started=None, ended=NOW, error=error),
            FailedStart(token=2, attempt=2, crashes=0, worker="w1", started=None, ended=NOW, error=None),
        ),
    )
    relative = Relative(kinship=Kinship.PARENT, id="emails.0.p", status=JobStatus.COMPLETED, task="import")
    told = stories.story(JobStory(job=job, now=MS, relatives=(relative,), then="archive"))
    facts = {line[:12].strip(): line[12:] for line in told if not line.startswith((" ", "start "))}
    assert facts["arguments"] == '"a@b.c", subject="hi"'
    assert (facts["waited"], facts["ran for"]) == ("12 s", "3.0 s")
    assert "parent: emails.0.p (import, completed)" in told
    assert "then: archive, after a success" in told
    assert facts["enqueued"].endswith("(1 m ago)")
    starts = [line for line in told if line.startswith("start ") and " on w" in line]
    assert len(starts) == 2
    assert "  line 7" in "\n".join(told)


def test_an_outage_leaves_the_last_look_and_says_how_old_it_is() -> None:
    now = [100.0]
    picture = Picture("redis://r", every=2.0, clock=lambda: now[0])
    assert picture.totals() == "looking …"
    lost = Unreachable(url="redis://r", cause="refused")
    picture.failed(lost)
    assert picture.title().startswith("never seen: Redis at redis://r does not answer")
    picture.saw(Overview(now=MS, queues=(queue(waiting=3, dead=2),)))
    assert not picture.in_trouble
    assert picture.totals() == "1 queue: 3 wait, 0 run, 2 dead | 0 workers | leader: none"
    now[0] += 75
    picture.failed(lost)
    assert picture.in_trouble
    assert picture.title().startswith("seen 1m ago: Redis at redis://r does not answer")
    assert picture.grid(View.QUEUES).rows[0].key == "emails"


def test_figures_are_written_as_their_examples_say() -> None:
    found = doctest.testmod(words)
    assert (found.failed, found.attempted > 5) == (0, True)
