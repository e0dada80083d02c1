"""What the pages of docs/ and the README's singleton show works as shown; see `test_snippets`."""

import ast
import sqlite3
from datetime import timedelta
from types import SimpleNamespace

import pytest

from capelin import Capelin, lua
from capelin.connection import connect
from capelin.keys import Keys
from tests.docs.snippets import executed, shown
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until
from tests.support.workers import QUICK, RunningWorker


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, redis_server: RedisServer) -> RedisServer:
    """What a `Capelin()` without a URL finds."""
    monkeypatch.setenv("CAPELIN_REDIS_URL", redis_server.url)
    return redis_server


async def test_a_singleton(server: RedisServer, running_worker: RunningWorker) -> None:
    app = executed(shown("README.md", "class FeedState"))["app"]
    async with app:
        await running_worker(app, settings=QUICK)
        await wait_until(
            lambda: server.command("HGET", "capelin:{lease:feed}:state", "state") == '{"position":1}',
            description="the feed to be read on and saved",
        )


async def test_schedules_and_what_their_jobs_know(
    server: RedisServer, running_worker: RunningWorker, capsys: pytest.CaptureFixture[str]
) -> None:
    app = executed(shown("schedules.md", "for the day of"))["app"]
    printed = ""

    def told() -> bool:
        nonlocal printed
        printed += capsys.readouterr().out
        return "for the day of None\n" in printed  # a run that a person triggered is of no tick

    async with app:
        await running_worker(app, settings=QUICK)
        await wait_until(
            lambda: server.command("HLEN", "capelin:{schedules}:items") == 2,
            description="both schedules to be declared",
        )
        await app.schedules.trigger("digest")
        await wait_until(told, description="the digest of a trigger")


async def test_several_schedules_of_a_task_in_a_group() -> None:
    names = executed(shown("schedules.md", "daily.us"))
    app = Capelin()
    app.include(names["tasks"])
    declared = {one.name: one.request.args for one in app.declared_schedules()}
    assert declared == {"reports.daily.us": '[["us"],{}]', "reports.daily.eu": '[["eu"],{}]'}
    async with app.testing() as t:
        await names["daily"].enqueue("eu")
        assert await t.drain(raise_errors=True) == 1


async def test_a_schedule_that_comes_and_goes_at_run_time() -> None:
    names = executed(shown("schedules.md", "async def unsubscribed"))
    app: Capelin[None] = names["app"]
    async with app.testing():
        await names["subscribed"]("c7")
        assert [one.name for one in await app.schedules.ls()] == ["remind.c7"]
        await names["unsubscribed"]("c7")
        assert await app.schedules.ls() == []


async def test_health_names_what_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    names = executed(shown("schedules.md", "await app.health()"))
    app: Capelin[None] = names["app"]

    @app.task
    async def tidy() -> None: ...

    async with app.testing() as t:
        await app.schedule("tidy", timedelta(minutes=1), tidy.job())
        await names["watch"]()
        assert capsys.readouterr().out == ""
        t.advance(180)
        await names["watch"]()
        assert capsys.readouterr().out.startswith("schedule tidy: no run since None, due by 2")


@pytest.mark.usefixtures("server")
@pytest.mark.leaves_keys(reason="the job that was enqueued waits")
async def test_an_enqueue_that_no_replica_confirmed_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    names = executed(shown("guarantees.md", "NotReplicated"))
    async with names["app"]:
        await names["checkout"](5)
    assert " exists on 0 of 1 replicas\n" in capsys.readouterr().out


def test_a_fencing_token_in_a_foreign_system() -> None:
    names = executed(shown("singletons.md", "indexed up to"), shown("singletons.md", "sqlite3"))
    with sqlite3.connect(":memory:") as db:
        db.execute("CREATE TABLE feed (name, position, token)")
        db.execute("INSERT INTO feed VALUES ('main', 0, 0)")

        def publish(position: int, token: int) -> None:
            state = names["IndexState"](position=position)
            names["publish"](SimpleNamespace(state=state, fencing_token=token), db)

        publish(5, 7)
        publish(6, 7)
        with pytest.raises(RuntimeError, match="somebody newer leads"):
            publish(9, 6)
        assert db.execute("SELECT position, token FROM feed").fetchall() == [(6, 7)]
    db.close()


def test_settings_in_code() -> None:
    settings = executed(shown("settings.md", "Settings(lease_ttl=2"))["app"].settings
    assert (settings.lease_ttl, settings.retention) == (2, 86400)


async def test_how_scripts_are_called(memory_url: str) -> None:
    snippet = shown("architecture.md", "lua.lease_renew(")
    connection, keys = connect(memory_url), Keys()
    try:
        lease = await connection.run(lua.lease_acquire(keys.shard("emails", 3).lease, owner="w1", ttl=6_000))
        names = {
            "connection": connection,
            "lua": lua,
            "keys": keys,
            "worker_id": "w1",
            "epoch": lease.epoch,
        }
        code = compile(snippet.text, str(snippet), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        await eval(code, names)  # noqa: S307 -- it is what the page shows
        assert names["renewed"] is True
        assert names["replies"] == [True, True]
    finally:
        await connection.close()
