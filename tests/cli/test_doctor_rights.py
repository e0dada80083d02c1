"""The rights that capelin needs: the line that the doctor prints suffices, and what lacks is named."""

import ast
import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tenacity import stop_after_attempt, wait_fixed

from capelin import Capelin, Job, JobFailed, Leader, NotReplicated, Reject, RetryPolicy, cluster, current_job
from capelin.admin.doctor.rights import CALL, SENT, Words, acl_line, needed, of_scripts, sample
from capelin.connection.urls import Kind
from capelin.errors import JobCancelled
from tests.cli.conftest import Run
from tests.support.cluster import RedisCluster
from tests.support.doctoring import Diagnosis, diagnose
from tests.support.resp import Connection, RespError, texts
from tests.support.sentinel import SERVICE, Watched
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until
from tests.support.workers import QUICK, start_worker

USER, PASSWORD = "app", "secret"
PACKAGE = Path(__file__).parents[2] / "capelin"
ALONE = ("_probing.py", "admin/doctor")
"""What looks into a Redis inside its process; what the doctor asks beyond the needs of capelin."""
HANDSHAKE: set[Words] = {("AUTH",), ("SENTINEL", "GET-MASTER-ADDR-BY-NAME")}
"""Any user may log in; sentinels have users of their own."""
ASKED_FOR: set[Words] = {("WAITAOF",)}
"""What only who asks for it needs, and older servers refuse to grant since they do not know it."""


def admit(server: RedisServer, *, kind: Kind = "redis", without: str = "") -> str:
    """Make the user with the printed rights, but for one, on a server; return the URL with it."""
    line = acl_line(USER, kind=kind).replace(">PASSWORD", f">{PASSWORD}")
    words = [word for word in line.split() if word != without]
    assert (len(words) < len(line.split())) == bool(without)
    assert server.command(*words) == "OK"
    return server.url.replace("://", f"://{USER}:{PASSWORD}@")


def dismiss(server: RedisServer) -> None:
    """Remove the user, whose connections end, and forget what was refused."""
    server.command("ACL", "DELUSER", USER)
    server.command("ACL", "LOG", "RESET")


def refused(server: RedisServer) -> Any:
    """What Redis refused for want of a right, also where nobody minded."""
    return server.command("ACL", "LOG")


@pytest.fixture
def server(redis_server: RedisServer) -> Iterator[RedisServer]:
    """A server on which the user may be made."""
    redis_server.command("ACL", "LOG", "RESET")
    yield redis_server
    dismiss(redis_server)


def unseen(found: Diagnosis) -> list[str]:
    """The checks that could not look."""
    return [one["check"] for one in found.findings if "could not be looked at" in one["what"]]


async def live(url: str) -> str:  # noqa: PLR0915 -- it is a whole life
    """Live through what an app may meet; return the id of a dead job."""
    app = Capelin(url, name="rights", settings=QUICK)
    ran: list[str] = []

    @app.task(retry=RetryPolicy(stop=stop_after_attempt(2), wait=wait_fixed(0.05)))
    async def fine(number: int) -> int:
        job = current_job()
        await job.progress(0.5, "half way")
        if number < 0 and job.attempt == 1:
            raise OSError(number)
        assert cluster().worker_id
        return number

    @app.task
    async def told(failure: dict[str, Any]) -> None:
        ran.append(f"told of {failure['task']}")

    @app.task(on_failure=told)
    async def broken() -> None:
        raise Reject("no")

    @app.task
    async def hold() -> None:
        await asyncio.Event().wait()

    @app.task
    async def tick() -> None:
        ran.append("tick")

    @app.singleton("watcher", interval=0.1)
    async def watcher(leader: Leader[None]) -> None:
        await leader.heartbeat()
        ran.append("watcher")

    async with AsyncExitStack() as stack:
        await stack.enter_async_context(app)
        workers = [await start_worker(stack, app) for _ in range(2)]
        jobs = await app.enqueue([fine.job(number) for number in (1, 2, -3)])
        assert [await job.result(timeout=20) for job in jobs] == [1, 2, -3]
        dead = await broken.enqueue()
        with pytest.raises(JobFailed):
            await dead.result(timeout=20)
        held = await hold.options(dedupe_key="k", then=fine.job(1)).enqueue()
        assert (await hold.options(dedupe_key="k").enqueue()).duplicate
        after = await hold.options(dedupe_key="k", on_duplicate="follow").enqueue()
        with pytest.raises(NotReplicated):
            await fine.options(min_replicas=9).enqueue(4)
        later = await fine.options(delay=60, dedupe_key="d").enqueue(1)
        await fine.options(delay=50, dedupe_key="d", on_duplicate="replace").enqueue(2)
        await fine.options(dedupe_key="w", dedupe_for=60).enqueue(3)
        await wait_until(lambda: _is(held, "running"), description="a job to run")
        for job in (held, after, later):
            await job.cancel()
        with pytest.raises(JobCancelled):
            await held.result(timeout=20)
        unknown = await app.task_named("not.here").enqueue()
        await wait_until(lambda: _is(unknown, "parked"), description="a job to be parked")
        await app.schedule("often", 1, tick.job())
        await app.schedules.pause("often")
        await app.schedules.resume("often")
        await app.schedules.trigger("often")
        await wait_until(
            lambda: {"tick", "watcher", "told of broken"} <= {*ran},
            description="a schedule, a singleton and the one who is told of a death to run",
        )
        await app.health()
        await app.schedules.remove("often")
        assert (await dead.info()).failures
        for worker in workers:
            await worker.stop()
        return dead.id


async def _is(job: Job[Any], status: str) -> bool:
    return await job.status() == status


def test_a_user_with_the_printed_rights_alone_can_do_all_that_capelin_does(
    run: Run, server: RedisServer
) -> None:
    url = admit(server)
    dead = asyncio.run(live(url))
    for words in (
        ("queues",),
        ("queues", "pause", "default"),
        ("queues", "resume", "default"),
        ("jobs",),
        ("jobs", "show", dead),
        ("jobs", "--error", "Reject*", "--older-than", "0"),
        ("jobs", "--status", "running"),
        ("jobs", "cancel", "--all", "--yes"),
        ("dlq",),
        ("dlq", "replay", dead),
        ("queues", "drain", "default", "--timeout", "0"),
        ("queues", "purge", "default", "--yes"),
        ("dlq", "purge", "--all", "--yes"),
        ("workers",),
        ("shards",),
        ("schedules",),
        ("leader",),
        ("singletons",),
    ):
        said = run(*words, "--redis", url, *(() if "show" in words else ("--json",)))
        assert said.status == 0 or "drain" in words, (words, said)
    assert refused(server) == []
    seen = f"{USER} on 127.0.0.1:{server.port} has all {len(needed())} rights that capelin needs"
    assert diagnose(run, url, "--only", "acl").of("acl") == [("ok", seen)]


def test_the_printed_rights_suffice_on_a_cluster(run: Run, redis_cluster: RedisCluster) -> None:
    try:
        for node in redis_cluster.masters:
            node.command("ACL", "LOG", "RESET")
            admit(node, kind="cluster")
        url = redis_cluster.url.replace("://", f"://{USER}:{PASSWORD}@")
        asyncio.run(live(url))
        assert [refused(node) for node in redis_cluster.masters] == [[], [], []]
        assert {severity for severity, _ in diagnose(run, url, "--only", "acl").of("acl")} == {"ok"}
        assert not unseen(diagnose(run, redis_cluster.url))
    finally:
        for node in redis_cluster.masters:
            dismiss(node)


def test_the_printed_rights_suffice_with_sentinel(run: Run, server: RedisServer) -> None:
    del server  # it skips where there is no Redis
    with Watched() as watched:
        admit(watched.master, kind="sentinel")
        url = watched.url.replace("://", f"://{USER}:{PASSWORD}@")
        asyncio.run(live(url))
        assert refused(watched.master) == []
        found = diagnose(run, url, "--only", "acl", "--only", "replicas")
        assert {severity for severity, _ in found.of("acl")} == {"ok"}
        # The user may not ask how many replicas there must be; that is said, and is no problem.
        assert [severity for severity, _ in found.of("replicas")] == ["note"]
        assert "info" in found.worst("replicas")["what"]
        as_operator = diagnose(run, watched.url)
        assert not unseen(as_operator)
        assert ("note", f"min-replicas-to-write is 0 on 127.0.0.1:{watched.master.port}") in as_operator.of(
            "replicas"
        )
        assert as_operator.of("replicas")[-1][1].startswith(
            f"127.0.0.1:{watched.master.port} has 1 replica, "
        )
        assert f"redis+sentinel://127.0.0.1:1,{watched.sentinel.address}/{SERVICE}" == watched.url


@pytest.mark.parametrize("lacking", ["+hset", "+xgroup|create", "+blpop", "+client|unblock", "+publish"])
def test_a_right_that_lacks_is_named_with_the_command_that_gives_it(
    run: Run, server: RedisServer, lacking: str
) -> None:
    url = admit(server, without=lacking)
    found = diagnose(run, url, "--only", "acl")
    assert found.status == 1
    [problem] = found.findings
    assert problem["severity"] == "problem"
    assert problem["what"].endswith(f"lacks 1 right of {len(needed())}: {lacking}")
    fix = problem["advice"].partition(" ACL ")[2].partition(",")[0].split()
    server.command("ACL", *fix)
    assert diagnose(run, url, "--only", "acl").status == 0


def test_keys_and_channels_that_lack_are_seen(run: Run, server: RedisServer) -> None:
    url = admit(server, without="~capelin:*")
    assert "EVALSHA" not in str(diagnose(run, url, "--only", "acl").of("acl"))
    assert "+hget " in diagnose(run, url, "--only", "acl").worst("acl")["what"]
    admit(server, without="&capelin:*")
    what = diagnose(run, url, "--only", "acl").worst("acl")["what"]
    assert what.endswith(": +publish +subscribe")
    # And with the keys of one prefix, another one's are refused.
    admit(server)
    assert diagnose(run, url, "--only", "acl", "--prefix", "other").status == 1


def test_a_user_who_may_run_no_script_is_told_so(run: Run, server: RedisServer) -> None:
    url = admit(server, without="+evalsha")
    found = diagnose(run, url, "--only", "acl", "--only", "scripts")
    assert [severity for severity, _ in found.of("acl") + found.of("scripts")] == ["problem", "problem"]
    assert acl_line(USER) in found.worst("acl")["advice"]


def test_an_operator_can_look_at_the_rights_of_another_user(run: Run, server: RedisServer) -> None:
    admit(server)
    assert diagnose(run, server.url, "--only", "acl", "--user", USER).status == 0
    admit(server, without="+zadd")
    found = diagnose(run, server.url, "--only", "acl", "--user", USER)
    assert found.worst("acl")["what"].endswith(": +zadd")
    nobody = diagnose(run, server.url, "--only", "acl", "--user", "nobody").worst("acl")
    assert "nobody" in nobody["what"]


def test_what_a_user_may_not_look_at_is_said_once_and_hides_nothing(run: Run, server: RedisServer) -> None:
    url = admit(server)
    found = diagnose(run, url)
    assert found.status == 0
    assert "info" in found.worst("eviction")["what"]
    assert [what.startswith("could not") for _, what in found.of("latency")] == [False]
    said = run("doctor", "--redis", url)
    assert " ".join(said.out.split()).count("no permissions to run the 'info' command") == 1


def test_with_the_rights_that_its_page_lists_the_doctor_can_look_at_everything(
    run: Run, server: RedisServer
) -> None:
    url = admit(server)
    page = (PACKAGE.parent / "docs" / "doctor.md").read_text(encoding="utf-8")
    [listed] = [line for line in page.splitlines() if line.startswith("+info ")]
    server.command("ACL", "SETUSER", USER, *(word for word in listed.split() if word.startswith("+")))
    found = diagnose(run, url, "--user", USER)
    assert not unseen(found)
    assert refused(server) == []


def test_acl_prints_the_line_alone(run: Run, server: RedisServer) -> None:
    said = run("doctor", "--acl", "--prefix", "shop", "--user", "web", "--redis", server.url)
    assert said.out == acl_line("web", prefix="shop") + "\n"
    assert " ~shop:* &shop:* +" in said.out
    assert "+select" not in said.out
    # Nothing is asked for it, so it can be had before there is a user.
    there = run("doctor", "--acl", "--redis", "redis+cluster://me@nowhere.invalid:1").out
    assert there.startswith("ACL SETUSER me reset ")
    assert {"+asking", "+cluster|slots"} <= set(there.split())
    assert "+select" in run("doctor", "--acl", "--redis", "redis://nowhere.invalid/3").out.split()


def test_every_needed_command_is_asked_about_as_a_whole_call(redis_server: RedisServer) -> None:
    for kind in ("redis", "cluster", "sentinel"):
        for words in needed(kind, db=1):
            assert redis_server.command("ACL", "DRYRUN", "default", *sample(words, "capelin")) == "OK"


@cache
def commands_of_redis(port: int) -> frozenset[str]:
    """Every command that a server knows."""
    with Connection(port) as redis:
        return frozenset(name.upper() for name in texts(redis("COMMAND", "LIST")))


def test_the_list_of_what_is_sent_is_what_the_code_sends(redis_server: RedisServer) -> None:
    known = commands_of_redis(redis_server.port)
    found = {words for path in sorted(PACKAGE.rglob("*.py")) for words in sent_by(path, known)}
    listed = {words for sent in SENT.values() for words in sent}
    assert found - HANDSHAKE - ASKED_FOR == listed, (
        "capelin/admin/doctor/rights.py lists what is sent: SENT is to say so"
    )


def sent_by(path: Path, known: frozenset[str]) -> set[Words]:
    """The commands that a module writes down: as the first word of a tuple or of a call."""
    if any(part in str(path.relative_to(PACKAGE)) for part in ALONE):
        return set()
    found: set[Words] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case (
                ast.Tuple(elts=[first, *rest])
                | ast.Call(func=ast.Attribute(attr="command"), args=[first, *rest])
                | ast.Call(func=ast.Attribute(attr="command_on"), args=[_, first, *rest])
            ):
                pass
            case _:
                continue
        words = [one.value for one in (first, *rest[:1]) if isinstance(one, ast.Constant)]
        texts = tuple(word for word in words if isinstance(word, str))
        if not isinstance(first, ast.Constant) or not texts or texts[0] not in known:
            continue
        whole = "|".join(texts[:2]) if len(texts) > 1 else ""
        found.add(texts if whole in known else texts[:1])
    return found


def test_what_the_scripts_call_is_read_from_all_of_them() -> None:
    folder = PACKAGE / "lua"
    calls = sum(path.read_text().count("redis.call(") for path in folder.rglob("*.lua"))
    calls += sum(path.read_text().count("redis.pcall(") for path in folder.rglob("*.lua"))
    read = sum(len(CALL.findall(path.read_text())) for path in folder.rglob("*.lua"))
    assert read == calls, "a script calls a command whose name cannot be read from its text"
    assert {("XREADGROUP",), ("XGROUP", "DELCONSUMER"), ("PUBLISH",)} <= of_scripts()


def test_a_lacking_right_stops_the_product_too(server: RedisServer) -> None:
    """The probe says what Redis does."""
    admit(server, without="+hset")
    with server.connect() as redis:
        redis("AUTH", USER, PASSWORD)
        with pytest.raises(RespError, match="hset"):
            redis("HSET", "capelin:x", "a", "b")
