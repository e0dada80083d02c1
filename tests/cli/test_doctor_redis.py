"""The doctor and Redis: each fault is made for real, and named."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from capelin.admin.doctor import CHECKS, Bounds, Severity
from capelin.admin.doctor.finding import Report
from capelin.admin.doctor.path import judge_clocks
from tests.cli.conftest import COLUMNS, Run, one_line
from tests.conftest import OwnCluster
from tests.support.doctoring import diagnose, look
from tests.support.proxy import RedisProxy, mentions
from tests.support.resp import texts
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until_sync

BUSY = ("--skip", "latency")
"""On a machine that runs other tests beside this one, round trips may well stall."""


@pytest.fixture(scope="module")
def patient(shared_redis: RedisServer) -> Iterator[RedisServer]:
    """A server of this module's own, as it should be; `shared_redis` skips where there is no Redis at all."""
    del shared_redis
    with RedisServer(appendonly=True, maxmemory="100mb") as server:
        yield server


@pytest.fixture
def config(patient: RedisServer) -> Iterator["Config"]:
    """Changes how the server is configured, for one test."""
    changed = Config(patient)
    yield changed
    changed.restore()


class Config:
    """`CONFIG SET`, and its end."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self._before: dict[str, str] = {}

    def __call__(self, name: str, value: str) -> None:
        self._before[name] = texts(self._server.command("CONFIG", "GET", name))[1]
        self._server.command("CONFIG", "SET", name, value)

    def restore(self) -> None:
        for name, value in self._before.items():
            self._server.command("CONFIG", "SET", name, value)


def test_a_redis_as_it_should_be_has_neither_problem_nor_warning(run: Run, patient: RedisServer) -> None:
    found = diagnose(run, patient.url, *BUSY, "--strict")
    assert found.status == 0, found.findings
    assert {one["severity"] for one in found.findings} == {"ok", "note"}
    assert {one["check"] for one in found.findings} == {check.name for check in CHECKS} - {"latency"}
    assert found.of("persistence") == [
        ("ok", f"append-only file on 127.0.0.1:{patient.port}, appendfsync always; a crash loses nothing")
    ]
    assert found.worst("uptime")["severity"] == "note"


def test_a_policy_that_evicts_is_a_problem_and_its_command_repairs_it(
    run: Run, patient: RedisServer, config: Config
) -> None:
    config("maxmemory-policy", "allkeys-lru")
    found = diagnose(run, patient.url, "--only", "eviction")
    assert found.status == 1
    problem = found.worst("eviction")
    assert problem["severity"] == "problem"
    assert problem["what"] == f"maxmemory-policy is allkeys-lru on 127.0.0.1:{patient.port}"
    assert "evicts" in problem["why"]
    at, _, command = problem["advice"].partition(",")[0].partition(f" -p {patient.port} ")
    assert at == "redis-cli -h 127.0.0.1"
    patient.command(*command.split())
    assert diagnose(run, patient.url, "--only", "eviction").status == 0


def test_what_a_restart_would_lose_is_said(run: Run, patient: RedisServer, config: Config) -> None:
    def seen() -> tuple[str, str]:
        finding = look(patient.url, "persistence")[0]
        return finding.severity, finding.what

    config("appendfsync", "everysec")
    server = f"127.0.0.1:{patient.port}"
    fine = f"append-only file on {server}, appendfsync everysec; a crash loses the last second or two"
    assert seen() == ("ok", fine)
    config("appendfsync", "no")
    assert seen()[0] == "warning"
    config("appendonly", "no")
    assert seen() == ("problem", f"neither append-only file nor snapshots on 127.0.0.1:{patient.port}")
    config("save", "60 1000")
    patient.command("SET", "capelin:queues-not", 1, "EX", 100)
    severity, what = seen()
    assert severity == "warning"
    assert what.startswith(f"snapshots only on 127.0.0.1:{patient.port} (save 60 1000): ")
    assert diagnose(run, patient.url, "--only", "persistence").status == 0
    assert diagnose(run, patient.url, "--only", "persistence", "--strict").status == 1


@pytest.mark.parametrize(("part", "severity"), [(0.97, "problem"), (0.87, "warning"), (0.5, "ok")])
def test_memory_that_fills_up_is_seen_before_it_is_full(
    patient: RedisServer, config: Config, part: float, severity: str
) -> None:
    patient.command("SETRANGE", "ballast", 20_000_000, "x")  # beside which connections come and go
    used = int(patient.info("memory")["used_memory"])
    config("maxmemory", str(int(used / part)))
    [found] = look(patient.url, "memory")
    patient.command("UNLINK", "ballast")
    assert found.severity == severity, found
    assert f"127.0.0.1:{patient.port}, " in found.what
    assert "% of maxmemory (" in found.what


def test_a_redis_that_is_full_can_be_looked_at(run: Run, patient: RedisServer, config: Config) -> None:
    config("maxmemory", "1")
    found = diagnose(run, patient.url, *BUSY)
    assert found.status == 1
    assert [one["check"] for one in found.findings if one["severity"] == "problem"] == ["memory"]
    assert not [one for one in found.findings if "could not be looked at" in one["what"]]


@pytest.mark.usefixtures("patient")
def test_a_command_that_was_renamed_away_is_named(run: Run, tmp_path: Path) -> None:
    renames = tmp_path / "renames.conf"
    renames.write_text("rename-command BLPOP HIDDEN\n", encoding="utf-8")
    with RedisServer(config={"include": str(renames)}) as server:
        found = diagnose(run, server.url, "--only", "acl").worst("acl")
    assert (found["severity"], found["what"]) == ("problem", f"127.0.0.1:{server.port} has no BLPOP")


def test_a_redis_without_maxmemory_is_noted(patient: RedisServer, config: Config) -> None:
    config("maxmemory", "0")
    [found] = look(patient.url, "memory")
    assert (found.severity, found.what.partition(":")[0]) == ("note", "no maxmemory")
    patient.command(*found.advice.partition(",")[0].partition(f"-p {patient.port} ")[2].split())
    assert look(patient.url, "memory")[0].severity == "ok"


def test_a_snapshot_that_fails_is_a_problem(patient: RedisServer) -> None:
    folder = Path(texts(patient.command("CONFIG", "GET", "dir"))[1]) / "dump.rdb"
    folder.mkdir()  # a snapshot cannot take its place

    def save(outcome: str) -> None:
        patient.command("BGSAVE", "SCHEDULE")
        wait_until_sync(
            lambda: (
                patient.info("persistence")["rdb_last_bgsave_status"] == outcome
                and patient.info("persistence")["rdb_bgsave_in_progress"] == "0"
            ),
            description=f"a snapshot to end {outcome}",
        )

    try:
        save("err")
        found = look(patient.url, "persistence")
        assert [one.severity for one in found] == ["ok", "problem"]
        assert found[1].what == f"the last snapshot failed on 127.0.0.1:{patient.port}"
    finally:
        folder.rmdir()
    save("ok")
    assert [one.severity for one in look(patient.url, "persistence")] == ["ok"]


def test_scripts_that_somebody_makes_up_are_seen(patient: RedisServer) -> None:
    assert [one.severity for one in look(patient.url, "scripts")] == ["ok"]
    with patient.connect() as redis:
        redis.pipeline(*(("SCRIPT", "LOAD", f"return {number}") for number in range(1001)))
        found = look(patient.url, "scripts")
        assert [one.severity for one in found] == ["ok", "warning"]
        assert f"127.0.0.1:{patient.port} keeps 1,00" in found[1].what
        redis(*found[1].advice.rpartition(f"-p {patient.port} ")[2].partition(" frees")[0].split())
    assert [one.severity for one in look(patient.url, "scripts")] == ["ok"]


def test_connections_that_run_out_are_seen(patient: RedisServer, config: Config) -> None:
    assert look(patient.url, "clients")[0].severity == "ok"
    config("maxclients", "20")
    with ExitStack() as stack:
        for _ in range(15):
            assert stack.enter_context(patient.connect())("PING") == "PONG"
        [found] = look(patient.url, "clients")
    assert found.severity == "warning"
    assert found.what.endswith(f" connections on 127.0.0.1:{patient.port} of 20")


def test_a_slow_way_to_redis_is_measured(patient: RedisServer) -> None:
    [found] = look(patient.url, "latency", bounds=Bounds(slow=0.0))
    assert found.severity == "warning"
    assert "ms a round trip, the worst of 20" in found.what
    [found] = look(patient.url, "latency", bounds=Bounds(stalls=0.0))
    assert (found.severity, "SLOWLOG" in found.advice) == ("warning", True)


def test_a_check_that_hangs_ends_in_time_and_hides_nothing(patient: RedisServer) -> None:
    with RedisProxy(patient.url) as proxy:
        # The reply is never read, and what was sent behind it is lost with it.
        fault = proxy.cut_reply_after(mentions("CONFIG", "GET"), times=None)
        found = look(proxy.url, "version", "persistence", "acl")
        assert fault.hits >= 1
    by_check = {one.check: one for one in found}
    assert by_check["persistence"].severity == "warning"
    assert by_check["persistence"].what.startswith("could not be looked at: 127.0.0.1:")
    with RedisProxy(patient.url) as proxy:
        found = look(proxy.url, "version", "scripts", bounds=Bounds(patience=0.0))
        assert [(one.severity, one.what) for one in found] == [("warning", "no answer within 0 s")] * 2


def test_a_clock_that_is_off_is_named(patient: RedisServer) -> None:
    [fine] = look(patient.url, "clock")
    assert fine.severity == "ok"
    [found] = look(patient.url, "clock", clock=lambda: time.time() + 90)
    assert found.severity == "warning"
    seconds = float(found.what.partition(" s behind this machine's clock")[0])
    assert seconds == pytest.approx(90, abs=1)


def test_masters_of_which_one_lives_in_another_time_are_named() -> None:
    report = Report("clock")
    judge_clocks({"a:1": 0.2, "b:2": -0.1, "c:3": 4.0}, 0.001, 1.0, report)
    assert [one.severity for one in report.findings] == ["ok", "ok", "warning", "warning"]
    assert report.findings[-1].what == "the clocks of b:2 and c:3 are 4.1 s apart"


def test_a_replica_is_told_from_its_master_and_one_that_is_cut_off_is_seen(
    patient: RedisServer, config: Config
) -> None:
    config("repl-diskless-sync-delay", "0")
    with RedisServer() as replica:
        replica.command("REPLICAOF", "127.0.0.1", patient.port)
        wait_until_sync(
            lambda: patient.info("replication").get("slave0", "").find("state=online") > 0,
            description="the replica to follow",
        )
        note, fine = look(patient.url, "replicas")
        assert note.what == f"min-replicas-to-write is 0 on 127.0.0.1:{patient.port}"
        assert (fine.severity, fine.what) == (
            "ok",
            f"127.0.0.1:{patient.port} has 1 replica, 0 B behind at most",
        )
        config("min-replicas-to-write", "1")
        assert "has 1 replica" in look(patient.url, "replicas")[0].what
        [problem] = look(replica.url, "replicas")
        assert (problem.severity, problem.what) == (
            "problem",
            f"127.0.0.1:{replica.port} is a replica of 127.0.0.1:{patient.port}",
        )
        late = look(patient.url, "replicas", bounds=Bounds(lag=-1.0))
        assert [one.severity for one in late] == ["warning", "note", "ok"]
        assert late[0].what.startswith(f"replica 127.0.0.1:{replica.port} of ")


def test_a_redis_that_does_not_answer_is_exit_status_2(run: Run, patient: RedisServer) -> None:
    line = one_line(run("doctor", "--redis", "redis://127.0.0.1:1/0"))
    assert "does not answer" in line
    patient.command("ACL", "SETUSER", "locked", "reset", "on", ">right")
    try:
        wrong = one_line(run("doctor", "--redis", patient.url.replace("://", "://locked:wrong@")))
        assert "WRONGPASS" in wrong
    finally:
        patient.command("ACL", "DELUSER", "locked")


def test_what_is_typed_wrong_is_told(run: Run, patient: RedisServer) -> None:
    assert "no check 'evictoin'; did you mean 'eviction'?" in one_line(
        run("doctor", "--redis", patient.url, "--only", "evictoin")
    )
    assert "--oldest: 'soon' is not a time" in one_line(run("doctor", "--oldest", "soon"))
    assert run("doctor", "--redis", patient.url, "--skip", "uptime", "--json").out.count('"uptime"') == 0


def test_it_fits_80_columns_and_the_worst_comes_first(run: Run, patient: RedisServer, config: Config) -> None:
    config("maxmemory-policy", "volatile-ttl")
    config("appendfsync", "no")
    said = run("doctor", "--redis", patient.url, *BUSY)
    assert said.status == 1
    assert all(len(line) <= COLUMNS and line == line.rstrip() for line in said.lines), said.out
    heads = [line.split() for line in said.lines if line and not line.startswith(" ")]
    ranks = [Severity(words[0]).rank for words in heads[:-1]]
    assert ranks == sorted(ranks, reverse=True)
    assert heads[0] == ["problem", "eviction"]
    assert heads[1] == ["warning", "persistence"]
    assert said.lines[-1].startswith(f"{len(CHECKS) - 1} checks: ")
    assert " checks: 1 problem, 1 warning, " in said.lines[-1]


def test_a_cluster_with_slots_that_nobody_serves(run: Run, own_cluster: OwnCluster) -> None:
    cluster = own_cluster()
    whole = diagnose(run, cluster.url, "--only", "cluster", "--only", "replicas", "--only", "scripts")
    assert whole.of("cluster") == [("ok", "all 16,384 slots served by 3 masters, 3 nodes")]
    assert {severity for severity, _ in whole.of("replicas")} == {"warning"}
    assert [severity for severity, _ in whole.of("scripts")] == ["ok"] * 3
    # With the URL of a single server it is seen, too.
    single = f"redis://127.0.0.1:{cluster.masters[0].port}"
    assert "is a node of a Cluster" in diagnose(run, single, "--only", "cluster").worst("cluster")["what"]

    slot = 100
    migration = cluster.migrate_slot(slot, cluster.masters[1])
    migration.begin()
    moving = [what for _, what in diagnose(run, cluster.url, "--only", "cluster").of("cluster")]
    assert f"1 slot of 127.0.0.1:{cluster.masters[0].port} in migration: {slot}" in moving
    migration.finish()
    assert diagnose(run, cluster.url, "--only", "cluster").status == 0

    for node in cluster.masters:
        node.command("CLUSTER", "DELSLOTS", slot)
    found = diagnose(run, cluster.url, "--oldest", "1m")
    assert ("problem", "1 of 16,384 slots belong to no node") in found.of("cluster")
    assert any("state of the Cluster is fail" in what for _, what in found.of("cluster"))
    # What needs no slot is still looked at, and what does says why it could not be.
    assert {severity for severity, _ in found.of("eviction")} == {"ok"}
    assert "could not be looked at" in found.worst("leader")["what"]
    cluster.masters[0].command("CLUSTER", "ADDSLOTS", slot)
    cluster.wait_until_whole()

    cluster.masters[2].kill()
    dead = f"127.0.0.1:{cluster.masters[2].port}"
    found = diagnose(run, cluster.url, "--only", "cluster", "--only", "version", "--only", "latency")
    assert any(severity == "problem" and what.startswith(dead) for severity, what in found.of("cluster"))
    assert len(found.of("version")) == len(found.of("latency")) == 2
