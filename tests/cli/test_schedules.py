"""`capelin schedules`: what runs when, and every verb, with a Redis URL and no app's code."""

from collections.abc import Iterator
from typing import Any

import pytest

from capelin.keys import Keys
from capelin.lua.scheduling import NewSchedule, ScheduleName, schedule_drop, schedule_put
from capelin.requests import JobRequest
from capelin.schedules import Schedule
from capelin.timing import Every
from tests.cli.conftest import APP, COLUMNS, Do, Run, one_line
from tests.support.processes import Processes
from tests.support.sentinel import Watched
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until_sync

KEYS = Keys()
UNSERVED = "No live worker serves queue 'default' and knows task 'greet': its jobs wait for"


@pytest.fixture
def declared(shop: Any, do: Do) -> str:
    """A schedule that the code of an app declares, as its leader has put it in place."""
    made = Schedule(name="tidy", timing=Every(60_000), request=JobRequest(task="tidy", queue="default"))

    async def work() -> None:
        row = NewSchedule(made.name, made.timing_text, made.to_json())
        put = schedule_put(KEYS, owner="", epoch="", app="shop:app", source="code", schedules=[row])
        await shop.app.client().connection.run(put)

    do(work)
    return made.name


def retire(shop: Any, do: Do, name: str) -> None:
    drop = schedule_drop(KEYS, owner="", epoch="", retire=True, schedules=[ScheduleName(name)])
    do(lambda: shop.app.client().connection.run(drop))


def test_one_is_added_listed_and_shown(run: Run) -> None:
    words = ("add", "digest.eu", "0 9 * * mon-fri", "greet", '["Ada"]', "--timezone", "Europe/Berlin")
    added = run(
        "schedules", *words, "--catch-up", "all", "--overlap", "queue", "--skip-if-older-than", "none"
    )
    assert added.status == 0
    assert added.out.startswith(
        "schedule digest.eu is added: At 09:00 on Monday through Friday (Europe/Berlin)"
    )
    assert UNSERVED in added.err
    listed = run("schedules").row("digest.eu")
    assert listed[1] == "0 9 * * mon-fri Europe/Berlin"
    assert listed[2].startswith("in ")
    assert listed[3:] == ["active", "cli"]
    shown = run("schedules", "show", "digest.eu")
    for line in (
        "status        active",
        "meaning       At 09:00 on Monday through Friday (Europe/Berlin)",
        "app           cli, added at run time",
        'arguments     "Ada"',
        "skipped       0",
        "catch up      all: each missed tick that is not stale",
        "stale         never",
        "overlap       queue: a second run waits until the first has ended",
    ):
        assert " ".join(line.split()) in " ".join(shown.out.split()), shown.out
    [found] = run("schedules", "--json").json
    assert found == run("schedules", "show", "digest.eu", "--json").json
    assert (found["status"], found["timezone"], found["args"]) == ("active", "Europe/Berlin", ["Ada"])
    assert all(len(line) <= COLUMNS for line in shown.lines)


def test_added_again_it_stays_and_with_other_words_it_changes(run: Run) -> None:
    words = ("schedules", "add", "one", "every:5m", "greet", "--json")
    assert run(*words).json["change"] == "added"
    assert run(*words).json["change"] == "same"
    assert "is there already, as it is" in run(*words[:-1]).out
    changed = run(
        *words, "--queue", "letters", "--priority", "high", "--jitter", "10s", "--timeout", "1m"
    ).json
    assert changed["change"] == "changed"
    found = run("schedules", "show", "one", "--json").json
    assert (found["queue"], found["jitter"], found["when"]) == ("letters", 10.0, "every 5m")


def test_a_worker_fires_what_was_added_by_name_alone(run: Run, processes: Processes, redis_url: str) -> None:
    worker = processes.worker(APP, redis_url=redis_url)
    worker.wait_for_line_sync("leads the scheduler")
    wait_until_sync(lambda: run("workers", "--json").json, description="the worker to be a member")
    added = run("schedules", "add", "hello", "every:500ms", "greet", '{"name": "Ada"}')
    assert added.err == "", "it is served"

    def completed() -> Any:
        return run("jobs", "--status", "completed", "--json").json["jobs"]

    wait_until_sync(lambda: run("queues", "--json").json, description="a queue")
    wait_until_sync(completed, description="a run")
    first = completed()[0]
    assert (first["schedule"], first["result"]) == ("hello", "Hello, Ada!")
    wait_until_sync(
        lambda: run("schedules", "show", "hello", "--json").json["last_run"], description="its sign of life"
    )
    row = run("schedules").row("hello")
    assert row[3].startswith("fired")
    assert row[5:] == ["active", "cli"]
    assert (
        run("schedules", "rm", "hello", "--yes").out
        == "schedule hello is removed; jobs of it that wait still run\n"
    )
    assert run("schedules", "--json").json == []


def test_the_next_ticks_are_told_by_both_clocks_also_when_they_are_set(run: Run) -> None:
    words = ("--timezone", "Europe/Berlin", "--start", "2027-03-27T00:00Z")
    run("schedules", "add", "nightly", "30 2 * * *", "greet", *words)
    told = run("schedules", "next", "nightly", "-n", "2")
    assert told.lines[0].split() == ["UTC", "Europe/Berlin"]
    assert "Sat 2027-03-27 01:30:00  Sat 2027-03-27 02:30:00 +0100" in told.out
    assert "Sun 2027-03-28 01:00:00  Sun 2027-03-28 03:00:00 +0200" in told.out
    assert run("schedules", "next", "nightly", "--json", "-n", "1").json == [
        {"tick": "2027-03-27T01:30:00Z", "local": "2027-03-27T02:30:00+01:00"}
    ]
    assert len(run("schedules", "next", "nightly", "--json").json) == 5


def test_it_is_paused_and_resumed_and_says_when_nothing_changed(run: Run) -> None:
    run("schedules", "add", "one", "every:60", "greet")
    assert run("schedules", "pause", "one").out == "schedule one is paused\n"
    assert run("schedules", "pause", "one").out == "schedule one is paused, as it was before\n"
    assert run("schedules").row("one")[-2] == "paused"
    assert "status paused, since" in " ".join(run("schedules", "show", "one").out.split())
    ahead = run("schedules", "next", "one", "-n", "1")
    assert "UTC" in ahead.out
    assert "none of its ticks is fired until capelin schedules resume one" in " ".join(ahead.err.split())
    assert run("schedules", "resume", "one").out.startswith("schedule one goes on; its next tick is in ")
    assert run("schedules", "resume", "one").out.startswith("schedule one was not paused; its next tick")
    assert run("schedules", "pause", "one", "--json").json == {
        "schedule": "one",
        "state": "paused",
        "changed": True,
    }
    assert run("schedules", "resume", "one", "--json").json["state"] == "active"


def test_it_is_triggered_and_says_when_that_run_was_there_already(run: Run) -> None:
    run("schedules", "add", "one", "every:1d", "greet", '["Ada"]', "--overlap", "skip")
    first = run("schedules", "trigger", "one")
    job = run("jobs", "show", first.out.strip(), "--json").json
    assert (job["schedule"], job["status"], job["args"]) == ("one", "queued", ["Ada"])
    assert first.err == ""
    again = run("schedules", "trigger", "one")
    assert again.out == first.out
    assert "That run was there already" in again.err
    assert run("schedules", "trigger", "one", "--json").json == {"id": first.out.strip(), "duplicate": True}


def test_removing_asks_first(run: Run) -> None:
    run("schedules", "add", "one", "every:60", "greet")
    asked = run("schedules", "rm", "one")
    assert asked.status == 2
    assert "remove schedule one for good (every 1m, greet, app cli): there is no terminal" in asked.err
    assert len(run("schedules", "--json").json) == 1
    assert run("schedules", "rm", "one", "--yes", "--json").json == {"schedule": "one", "state": "removed"}
    assert run("schedules", "--json").json == []


def test_what_code_declares_is_neither_removed_nor_changed_here(run: Run, declared: str) -> None:
    line = one_line(run("schedules", "rm", declared, "--yes"))
    assert "the code of app 'shop:app' declares it, so it would come back" in line
    assert line.endswith("capelin schedules pause tidy")
    assert "it belongs to app 'shop:app'" in one_line(run("schedules", "add", declared, "every:60", "greet"))
    own = run("schedules", "add", declared, "every:60", "greet", "--app", "shop:app")
    assert "code declares it; change it there" in one_line(own)
    shown = " ".join(run("schedules", "show", declared).out.split())
    assert "app shop:app, declared in its code" in shown


def test_what_has_left_its_code_is_told_and_can_be_removed(
    run: Run, shop: Any, do: Do, declared: str
) -> None:
    retire(shop, do, declared)
    assert run("schedules").row(declared)[-2:] == ["retired", "shop:app"]
    shown = " ".join(run("schedules", "show", declared).out.split())
    assert "retired, since" in shown
    assert "it left its app's code" in shown
    assert "It has left its app's code" in run("schedules", "next", declared).err
    assert "It has left its app's code" in run("schedules", "resume", declared).err
    assert run("schedules", "rm", declared, "--yes").status == 0


def test_one_whose_runs_fail_to_come_is_late(run: Run) -> None:
    run("schedules", "add", "one", "every:100ms", "greet")
    wait_until_sync(
        lambda: run("schedules").row("one")[-2] == "late!", description="its second tick without a run"
    )
    shown = " ".join(run("schedules", "show", "one").out.split())
    assert "late! A run was to complete" in shown
    wait_until_sync(
        lambda: run("schedules").row("one")[2].endswith("late"), description="its tick to be called late"
    )


def test_one_that_is_over_says_so(run: Run) -> None:
    added = run("schedules", "add", "one", "every:60", "greet", "--end", "2020-01-01T00:00Z")
    assert "It has no tick any more: its end was 20" in added.err
    assert run("schedules").row("one")[-2:] == ["over", "cli"]
    ahead = run("schedules", "next", "one")
    assert (ahead.status, ahead.out) == (0, "")
    assert "It has no tick any more" in ahead.err
    assert run("schedules", "next", "one", "--json").json == []


def test_one_that_a_newer_release_wrote_is_shown_as_such(run: Run, redis_server: RedisServer) -> None:
    redis_server.command("HSET", KEYS.schedules_items, "new", '{"app":"shop","source":"api","def":"{}"}')
    assert run("schedules").row("new")[-2:] == ["unreadable", "shop"]
    assert "A newer release wrote it" in " ".join(run("schedules", "show", "new").out.split())
    assert "a newer release wrote it" in one_line(run("schedules", "trigger", "new"))
    assert "A newer release wrote it" in run("schedules", "next", "new").err
    assert run("schedules", "rm", "new", "--yes").status == 0


@pytest.fixture(params=["cluster", "sentinel"])
def elsewhere(request: pytest.FixtureRequest, redis_server: RedisServer) -> Iterator[str]:
    """URL of a Cluster, and of a Sentinel; `redis_server` skips where there is no Redis at all."""
    del redis_server
    if request.param == "cluster":
        yield str(request.getfixturevalue("cluster_url"))
        return
    with Watched() as watched:
        yield watched.url


def test_all_of_it_works_on_a_cluster_and_through_sentinel(run: Run, elsewhere: str) -> None:
    def asked(*words: str) -> Any:
        return run("schedules", *words, "--redis", elsewhere, "--json").json

    assert asked("add", "one", "every:60", "greet", '["Ada"]')["change"] == "added"
    assert [one["name"] for one in asked("ls")] == ["one"]
    assert asked("show", "one")["next"] == asked("next", "one", "-n", "1")[0]["tick"]
    assert asked("pause", "one")["changed"]
    assert asked("resume", "one")["changed"]
    assert not asked("trigger", "one")["duplicate"]
    assert asked("rm", "one", "--yes")["state"] == "removed"
    assert run("leader", "--redis", elsewhere, "--json").json["worker"] is None


def test_the_list_fits_80_columns(run: Run) -> None:
    run(
        "schedules",
        "add",
        "remind.customer-4711",
        "*/15 8-18 * * mon-fri",
        "greet",
        "--timezone",
        "Asia/Tokyo",
    )
    run("schedules", "add", "tidy", "every:1h", "greet", "--app", "billing.background.tasks:application")
    assert all(len(line) <= COLUMNS for line in run("schedules").lines)


@pytest.mark.parametrize("verb", ["show", "next", "pause", "resume", "trigger", "rm"])
def test_a_name_that_is_not_there_names_the_nearest(run: Run, verb: str) -> None:
    assert one_line(run("schedules", verb, "digest")) == "no schedule named 'digest'; there is none at all"
    run("schedules", "add", "digest.eu", "every:60", "greet")
    assert "did you mean 'digest.eu'?" in one_line(run("schedules", verb, "digest"))
    assert "there are: digest.eu" in one_line(run("schedules", verb, "zzz"))


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("one", "61 * * * *", "greet"), "the minute field '61'"),
        (("one", "every:", "greet"), "expected a time span, as 90, 90s, 5m, 1h or 7d"),
        (("one", "every:soon", "greet"), "expected a time span"),
        (("one", "every:1ms", "greet"), "must be at least 0.1 s"),
        (("one", "* * * * *", "greet", "--timezone", "Europe/Berln"), "did you mean 'Europe/Berlin'?"),
        (("one", "every:60", "greet", "--timezone", "UTC"), "only a cron expression has one"),
        (("one", "every:60", "greet", "--catch-up", "some"), "expected one of 'latest', 'all', 'none'"),
        (("one", "every:60", "greet", "--overlap", "no"), "expected one of 'allow', 'skip', 'queue'"),
        (("one", "every:60", "greet", "--skip-if-older-than", "old"), "--skip-if-older-than='old'"),
        (("one", "every:60", "greet", "--jitter", "a bit"), "--jitter='a bit'"),
        (("one", "every:60", "greet", "--start", "tomorrow"), "expected a moment with its zone"),
        (("one", "every:60", "greet", "--end", "2027-01-01"), "expected a moment with its zone"),
        (("one", "every:60", "greet", "--priority", "urgent"), "expected one of 'critical'"),
        (("one", "every:60", "greet", "--queue", "a b"), "'a b'"),
        (("o ne", "every:60", "greet"), "schedule name 'o ne' is not allowed"),
        (("one", "every:60", "gr eet"), "task name 'gr eet' is not allowed"),
        (("one", "every:60", "greet", "{a: 1}"), "is no JSON"),
        (("one", "every:60", "greet", "3"), "arguments are a JSON object (by name) or list (by position)"),
        (("one", "every:60", "greet", "[NaN]"), "greet"),
        (("one", "every:60", "greet", "--app", "a b"), "app name 'a b' is not allowed"),
        (("one", "every:60"), "missing argument 'TASK'"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused_and_nothing_is_written(
    run: Run, words: tuple[str, ...], why: str
) -> None:
    assert why in one_line(run("schedules", "add", *words))
    assert run("schedules", "--json").json == []
