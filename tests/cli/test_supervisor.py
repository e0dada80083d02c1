"""`--processes N`: as many workers as asked for, whoever dies, and none left behind."""

import os
import signal
from pathlib import Path
from typing import Any

import psutil

from tests.cli.conftest import APP, Do, Run, has_ended
from tests.support.processes import ChildProcess, Processes
from tests.support.waiting import wait_until_sync


def pids(supervisor: ChildProcess) -> list[int]:
    """Pids of its workers, in the order in which they were started."""
    return [int(line["pid"]) for line in supervisor.events("worker process started")]


def living(supervisor: ChildProcess) -> list[psutil.Process]:
    return [child for child in psutil.Process(supervisor.pid).children() if not has_ended(child)]


def started(supervisor: ChildProcess, count: int) -> None:
    wait_until_sync(
        lambda: len(supervisor.events("worker started")) >= count,
        description=f"{count} workers to have started, in all",
    )


def test_as_many_workers_as_asked_for_share_one_fleet(processes: Processes, redis_url: str, run: Run) -> None:
    supervisor = processes.worker(APP, "--processes", "3", redis_url=redis_url)
    started(supervisor, 3)
    wait_until_sync(lambda: len(run("workers", "--json").json) == 3, description="three members")
    workers = run("workers", "--json").json
    assert sorted(worker["pid"] for worker in workers) == sorted(pids(supervisor))


def test_a_killed_worker_is_replaced_and_named(processes: Processes, redis_url: str) -> None:
    supervisor = processes.worker(APP, "--processes", "2", redis_url=redis_url)
    started(supervisor, 2)
    victim = pids(supervisor)[1]
    os.kill(victim, signal.SIGKILL)
    started(supervisor, 3)
    [line] = supervisor.events("a worker process ended; it is replaced")
    assert (line["pid"], line["cause"], line["place"]) == (victim, "SIGKILL", 1)
    assert len(living(supervisor)) == 2
    assert victim not in {child.pid for child in living(supervisor)}


def test_a_worker_that_dies_again_and_again_is_replaced_more_and_more_slowly(
    processes: Processes, redis_url: str, tmp_path: Path
) -> None:
    (tmp_path / "dies.py").write_text(
        "import os\nfrom capelin import Capelin\napp = Capelin()\n"
        "@app.task\ndef task() -> None: ...\n"
        "if os.environ.get('DIE'):\n    os._exit(7)\n"
    )
    supervisor = processes.worker(
        "dies:app", "--processes", "2", redis_url=redis_url, cwd=tmp_path, env={"DIE": "1"}
    )
    ended = "a worker process ended; it is replaced"
    wait_until_sync(lambda: len(supervisor.events(ended)) >= 3, description="three deaths")
    lines = supervisor.events(ended)[:3]
    assert {line["cause"] for line in lines} == {"exit status 7"}
    pauses = [line["pause"] for line in lines]
    assert all(0.5 * 0.5 * 2**n - 0.1 <= pause <= 0.5 * 2**n + 0.1 for n, pause in enumerate(pauses)), pauses
    assert {line["place"] for line in lines} == {0}, "others were started before the first had loaded"
    supervisor.terminate()
    assert supervisor.wait_sync() == 0


def test_a_clean_stop_ends_all_of_them_and_their_jobs_are_finished(
    processes: Processes, redis_url: str, shop: Any, do: Do, run: Run
) -> None:
    supervisor = processes.worker(APP, "--processes", "2", redis_url=redis_url)
    started(supervisor, 2)
    job_id = do(lambda: shop.hold.enqueue(1)).id
    supervisor.wait_for_line_sync("holding")
    children = living(supervisor)
    supervisor.terminate()
    assert supervisor.wait_sync() == 0
    assert all(has_ended(child) for child in children)
    assert len(supervisor.events("worker stopped")) == 2
    assert run("jobs", "show", job_id, "--json").json["status"] == "completed"


def test_a_second_signal_is_passed_on_too(
    processes: Processes, redis_url: str, shop: Any, do: Do, run: Run
) -> None:
    supervisor = processes.worker(APP, "--processes", "2", redis_url=redis_url)
    started(supervisor, 2)
    job_id = do(lambda: shop.hold.enqueue(60)).id
    supervisor.wait_for_line_sync("holding")
    supervisor.interrupt()
    wait_until_sync(lambda: len(supervisor.events("worker stops")) == 2, description="both to stop")
    supervisor.interrupt()
    assert supervisor.wait_sync(timeout=10) == 0
    assert run("jobs", "show", job_id, "--json").json["status"] == "queued"


def test_ctrl_c_of_a_terminal_reaches_each_worker_once(processes: Processes, redis_url: str) -> None:
    supervisor = processes.worker(APP, "--processes", "2", redis_url=redis_url)
    started(supervisor, 2)
    groups = {os.getpgid(child.pid) for child in living(supervisor)}
    assert os.getpgid(supervisor.pid) not in groups, "the terminal would tell them as well as the supervisor"


def test_workers_end_when_their_supervisor_is_killed(processes: Processes, redis_url: str) -> None:
    supervisor = processes.worker(APP, "--processes", "2", redis_url=redis_url)
    started(supervisor, 2)
    children = living(supervisor)
    supervisor.kill()

    wait_until_sync(
        lambda: all(has_ended(child) for child in children), description="the workers to end by themselves"
    )


def test_what_is_typed_wrong_is_told_once_and_ends_it_with_2(processes: Processes, redis_url: str) -> None:
    supervisor = processes.worker("no.such.module:app", "--processes", "4", redis_url=redis_url)
    assert supervisor.wait_sync() == 2
    assert len([line for line in supervisor.lines if "no module" in line]) == 1


def test_a_burst_of_several_ends_when_nothing_is_left(
    processes: Processes, redis_url: str, shop: Any, do: Do, run: Run
) -> None:
    do(lambda: shop.app.enqueue([shop.greet.job(str(number)) for number in range(100)]))
    supervisor = processes.worker(APP, "--processes", "2", "--burst", redis_url=redis_url)
    assert supervisor.wait_sync() == 0
    listed = run("jobs", "--limit", "200", "--json").json["jobs"]
    assert [job["status"] for job in listed] == ["completed"] * 100
