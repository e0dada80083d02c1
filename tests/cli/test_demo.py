"""`capelin demo`, for real: every file accounted for though a worker dies, and nothing left behind."""

import os
import re
import signal
from pathlib import Path

import psutil
import pytest

from capelin.demo.files import library_files, make_failing_files
from capelin.demo.measure import measure_file
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
def test_every_file_is_accounted_for_though_a_worker_dies(
    processes: Processes, tmp_path: Path, path: str
) -> None:
    env = {"PATH": path, "TMPDIR": str(tmp_path), "COLUMNS": str(COLUMNS)}
    demo = processes.capelin("demo", "--files", str(FILES), env=env)
    demo.wait_for_line_sync("half way", timeout=120)
    relatives = family(demo)
    assert demo.wait_sync(timeout=120) == 0
    said = demo.output

    assert re.search("^Redis +(fakeredis: no redis-server on the PATH|redis-server .* from the PATH)", said)
    assert "worker-1" in said
    assert re.search(r"half way: worker-\d is killed with SIGKILL; the lease TTL is 2 s", said)
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


@pytest.mark.slow
def test_kept_it_can_be_looked_at_and_its_dlq_replayed(processes: Processes) -> None:
    demo = processes.capelin("demo", "--files", "10", "--keep")
    line = demo.wait_for_line_sync("capelin dlq replay", timeout=60)
    replay = line.split("capelin ")[1].split()
    demo.wait_for_line_sync("go on until Ctrl-C")
    replayed = processes.capelin(*replay)
    assert replayed.wait_sync() == 0
    assert "jobs run again" in replayed.output
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
