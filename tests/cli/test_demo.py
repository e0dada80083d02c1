"""`capelin demo`, for real: every file and tick accounted for though the leader dies; nothing left behind."""

import asyncio
import os
import re
import signal
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import psutil
import pytest

from capelin.admin import Access
from capelin.demo import run
from capelin.demo.files import library_files, make_failing_files
from capelin.demo.fleet import Fleet
from capelin.demo.measure import measure_file
from capelin.demo.outcome import Kill, Outcome, read_outcome
from capelin.demo.screen import Screen
from capelin.demo.ticked import report_ticks
from capelin.demo.ticking import Pulse, account
from capelin.demo.watching import Glance
from capelin.ids import JobId
from capelin.keys import Keys
from capelin.records import JobInfo, JobStatus, read_info
from capelin.requests import JobRequest
from capelin.schedules import Schedule
from capelin.timetable import Entry, ScheduleState
from capelin.timing import Every
from capelin.workers.child import WorkerProcess
from tests.cli.conftest import has_ended
from tests.support.processes import ChildProcess, Processes
from tests.support.waiting import wait_until_sync

FILES = 150
NO_REDIS_SERVER = "/nonexistent"
COLUMNS = 80


def family(demo: ChildProcess) -> list[psutil.Process]:
    return psutil.Process(demo.pid).children(recursive=True)


def gone(relatives: list[psutil.Process]) -> None:
    wait_until_sync(
        lambda: all(has_ended(one) for one in relatives), description="what the demo started to end"
    )


@pytest.mark.slow
@pytest.mark.parametrize("path", [os.environ["PATH"], NO_REDIS_SERVER], ids=["redis-server", "fakeredis"])
def test_every_file_and_every_tick_is_accounted_for_though_the_leader_dies(
    processes: Processes, tmp_path: Path, path: str, request: pytest.FixtureRequest
) -> None:
    if path != NO_REDIS_SERVER:
        request.getfixturevalue("redis_binary")
    env = {"PATH": path, "TMPDIR": str(tmp_path), "COLUMNS": str(COLUMNS)}
    demo = processes.capelin("demo", "--files", str(FILES), env=env)
    demo.wait_for_line_sync("half way", timeout=120)
    relatives = family(demo)
    assert demo.wait_sync(timeout=120) == 0
    said = demo.output

    assert re.search("^Redis +(fakeredis: no redis-server on the PATH|redis-server .* from the PATH)", said)
    assert "worker-1" in said
    [leader] = re.findall(r"half way: (worker-\d), the leader, is killed with SIGKILL; lease TTL 2 s", said)
    [successor] = re.findall(r"(worker-\d) leads now, [\d.]+ s after the kill", said)[:1]
    assert successor != leader
    assert "Each tick fired once" in said
    due, ran = (int(re.findall(rf"(\d+) {words}", said)[0]) for words in ("ticks fell due", "ran: "))
    assert due == ran >= 2
    assert "0 missing, 0 fired twice, 0 skipped" in said
    vacant = re.findall(
        rf"{leader} led until it was killed. Nobody led for ([\d.]+) s, then {successor} did", said
    )
    assert 0.5 <= float(vacant[0]) < 8, "the lead went on before the lease could end, or long after"
    assert "Every file accounted for" in said
    assert f"{FILES + 4} files enqueued" in said
    measured, dead = (int(re.findall(rf"(\d+) {word}", said)[-1]) for word in ("measured", "in the DLQ"))
    assert measured + dead == FILES + 4
    assert dead >= 4
    assert "0 missing, 0 recorded twice" in said
    [back] = re.findall(r"Its \d+ jobs? ran again, on other workers, ([\d.]+)(?: to [\d.]+)? s after", said)
    assert float(back) >= 1, "it was back before its lease could end"
    for name in ("no_closing_bracket.py", "python_2.py", "not_utf_8.py", "vanished.py"):
        assert name in said
    assert re.search(r"capelin dlq replay --all --redis redis://127.0.0.1:\d+/0", said)
    assert all(len(line) <= COLUMNS for line in demo.lines), said
    gone(relatives)
    assert list(tmp_path.iterdir()) == []


async def test_a_leader_that_has_just_finished_what_it_ran_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """It froze too late: the next look may find it in the middle of a job."""
    signals: list[signal.Signals] = []
    worker = SimpleNamespace(pid=1, ended=False, send=signals.append, wait=lambda: asyncio.sleep(0))
    fleet = Fleet(Path())
    fleet.workers["worker-1"] = cast("WorkerProcess", worker)
    access = cast("Access", SimpleNamespace(clock=lambda: asyncio.sleep(0, 5000)))
    demo = run.Demo(Screen(), fleet, access)
    pulse = Pulse(leader="worker-1-4711-ab12cd34", epoch=7)

    async def finds(running: Mapping[str, int]) -> None:
        async def look(access: Access) -> Glance:
            del access
            return Glance(running=running, done=6)

        monkeypatch.setattr(run, "glance", look)
        await demo.kill_leader(pulse, 10)

    await finds({"worker-2": 3})
    assert (signals, demo.kill) == ([signal.SIGSTOP, signal.SIGCONT], None)
    await finds({"worker-1": 1})
    assert signals[2:4] == [signal.SIGSTOP, signal.SIGKILL]
    assert demo.kill is not None
    assert (demo.kill.at, demo.kill.epoch) == (5000, 7)


@pytest.mark.slow
async def test_a_file_of_which_nothing_is_recorded_is_named_and_the_status_is_not_0(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CAPELIN_CLI_REDIS_URL", "")  # so that what the demo sets is forgotten after it

    async def of_a_redis_that_lost_one(access: Access, jobs: Mapping[Path, str], **rest: Any) -> Outcome:
        lost = JobId.parse(list(jobs.values())[3])
        await access.connection.command("DEL", access.keys.shard(lost.queue, lost.shard).job(lost.uid))
        return await read_outcome(access, jobs, **rest)

    monkeypatch.setattr(run, "read_outcome", of_a_redis_that_lost_one)

    assert await run.run_demo(files=30) == 1
    said = capsys.readouterr().out
    assert "1 missing, 0 recorded twice" in said
    assert "no record" in said
    assert "Every file accounted for" not in said


def entry(**state: Any) -> Entry:
    """A schedule that ticks once a second, since one second after the epoch."""
    made = Schedule(name="tick", timing=Every(1000), request=JobRequest(task="tick", queue="ticks"))
    return Entry(
        name="tick",
        schedule=made,
        app="demo",
        source="code",
        revision=1,
        since=1000,
        state=ScheduleState(**state),
    )


def ran(second: int, uid: str = "", status: JobStatus = JobStatus.COMPLETED) -> JobInfo:
    """The job of a tick, which came 100 ms late."""
    fields: dict[bytes, bytes] = {
        b"task": b"tick",
        b"status": status.value.encode(),
        b"tick": str(second * 1000).encode(),
        b"at": str(second * 1000 + 100).encode(),
        b"worker": b"worker-1-4711-abcdefgh",
    }
    flat = [part for pair in fields.items() for part in pair]
    info = read_info(Keys().shard("ticks", 0), uid or f"tick-{second}", flat)
    assert info is not None
    return info


def test_ticks_that_each_have_a_job_are_complete() -> None:
    found = account(entry(), [ran(4), ran(2), ran(3)], due=4000)
    assert found.complete
    assert (found.due, found.run_by, found.late) == (3, {"worker-1": 3}, [0.1, 0.1, 0.1])


def test_a_tick_without_a_job_or_with_one_that_never_ended_is_missing() -> None:
    assert list(account(entry(), [ran(2)], due=3000).missing.values()) == ["no job"]
    unended = account(entry(), [ran(2, status=JobStatus.QUEUED)], due=2000)
    assert list(unended.missing.values()) == ["its job is queued"]
    assert not account(entry(), [], due=500).complete, "nothing ticked at all"


def test_a_tick_with_two_jobs_or_one_that_was_not_due_is_told() -> None:
    twice = account(entry(), [ran(2), ran(2, "another"), ran(3)], due=3000)
    assert not twice.complete
    assert [one.timestamp() for one in twice.twice] == [2]
    stray = account(entry(), [ran(1), ran(2)], due=2000)
    assert [one.timestamp() for one in stray.twice] == [1]
    assert not account(entry(skipped={"stale": 1}), [ran(2)], due=2000).complete


def test_what_is_wrong_with_ticks_is_told_in_red(capsys: pytest.CaptureFixture[str]) -> None:
    found = account(entry(skipped={"stale": 1}), [ran(2), ran(2, "another")], due=3000)
    kill = Kill(name="worker-2", pid=1, at=5000, epoch=7, after=1.0)
    report_ticks(Screen(), found, kill, {7: Pulse(leader="worker-2-1-abc", epoch=7)})
    said = capsys.readouterr().out
    assert "NOT each tick fired once" in said
    assert "1 missing, 1 fired twice, 1 skipped" in said
    assert "no job" in said
    assert "nobody since" in said


@pytest.mark.slow
def test_kept_it_can_be_looked_at_and_its_dlq_replayed(processes: Processes) -> None:
    demo = processes.capelin("demo", "--files", "10", "--keep")
    line = demo.wait_for_line_sync("capelin dlq replay", timeout=60)
    replay = line.split("capelin ")[1].split()
    demo.wait_for_line_sync("go on until Ctrl-C")
    replayed = processes.capelin(*replay)
    assert replayed.wait_sync() == 0
    assert "jobs set to run again" in replayed.output
    workers = processes.capelin("workers", "--json", "--redis", replay[-1])
    assert workers.wait_sync() == 0
    assert workers.output.count('"alive": true') >= 2
    relatives = family(demo)
    demo.interrupt()
    assert demo.wait_sync() == 0
    gone(relatives)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"]
)
def test_interrupted_it_ends_what_it_started(
    processes: Processes, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    demo = processes.capelin("demo", env={"TMPDIR": str(tmp_path)})
    demo.wait_for_line_sync("enqueued in", timeout=60)
    relatives = family(demo)
    assert len(relatives) >= 4, "three workers and a Redis"
    demo.send(number)
    assert demo.wait_sync() == status
    assert "Traceback" not in demo.output
    gone(relatives)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_killed_it_leaves_no_process_behind(processes: Processes) -> None:
    demo = processes.capelin("demo")
    demo.wait_for_line_sync("enqueued in", timeout=60)
    relatives = family(demo)
    demo.kill()
    gone(relatives)


def test_the_library_is_taken_whole_or_evenly() -> None:
    every = library_files()
    assert len(every) > 500
    assert len(set(every)) == len(every)
    assert not [path for path in every if "site-packages" in path.parts]
    some = library_files(50)
    assert len(some) == 50
    assert set(some) < set(every)


def test_a_file_is_measured(tmp_path: Path) -> None:
    path = tmp_path / "some.py"
    path.write_text(
        '"""Two lines\nof text."""\n'
        "\n"
        "# a comment\n"
        "class A:\n"
        "    def one(self):  # another\n"
        "        return 1\n"
        "\n"
        "async def two(a, b):\n"
        "    if a and b or a:\n"
        "        for x in [y for y in b]:\n"
        "            print(x)\n"
        "    return 1 if a else 2\n"
    )
    found = measure_file(path)
    assert (found.lines, found.code, found.comments) == (13, 10, 2)
    assert (found.functions, found.classes) == (2, 1)
    assert (found.complexity, found.hardest, found.hardest_complexity) == (1 + 7, "two", 7)


def test_files_made_to_fail_do_fail(tmp_path: Path) -> None:
    for path in make_failing_files(tmp_path):
        with pytest.raises((SyntaxError, OSError)):
            measure_file(path)
