"""`capelin dev`: a Redis if none answers, new code as it is written, and nothing left behind."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.ports import free_port
from tests.support.processes import ChildProcess, Processes
from tests.support.waiting import wait_until_sync

MODULE = """
from capelin import Capelin

app = Capelin()


@app.task
async def answer() -> str:
    return "{answer}"
"""

NO_REDIS_SERVER = "/nonexistent"


def write(folder: Path, answer: str) -> None:
    (folder / "desk.py").write_text(MODULE.format(answer=answer))


def ask(folder: Path, url: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "capelin", "enqueue", "desk:app", "answer", "--timeout", "20", "--redis", url],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.strip()


def answers(url: str) -> bool:
    words = [sys.executable, "-m", "capelin", "queues", "--redis", url]
    return subprocess.run(words, capture_output=True, check=False, timeout=60).returncode == 0


def started(dev: ChildProcess, count: int) -> None:
    wait_until_sync(
        lambda: len(dev.events("worker started")) >= count, description=f"{count} starts of the worker"
    )


@pytest.mark.parametrize("path", [os.environ["PATH"], NO_REDIS_SERVER], ids=["redis-server", "fakeredis"])
def test_a_redis_is_started_at_the_very_url_if_none_answers(
    processes: Processes, tmp_path: Path, path: str, request: pytest.FixtureRequest
) -> None:
    if path != NO_REDIS_SERVER:
        request.getfixturevalue("redis_binary")
    write(tmp_path, "one")
    url = f"redis://localhost:{free_port()}/3"
    env = {"CAPELIN_REDIS_URL": url, "PATH": path}
    dev = processes.capelin("dev", "desk:app", cwd=tmp_path, env=env)
    started(dev, 1)
    [line] = [line for line in dev.events() if line["event"].startswith("no Redis answers")]
    assert line["redis"] == url
    assert ("fakeredis" if path == NO_REDIS_SERVER else "redis-server") in line["started"]
    assert ask(tmp_path, url) == '"one"'
    dev.interrupt()
    assert dev.wait_sync() == 0
    assert not answers(url), "its Redis is still there"


def test_a_redis_that_answers_is_used(processes: Processes, tmp_path: Path, redis_url: str) -> None:
    write(tmp_path, "one")
    dev = processes.capelin("dev", "desk:app", "--redis", redis_url, cwd=tmp_path)
    started(dev, 1)
    assert "no Redis answers" not in dev.output
    assert ask(tmp_path, redis_url) == '"one"'
    dev.terminate()
    assert dev.wait_sync() == 0
    assert answers(redis_url)


def test_another_machines_redis_is_replaced_by_one_on_a_free_port(
    processes: Processes, tmp_path: Path
) -> None:
    write(tmp_path, "one")
    dev = processes.capelin("dev", "desk:app", "--redis", "redis://redis.invalid:6379", cwd=tmp_path)
    started(dev, 1)
    [line] = [line for line in dev.events() if line["event"].startswith("no Redis answers")]
    assert line["redis"].startswith("redis://127.0.0.1:")
    assert ask(tmp_path, line["redis"]) == '"one"'


def test_the_worker_starts_anew_when_code_changes(
    processes: Processes, tmp_path: Path, redis_url: str
) -> None:
    write(tmp_path, "one")
    dev = processes.capelin("dev", "desk:app", "--redis", redis_url, cwd=tmp_path)
    started(dev, 1)
    assert ask(tmp_path, redis_url) == '"one"'

    write(tmp_path, "two")
    started(dev, 2)
    assert dev.events("the code changed; the worker starts anew", files="desk.py")
    assert ask(tmp_path, redis_url) == '"two"'

    (tmp_path / "desk.py").write_text("def (\n")
    dev.wait_for_line_sync("waiting for a change of the code")
    assert "SyntaxError" in dev.output
    assert "Traceback" not in dev.output

    write(tmp_path, "three")
    started(dev, 3)
    assert ask(tmp_path, redis_url) == '"three"'
    dev.interrupt()
    assert dev.wait_sync() == 0


def test_what_is_typed_wrong_is_told_in_a_line(processes: Processes, tmp_path: Path) -> None:
    write(tmp_path, "one")
    dev = processes.capelin("dev", "dsk:app", cwd=tmp_path)
    assert dev.wait_sync() == 2
    assert dev.lines == ["capelin: cannot load 'dsk:app': there is no module 'dsk'; did you mean 'desk'?"]


def test_arguments_are_read_back_and_compared(processes: Processes, tmp_path: Path, redis_url: str) -> None:
    (tmp_path / "desk.py").write_text(
        "from capelin import Capelin\napp = Capelin()\n@app.task\nasync def checks() -> bool:\n"
        "    return app.check_round_trip\n"
    )
    dev = processes.capelin("dev", "desk:app", "--redis", redis_url, cwd=tmp_path)
    started(dev, 1)
    asked = processes.capelin("enqueue", "desk:app", "checks", "--wait", "--redis", redis_url, cwd=tmp_path)
    assert asked.wait_sync() == 0
    assert asked.lines[-1] == "true"


def test_it_stays_out_of_the_scheduler_when_told_to(
    processes: Processes, tmp_path: Path, redis_url: str
) -> None:
    write(tmp_path, "one")
    dev = processes.capelin("dev", "desk:app", "--no-scheduler", "--redis", redis_url, cwd=tmp_path)
    started(dev, 1)

    def workers() -> list[dict[str, object]]:
        asked = processes.capelin("workers", "--json", "--redis", redis_url)
        assert asked.wait_sync() == 0
        found: list[dict[str, object]] = json.loads(asked.output)
        return found

    wait_until_sync(workers, description="its worker to be a member")
    assert [worker["candidate"] for worker in workers()] == [False]
