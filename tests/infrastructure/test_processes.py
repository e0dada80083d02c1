"""Children can be read, frozen, killed, and never outlive their test."""

import json
import os
import signal
import subprocess
import sys

import psutil
import pytest

from tests.support.processes import ROOT, Processes
from tests.support.waiting import wait_until, wait_until_sync

LOGGER = """
import json, sys, time
for number in range(3):
    print(json.dumps({"event": "started", "job": number}), flush=True)
print("not json", file=sys.stderr, flush=True)
time.sleep(600)
"""


async def test_lines_and_events_are_found_whenever_they_were_written(processes: Processes) -> None:
    child = processes.python("-c", LOGGER)
    assert await child.wait_for_line("^not") == "not json"
    assert await child.wait_for_event("started", job=1) == {"event": "started", "job": 1}
    assert (await child.wait_for_event("started", count=3))["job"] == 2
    assert len(child.events("started")) == 3
    assert child.events("ended") == []
    assert child.running


async def test_a_child_that_ends_early_fails_the_wait_at_once_and_shows_its_output(
    processes: Processes,
) -> None:
    child = processes.python("-c", "raise SystemExit('no such app')")
    with pytest.raises(AssertionError, match=r"(?s)ended \(1\) without a line with 'ready'.*no such app"):
        await child.wait_for_line("ready")
    assert await child.wait() == 1


async def test_a_vain_wait_shows_the_output(processes: Processes) -> None:
    child = processes.python("-c", LOGGER)
    await child.wait_for_line("not json")
    with pytest.raises(AssertionError, match=r"(?s)waited 0.1 s.*'ready'.*not json"):
        child.wait_for_line_sync("ready", timeout=0.1)


async def test_a_frozen_child_stands_still_until_it_is_thawed(processes: Processes) -> None:
    ticking = "import itertools, time\nfor i in itertools.count(): print(i, flush=True); time.sleep(0.01)"
    child = processes.python("-c", ticking)
    await child.wait_for_line("^5$")
    child.freeze()
    # A look of the reader's own: what is already in the pipe may still come, a thousand more ticks may not.
    seen = len(child.lines)
    await child_is_stopped(child.pid)
    assert len(child.lines) < seen + 1_000
    child.thaw()
    await child.wait_for_line(f"^{seen + 20}$")


async def child_is_stopped(pid: int) -> None:
    await wait_until(
        lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED, description="the child to be stopped"
    )


async def test_signals_arrive_and_the_exit_status_tells_of_them(processes: Processes) -> None:
    polite = (
        "import signal, sys\n"
        "signal.signal(15, lambda *_: sys.exit(7))\n"
        "print('up', flush=True)\n"
        "signal.pause()"
    )
    child = processes.python("-c", polite)
    await child.wait_for_line("up")
    child.terminate()
    assert await child.wait() == 7
    with pytest.raises(AssertionError, match="SIGTERM comes too late"):
        child.terminate()

    other = processes.python("-c", LOGGER)
    assert other.kill() == -signal.SIGKILL
    assert not other.running


async def test_ending_a_child_ends_what_it_started_even_after_it_was_killed(processes: Processes) -> None:
    parent = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)"
    )
    child = processes.python("-c", parent)
    grandchild = psutil.Process(int(await child.wait_for_line(r"^\d+$")))
    child.kill()
    assert grandchild.is_running()
    child.end()
    child.end()
    await wait_until(lambda: not alive(grandchild), description="the grandchild to be ended")


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_children_die_with_a_test_run_that_is_killed() -> None:
    program = """
from tests.support.processes import Processes
child = Processes().python("-c", "import time; time.sleep(600)")
print(child.pid, flush=True)
input()
"""
    run = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        assert run.stdout is not None
        child = psutil.Process(int(run.stdout.readline()))
        assert alive(child)
        os.kill(run.pid, signal.SIGKILL)
        wait_until_sync(lambda: not alive(child), description="the orphan to be ended")
    finally:
        run.kill()
        run.communicate()


async def test_the_environment_is_the_tests_own_and_what_is_given(processes: Processes) -> None:
    show = "import json, os; print(json.dumps(dict(os.environ)))"
    child = processes.python("-c", show, env={"CAPELIN_STALL_LIMIT": "3"})
    line = await child.wait_for_line("CAPELIN")
    seen = json.loads(line)
    assert seen["CAPELIN_STALL_LIMIT"] == "3"
    assert seen["PATH"] == os.environ["PATH"]
