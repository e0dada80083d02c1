"""`capelin worker`, as a real process: it works, ends cleanly, survives, and says how it went."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import APP, Do, Run
from tests.conftest import OwnRedis
from tests.support.ports import free_port
from tests.support.processes import ROOT, Processes


def test_it_works_until_sigterm_and_ends_with_0(
    processes: Processes, redis_url: str, shop: Any, do: Do
) -> None:
    worker = processes.worker(APP, redis_url=redis_url)
    worker.wait_for_line_sync("worker started")
    assert do(lambda: result(shop.greet.enqueue("Ada"))) == "Hello, Ada!"
    worker.terminate()
    assert worker.wait_sync() == 0
    assert worker.events("worker stopped")


def test_ctrl_c_ends_it_as_well(processes: Processes, redis_url: str) -> None:
    worker = processes.worker(APP, redis_url=redis_url)
    worker.wait_for_line_sync("worker started")
    worker.interrupt()
    assert worker.wait_sync() == 0


def test_a_second_signal_hurries_and_loses_nothing(
    processes: Processes, redis_url: str, run: Run, shop: Any, do: Do
) -> None:
    worker = processes.worker(APP, redis_url=redis_url)
    worker.wait_for_line_sync("worker started")
    job_id = do(lambda: shop.hold.enqueue(60)).id
    worker.wait_for_line_sync("holding")
    worker.terminate()
    worker.wait_for_line_sync("worker stops")
    worker.terminate()
    assert worker.wait_sync(timeout=10) == 0
    assert run("jobs", "show", job_id, "--json").json["status"] == "queued"


def test_the_garbage_collector_leaves_alone_what_was_loaded(
    processes: Processes, redis_url: str, tmp_path: Path
) -> None:
    (tmp_path / "frozen.py").write_text(
        "import gc, pathlib\nfrom capelin import Capelin\napp = Capelin()\n"
        "@app.task\nasync def count() -> None:\n"
        "    pathlib.Path('counted').write_text(str(gc.get_freeze_count()))\n"
    )
    env = {"CAPELIN_REDIS_URL": redis_url}
    assert processes.capelin("enqueue", "frozen:app", "count", cwd=tmp_path, env=env).wait_sync() == 0
    assert processes.capelin("worker", "frozen:app", "--burst", cwd=tmp_path, env=env).wait_sync() == 0
    assert int((tmp_path / "counted").read_text()) > 10_000


def test_a_burst_runs_what_is_due_and_ends(
    processes: Processes, redis_url: str, run: Run, shop: Any, do: Do
) -> None:
    async def work() -> None:
        await shop.app.enqueue([shop.greet.job(str(number)) for number in range(50)])
        await shop.greet.options(delay=3600).enqueue("later")

    do(work)
    worker = processes.worker(APP, "--burst", redis_url=redis_url)
    assert worker.wait_sync() == 0
    statuses = [job["status"] for job in run("jobs", "--limit", "100", "--json").json["jobs"]]
    assert (statuses.count("completed"), statuses.count("scheduled")) == (50, 1)


def test_queues_name_and_numbers_are_taken(processes: Processes, redis_url: str, run: Run) -> None:
    worker = processes.worker(
        APP,
        "-q",
        "letters=3",
        "-q",
        "other",
        "-c",
        "7",
        "--threads",
        "2",
        "--name",
        "blue",
        redis_url=redis_url,
    )
    worker.wait_for_line_sync("worker started")
    [standing] = run("workers", "--json").json
    assert standing["queues"] == ["letters", "other"]
    assert standing["id"].startswith(f"blue-{worker.pid}-")


def test_another_prefix_is_served(processes: Processes, redis_url: str, run: Run) -> None:
    worker = processes.worker(APP, "--prefix", "elsewhere", redis_url=redis_url)
    worker.wait_for_line_sync("worker started")
    assert run("workers", "--json").json == []
    assert len(run("workers", "--prefix", "elsewhere", "--json").json) == 1


def test_the_apps_own_redis_counts_more_than_the_environments(
    processes: Processes, redis_url: str, tmp_path: Path
) -> None:
    (tmp_path / "own.py").write_text(
        f"from capelin import Capelin\napp = Capelin({redis_url!r})\n@app.task\ndef task() -> None: ...\n"
    )
    env = {"CAPELIN_REDIS_URL": f"redis://127.0.0.1:{free_port()}/0"}
    started = processes.capelin("worker", "own:app", "--burst", cwd=tmp_path, env=env)
    assert started.wait_sync() == 0
    elsewhere = processes.capelin("worker", "--app-dir", str(tmp_path), "own", "--burst", env=env)
    assert elsewhere.wait_sync() == 0
    assert elsewhere.events("worker started", app="own:app")


def test_it_keeps_trying_a_redis_that_is_not_there_yet(processes: Processes, own_redis: OwnRedis) -> None:
    redis = own_redis()
    redis.kill()
    worker = processes.worker(APP, redis_url=redis.url)
    worker.wait_for_line_sync("cannot start yet")
    redis.restart()
    worker.wait_for_line_sync("worker started")
    assert "Traceback" not in worker.output


def test_a_lifespan_that_fails_ends_it_with_1_and_says_why(
    processes: Processes, redis_url: str, tmp_path: Path
) -> None:
    (tmp_path / "sad.py").write_text(
        "from contextlib import asynccontextmanager\n"
        "from capelin import Capelin\n"
        "@asynccontextmanager\n"
        "async def lifespan():\n"
        "    raise RuntimeError('no database')\n"
        "    yield\n"
        "app = Capelin(lifespan=lifespan)\n"
        "@app.task\n"
        "def task() -> None: ...\n"
    )
    worker = processes.worker("sad:app", redis_url=redis_url, cwd=tmp_path)
    assert worker.wait_sync() == 1
    [line] = [json.loads(line) for line in worker.lines if "no database" in line]
    assert line["level"] == "critical"


def test_wrong_input_is_one_line_and_no_log(processes: Processes, redis_url: str) -> None:
    worker = processes.worker("no.such.module:app", redis_url=redis_url)
    assert worker.wait_sync() == 2
    [line] = worker.lines
    assert line.startswith("capelin: cannot load 'no.such.module:app'")


def test_logs_are_readable_on_a_terminal_and_json_elsewhere(redis_url: str) -> None:
    words = [sys.executable, "-m", "capelin", "worker", APP, "--redis", redis_url, "--burst"]
    ours, theirs = pty.openpty()
    child = subprocess.Popen(words, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs)
    os.close(theirs)
    seen = b""
    try:
        while chunk := _read(ours):
            seen += chunk
    finally:
        child.wait(timeout=30)
        os.close(ours)
    assert b"worker started" in seen
    assert b'"event"' not in seen
    assert b"\x1b[" in seen, "no colour on a terminal"
    piped = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True, timeout=30)
    assert piped.stdout == ""
    assert {json.loads(line)["level"] for line in piped.stderr.splitlines()} == {"info"}


def test_uvloop_is_used_where_it_is_installed(processes: Processes, redis_url: str, tmp_path: Path) -> None:
    pytest.importorskip("uvloop")
    (tmp_path / "which.py").write_text(
        "import asyncio\nfrom capelin import Capelin\napp = Capelin()\n"
        "@app.task\nasync def loop() -> str:\n    return type(asyncio.get_running_loop()).__module__\n"
    )
    worker = processes.worker("which:app", redis_url=redis_url, cwd=tmp_path)
    worker.wait_for_line_sync("worker started")
    asked = processes.capelin("enqueue", "which:app", "loop", "--wait", "--redis", redis_url, cwd=tmp_path)
    assert asked.wait_sync() == 0
    assert asked.lines[-1] == '"uvloop"'


def test_help_is_quick_and_loads_little() -> None:
    heavy = ["redis", "fakeredis", "pydantic", "tenacity", "structlog", "anyio", "watchfiles", "capelin.app"]
    script = (
        "import sys\nsys.argv = ['capelin', '--help']\nfrom capelin.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"loaded = [name for name in {heavy!r} if name in sys.modules]\n"
        "sys.exit(f'loaded {loaded}' if loaded else 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 0, done.stderr
    assert "worker" in done.stdout


def test_closing_the_pipe_early_is_no_error(redis_url: str, do: Do, shop: Any) -> None:
    do(lambda: shop.app.enqueue([shop.greet.job(str(number)) for number in range(300)]))
    words = [sys.executable, "-m", "capelin", "jobs", "--limit", "300", "--redis", redis_url]
    child = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if child.stdout is None or child.stderr is None:
        raise RuntimeError("no pipes")
    child.stdout.close()
    complaint = child.stderr.read()
    child.stderr.close()
    child.wait(timeout=30)
    assert complaint == ""


def test_an_outage_while_it_works_is_survived(
    processes: Processes, own_redis: OwnRedis, shop: Any, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    del run, shop
    redis = own_redis(appendonly=True)
    worker = processes.worker(APP, redis_url=redis.url)
    worker.wait_for_line_sync("worker started")
    redis.kill()
    redis.restart()
    asked = processes.capelin("enqueue", APP, "greet", '["Ada"]', "--wait", "--redis", redis.url)
    assert asked.wait_sync() == 0
    assert asked.lines[-1] == '"Hello, Ada!"'
    monkeypatch.undo()


async def result(enqueueing: Any) -> Any:
    job = await enqueueing
    return await job.result(timeout=20)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # the other end is closed
        return b""
