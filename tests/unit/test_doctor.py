"""What the doctor makes of figures that no server of a test can be made to have."""

from capelin.admin.doctor import CHECKS, Severity
from capelin.admin.doctor.finding import Report
from capelin.admin.doctor.rights import acl_line, needed, right
from capelin.admin.doctor.server import judge_fragmentation, judge_versions
from capelin.admin.doctor.words import count, number, read_info, redis_cli, size, some, span


def test_a_server_that_is_too_old_is_a_problem_and_a_newer_one_is_not() -> None:
    report = Report("version")
    for known in ("5.0.14", "6.0.16", "6.2.14", "7.0.15", "7.4.1", "8.2.0", "?"):
        judge_versions({f"{known}:1": {"redis_version": known}}, report)
    assert [one.severity.value for one in report.findings] == [
        *("problem", "problem"),
        *("ok", "ok", "ok", "ok"),
        "problem",
    ]
    assert "tested with 7.0" in report.findings[4].what
    assert "tested" not in report.findings[3].what


def test_forks_and_mixed_versions_are_told() -> None:
    report = Report("version")
    valkey = {"redis_version": "7.2.4", "valkey_version": "8.0.1"}
    judge_versions({"a:1": {"redis_version": "7.0.15"}, "b:2": valkey}, report)
    assert [one.severity.value for one in report.findings] == ["ok", "note", "warning"]
    assert report.findings[1].what.startswith("Valkey 8.0.1 on b:2")
    assert report.findings[2].what == "servers of different versions: 7.0.15, Valkey 8.0.1"


def test_fragmentation_and_swap_matter_once_there_is_data() -> None:
    def judged(used: int, ratio: float) -> list[str]:
        report = Report("memory")
        judge_fragmentation("a:1", {"used_memory": str(used), "mem_fragmentation_ratio": str(ratio)}, report)
        return [f"{one.severity}: {one.what}" for one in report.findings]

    assert judged(10**6, 9.0) == []
    assert judged(10**9, 1.2) == []
    assert judged(10**9, 2.0) == ["warning: fragmentation 2.00 on a:1: 953.7 MB of data take 1.9 GB"]
    assert judged(10**9, 0.5) == ["warning: 953.7 MB of data on a:1, of which 50% are in memory"]


def test_names_of_checks_differ_and_their_order_is_from_redis_to_schedules() -> None:
    names = [check.name for check in CHECKS]
    assert len(set(names)) == len(names)
    assert (names[0], names[-1]) == ("version", "singletons")
    assert all(check.looks.__doc__ for check in CHECKS)
    assert [severity.rank for severity in Severity] == [0, 1, 2, 3]


def test_the_line_of_acl_is_for_one_kind_of_redis() -> None:
    plain, cluster, sentinel = (set(acl_line(kind=kind).split()) for kind in ("redis", "cluster", "sentinel"))
    assert cluster - plain == {"+asking", "+cluster|slots"}
    assert sentinel - plain == {"+role"}
    assert set(acl_line(db=2).split()) - plain == {"+select"}
    assert {right(words) for words in needed()} <= plain
    # Nothing that could look at or destroy what is not capelin's.
    begins = "ACL SETUSER shop reset on >PASSWORD resetchannels ~capelin:* &capelin:* "
    assert acl_line("shop").startswith(begins)
    assert all(word.startswith("+") for word in acl_line("shop").removeprefix(begins).split())
    assert not {
        word for word in plain if word.startswith(("+@", "+flush", "+keys", "+scan", "+config", "+eval "))
    }


def test_figures_are_written_for_people() -> None:
    assert [size(n) for n in (900, 2048, 1_600_000, 2_500_000_000)] == ["900 B", "2.0 KB", "1.5 MB", "2.3 GB"]
    assert [count(1, "job"), count(2000, "job"), count(2, "entry", "entries")] == [
        "1 job",
        "2,000 jobs",
        "2 entries",
    ]
    assert some(["a", "b", "c"], 2) == "a, b and 1 more"
    assert some([], 2) == ""
    assert span(90) == "1 m"
    assert redis_cli("127.0.0.1:6379") == "redis-cli -h 127.0.0.1 -p 6379"
    assert redis_cli("[::1]:6379") == "redis-cli -h ::1 -p 6379"
    assert redis_cli("/run/redis.sock") == "redis-cli -s /run/redis.sock"
    info = read_info("# Memory\r\nused_memory:12\r\nodd\r\n")
    assert (number(info, "used_memory"), number(info, "odd"), number({"x": "y"}, "x", 3)) == (12, 0, 3)
