"""The doctor and the fleet: workers that died, work that nobody does, schedules that nobody fires."""

import json
import re
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

from capelin import Capelin, Leader
from capelin.admin import open_access
from capelin.admin.doctor import Bounds, Finding, Severity, examine
from capelin.keys import Keys
from capelin.settings import Settings
from capelin.workers.fleet import Member
from tests.cli.conftest import APP, Do, Run
from tests.support.doctoring import diagnose, look
from tests.support.processes import Processes
from tests.support.resp import texts
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until, wait_until_sync
from tests.support.workers import QUICK, start_worker

KEYS = Keys()
NOW = Bounds(stuck=0.0, late=0.0, again=0.01)
"""What is over is judged at once."""
BRIEF = Bounds(again=0.01)
CHECKED = ("schedules", "leader", "singletons", "unserved")

IDLE = Member(
    id="host-1-idle",
    app="shop:app",
    host="host",
    pid=1,
    version="0.1.0",
    started=0,
    queues=("default",),
    slots=10,
    tasks={},
)


def join(server: RedisServer, **what: Any) -> str:
    """Have a worker join that does nothing at all; return its id."""
    member = replace(IDLE, **what)
    server.command("HSET", KEYS.fleet_members, member.id, member.to_json())
    server.command("ZADD", KEYS.fleet_expiry, 1e15, member.id)
    return member.id


def test_an_empty_redis_has_nothing_wrong_with_its_fleet(run: Run, redis_url: str) -> None:
    found = diagnose(run, redis_url, "--skip", "persistence", "--skip", "latency", "--strict")
    assert found.status == 0, found.findings
    assert found.of("members") == [("ok", "0 live workers with 0 slots")]


def test_a_worker_that_was_killed_is_seen_with_all_that_it_left(
    run: Run, shop: Any, do: Do, redis_server: RedisServer, processes: Processes
) -> None:
    url = redis_server.url
    checks = ("members", "owners", "unserved", "stuck")
    settings = {"CAPELIN_LEASE_TTL": "1", "CAPELIN_CONCURRENCY": "1"}
    worker = processes.worker(APP, "-q", "default", redis_url=url, env=settings)
    first = do(lambda: shop.hold.options(shard_key="one").enqueue(600))
    worker.wait_for_line_sync("holding")
    shard = KEYS.shard("default", first.shard)
    do(lambda: shop.greet.options(shard_key="one").enqueue("Ada"))
    fine = ("ok", "1 job in flight; no lease or stake is over for 0 s")
    wait_until_sync(
        lambda: {one.severity for one in look(url, *checks, bounds=NOW)} == {"ok"},
        description="the worker to own its shards",
    )
    assert [(one.severity, one.what) for one in look(url, "stuck", bounds=NOW)] == [fine]

    worker.kill()
    assert worker.pid

    def over() -> bool:
        seconds, micros = texts(redis_server.command("TIME"))
        now = int(seconds) * 1000 + int(micros) // 1000
        ends = [
            redis_server.command("HGET", shard.lease, "expires"),
            texts(redis_server.command("ZRANGE", shard.stakes, 0, -1, "WITHSCORES"))[1],
            texts(redis_server.command("ZRANGE", KEYS.fleet_expiry, 0, -1, "WITHSCORES"))[1],
        ]
        return all(float(str(end)) < now for end in ends)

    wait_until_sync(over, description="the lease, the stake and the membership to end")
    [id_] = texts(redis_server.command("ZRANGE", KEYS.fleet_expiry, 0, -1))
    found = {one.check: one for one in look(url, "members", "unserved", bounds=NOW)}
    assert found["members"].severity == "warning"
    assert found["members"].what.startswith(f"1 member of the fleet silent: {id_} (since ")
    assert "no other worker lives" in found["members"].why
    assert (found["unserved"].severity, found["unserved"].what) == (
        "problem",
        "no worker serves queue default: 1 job waiting, 1 in flight, 0 scheduled",
    )
    lease, stake = look(url, "stuck", bounds=NOW)
    assert lease.what.startswith(f"the lease of {shard} ended ")
    assert lease.what.endswith(" ago, with 1 job waiting")
    assert stake.what.startswith(f"1 job of worker {id_} in flight in {shard}, and its stake ended ")

    # What it advises is what helps.
    assert "capelin worker APP -q default" in found["unserved"].advice
    processes.worker(APP, "-q", "default", redis_url=url, env=settings)
    wait_until_sync(
        lambda: diagnose(run, url, *(f"--only={name}" for name in checks), "--strict").status == 0,
        description="another worker to take over",
    )


def test_a_queue_with_jobs_that_no_worker_serves(
    run: Run, shop: Any, do: Do, redis_server: RedisServer
) -> None:
    do(lambda: shop.app.enqueue([shop.birthday.options(delay=600).job("Alan", shop.date(1912, 6, 23))]))
    found = diagnose(run, redis_server.url, "--only", "unserved")
    assert found.of("unserved") == [("warning", "no worker serves queue letters: 1 job scheduled")]
    do(lambda: shop.birthday.enqueue("Ada", shop.date(1815, 12, 10)))
    found = diagnose(run, redis_server.url, "--only", "unserved")
    assert found.status == 1
    seen = "no worker serves queue letters: 1 job waiting, 0 in flight, 1 scheduled"
    assert found.of("unserved") == [("problem", seen)]
    join(redis_server, queues=("letters",))
    assert diagnose(run, redis_server.url, "--only", "unserved").of("unserved") == [
        ("ok", "1 queue served; no other has jobs")
    ]


def test_jobs_in_shards_that_no_layout_names(run: Run, shop: Any, do: Do, redis_server: RedisServer) -> None:
    do(lambda: shop.greet.enqueue("Ada"))
    assert run("queues", "reshard", "default", "32", "--yes").status == 0
    do(lambda: shop.app.enqueue([shop.greet.job("Ada") for _ in range(640)]))
    join(redis_server)
    redis_server.command("DEL", KEYS.queue_meta("default"))
    redis_server.command("HSET", KEYS.queue_meta("default"), "shards", 8, "schema", 1, "layout", 1)
    problem = look(redis_server.url, "unserved", bounds=NOW)[0]
    assert problem.severity == "problem"
    assert problem.what.startswith("480 jobs of queue default in shards that its layout lacks: ")
    assert "within a minute" in problem.advice


def test_shards_on_which_no_live_worker_waits(shop: Any, do: Do, redis_server: RedisServer) -> None:
    do(lambda: shop.greet.enqueue("Ada"))
    worker = join(redis_server)
    for shard in range(8):
        lease = KEYS.shard("default", shard).lease
        redis_server.command("HSET", lease, "owner", worker, "epoch", 1, "expires", 10**15)
    assert look(redis_server.url, "owners", bounds=NOW)[0].severity == "ok"
    # One lease was given up, one has ended, one is held by somebody who is no member any more.
    redis_server.command("HSET", KEYS.shard("default", 1).lease, "expires", 1)
    redis_server.command("HSET", KEYS.shard("default", 3).lease, "owner", "", "expires", 0)
    redis_server.command("HSET", KEYS.shard("default", 5).lease, "owner", "host-2-gone")
    [found] = look(redis_server.url, "owners", bounds=NOW)
    assert found.severity == "warning"
    assert found.what == (
        "nobody waits on 3 of the 8 shards of queue default (1, 3, 5), though it has 1 live worker"
    )


def test_a_task_that_no_worker_knows_and_one_with_another_signature(
    run: Run, shop: Any, do: Do, drain: Callable[[], None], redis_server: RedisServer
) -> None:
    do(lambda: shop.app.task_named("email.send").enqueue(1))
    drain()
    found = diagnose(run, redis_server.url, "--only", "parked")
    assert found.status == 1
    assert found.worst("parked")["what"] == (
        "1 job of task email.send parked in queue default: no live worker of default knows the task"
    )
    assert "--status parked --task email.send" in found.worst("parked")["advice"]
    said = run("jobs", "ls", "--status", "parked", "--task", "email.send", "--redis", redis_server.url)
    assert len(said.lines) == 3
    join(redis_server, tasks={"email.send": "another"})
    assert diagnose(run, redis_server.url, "--only", "parked").worst("parked")["severity"] == "warning"


def test_a_job_that_waits_for_longer_than_it_may(
    run: Run, shop: Any, do: Do, redis_server: RedisServer
) -> None:
    assert diagnose(run, redis_server.url, "--only", "oldest").of("oldest") == [("ok", "no job waits")]
    do(lambda: shop.greet.enqueue("Ada"))
    assert diagnose(run, redis_server.url, "--only", "oldest", "--oldest", "5m").status == 0
    redis_server.command("BLPOP", "nothing", 0.01)  # Redis's clock goes on
    found = diagnose(run, redis_server.url, "--only", "oldest", "--oldest", "0.001s")
    assert (found.status, found.worst("oldest")["severity"]) == (1, "problem")
    assert found.worst("oldest")["what"].startswith("the oldest job of queue default waits for 0.")
    # A paused queue waits because somebody wants it to, which is said elsewhere.
    run("queues", "pause", "default")
    found = diagnose(run, redis_server.url, "--only", "oldest", "--only", "paused", "--oldest", "0s")
    assert found.status == 0
    assert found.worst("paused")["what"].endswith(", with 1 job waiting")


def test_a_pause_that_was_cut_short(run: Run, shop: Any, do: Do, redis_server: RedisServer) -> None:
    do(lambda: shop.greet.enqueue("Ada"))
    run("queues", "pause", "default")
    redis_server.command("HDEL", KEYS.shard("default", 2).meta, "paused")
    found = diagnose(run, redis_server.url, "--only", "paused").worst("paused")
    assert found["severity"] == "warning"
    assert found["what"].endswith(": 7 of its 8 shards")
    assert run(*found["advice"].partition(",")[0].split()[1:]).status == 0
    assert diagnose(run, redis_server.url, "--only", "paused").of("paused") == [("ok", "no queue is paused")]


def test_the_dead_are_counted_and_those_of_the_last_hour(
    run: Run, shop: Any, do: Do, drain: Callable[[], None], redis_server: RedisServer
) -> None:
    do(lambda: shop.app.enqueue([shop.fail.job(str(number)) for number in range(5)]))
    drain()
    found = diagnose(run, redis_server.url, "--only", "dead")
    assert found.of("dead") == [("note", "5 dead jobs in queue default, 5 in the last hour")]
    assert look(redis_server.url, "dead", bounds=Bounds(dead=4))[0].severity == "warning"
    [many] = look(redis_server.url, "dead", bounds=Bounds(dying=4))
    assert (many.severity, many.what) == (
        "warning",
        "5 dead jobs in queue default, at least 5 in the last hour",
    )


def test_a_queue_of_a_newer_release_and_a_broken_one_hide_no_other(
    run: Run, shop: Any, do: Do, redis_server: RedisServer
) -> None:
    do(lambda: shop.app.enqueue([shop.greet.options(queue=name).job("Ada") for name in ("a", "b", "c", "d")]))
    redis_server.command("HSET", KEYS.queue_meta("a"), "schema", 99)
    redis_server.command("HSET", KEYS.queue_meta("b"), "shards", "many")
    redis_server.command("DEL", KEYS.shard("c", 4).meta)
    redis_server.command("SET", KEYS.shard("c", 4).meta, "not ours", "EX", 100)
    found = diagnose(run, redis_server.url)
    severities, seen = zip(*found.of("schema"), strict=True)
    assert set(severities) == {"problem"}
    assert seen[0] == "queue a has record schema 99; this capelin reads up to 1"
    assert seen[1].startswith("queue b cannot be read: its number of shards")
    assert seen[2].startswith("1 shard cannot be read: c:4 (")
    assert any("queue d: 1 job" in what for _, what in found.of("unserved"))
    assert not any("queue a" in what for _, what in found.of("unserved"))


def test_a_schedule_that_only_a_newer_release_can_read(
    run: Run, shop: Any, do: Do, redis_server: RedisServer
) -> None:
    do(lambda: shop.app.schedule("digest", 60, shop.greet.job("Ada")))
    item = json.loads(str(redis_server.command("HGET", KEYS.schedules_items, "digest")))
    item["def"] = '{"from the": "future"}'
    redis_server.command("HSET", KEYS.schedules_items, "digest", json.dumps(item))
    found = diagnose(run, redis_server.url, "--only", "schedules")
    assert found.of("schedules") == [("warning", "schedule digest cannot be read")]


def test_a_member_of_another_release_is_noted(run: Run, redis_server: RedisServer) -> None:
    join(redis_server)
    redis_server.command("HSET", KEYS.fleet_members, "host-9-new", '{"queues": 3}')
    found = diagnose(run, redis_server.url, "--only", "members", "--strict")
    assert found.status == 0
    assert found.of("members") == [
        ("note", "1 member with a record that cannot be read: host-9-new"),
        ("ok", "1 live worker with 10 slots"),
    ]


def test_a_schedule_that_nobody_fires(run: Run, shop: Any, do: Do, redis_server: RedisServer) -> None:
    async def work() -> None:
        await shop.app.schedule("digest", 60, shop.greet.job("Ada"))
        await shop.app.schedule("asleep", 60, shop.greet.job("Ada"))
        await shop.app.schedules.pause("asleep")

    do(work)
    checks = ("--only", "schedules")
    found = diagnose(run, redis_server.url, *checks, "--only", "leader")
    assert found.status == 1
    assert found.of("leader") == [
        ("problem", "nobody leads the scheduler, with 1 schedule to fire"),
    ]
    assert found.worst("schedules")["severity"] == "note"
    assert found.worst("schedules")["what"].startswith("schedule asleep is paused since ")
    # Almost an hour passes.
    item = json.loads(str(redis_server.command("HGET", KEYS.schedules_items, "digest")))
    item["since"] -= 3_590_000
    redis_server.command("HSET", KEYS.schedules_items, "digest", json.dumps(item))
    found = diagnose(run, redis_server.url, *checks)
    late = [one for one in found.findings if one["check"] == "schedules" and one["severity"] == "problem"]
    seen = r"schedule digest \(every 1m\): a tick is due since 5[89] m and not fired"
    assert re.fullmatch(seen, late[0]["what"])
    assert run(*late[0]["advice"].rpartition("; capelin ")[2].split()).status == 0
    assert run("schedules", "resume", "asleep").status == 0
    assert "asleep" not in str(diagnose(run, redis_server.url, *checks).of("schedules"))


async def test_a_schedule_whose_runs_do_not_end_and_a_singleton_that_fell_silent(redis_url: str) -> None:
    app = Capelin(redis_url, name="ticking", settings=QUICK)

    @app.task(queue="elsewhere")
    async def tidy() -> None: ...

    @app.singleton("watcher", interval=0.1)
    async def watcher(_leader: Leader[None]) -> None: ...

    async def seen(*checks: str) -> dict[str, Finding]:
        async with open_access(redis_url, prefix="capelin", settings=Settings()) as access:
            return {one.check: one for one in await examine(access, only=checks, bounds=BRIEF)}

    async with AsyncExitStack() as stack:
        await stack.enter_async_context(app)
        worker = await start_worker(stack, app, queues={"default": 1})
        await app.schedule("tidy", 1, tidy.job())
        found = dict[str, Finding]()

        async def unhealthy() -> bool:  # and everything else as it should be, however busy the machine is
            found.update(await seen(*CHECKED))
            severities = {name: one.severity.value for name, one in found.items()}
            return severities == dict(zip(CHECKED, ("problem", "ok", "ok", "problem"), strict=True))

        await wait_until(unhealthy, description="two intervals without a run")
        assert found["leader"].what.startswith(f"{worker.id} leads")
        assert "has never completed a run, though " in found["schedules"].what
        assert "no worker serves queue elsewhere" in found["unserved"].what
        await worker.stop()

        async def silent() -> bool:
            return (await seen("singletons"))["singletons"].severity is Severity.PROBLEM

        await wait_until(silent, description="the singleton to be missed")
        found = await seen("singletons", "leader")
        assert found["singletons"].what.startswith("singleton watcher (hosted by nobody) gave none for ")
        assert found["leader"].severity == "problem"
        await app.schedules.remove("tidy")


def test_the_doctor_reads_no_more_of_a_long_backlog_than_of_a_short_one(
    run: Run, shop: Any, do: Do, redis_server: RedisServer
) -> None:
    def calls() -> dict[str, int]:
        redis_server.command("CONFIG", "RESETSTAT")
        diagnose(run, redis_server.url, "--skip", "latency")
        lines = redis_server.info("commandstats")
        counted = {name.removeprefix("cmdstat_"): int(line.split(",")[0][6:]) for name, line in lines.items()}
        return {name: calls for name, calls in counted.items() if not name.startswith("config")}

    do(lambda: shop.app.enqueue([shop.greet.job(str(number)) for number in range(300)]))
    calls()
    short = calls()
    do(lambda: shop.app.enqueue([shop.greet.job(str(number)) for number in range(3000)]))
    assert calls() == short
    assert not {"keys", "scan"} & set(short)
    assert short["info"] == 1, "what many checks look at is read once"
