"""What running jobs log says which job it was: from coroutines, threads and processes, either library."""

from typing import Any

import pytest

from tests.cli.conftest import APP, Do
from tests.support.processes import Processes
from tests.support.waiting import wait_until_sync


@pytest.mark.parametrize(
    "task", ["say_async", "say_in_a_thread", "say_in_a_process"], ids=["coroutine", "thread", "process"]
)
def test_lines_of_a_job_are_bound_to_it(
    processes: Processes, redis_url: str, shop: Any, do: Do, task: str
) -> None:
    suffix = "" if task == "say_async" else task.removeprefix("say").replace("_", " ")
    worker = processes.worker(APP, redis_url=redis_url)
    worker.wait_for_line_sync("worker started")

    async def work() -> str:
        job = await getattr(shop, task).enqueue()
        return str(await job.result(timeout=30))

    job_id = do(work)
    bound = {"job": job_id, "task": task, "queue": "default", "attempt": 1}
    for event, level in ((f"from structlog{suffix}", "info"), (f"from logging{suffix}", "warning")):
        worker.wait_for_line_sync(f'"event": "{event}"')
        [line] = worker.events(event)
        assert {name: line[name] for name in bound} == bound
        assert line["worker"].split("-")[-2] == str(worker.pid)
        assert line["level"] == level


def test_the_level_of_the_environment_holds_in_every_kind_of_task(
    processes: Processes, redis_url: str, shop: Any, do: Do
) -> None:
    worker = processes.worker(APP, redis_url=redis_url, env={"CAPELIN_LOG_LEVEL": "warning"})

    async def work() -> None:
        for task in (shop.say_async, shop.say_in_a_thread, shop.say_in_a_process):
            await (await task.enqueue()).result(timeout=30)

    do(work)
    wait_until_sync(lambda: len(worker.events()) >= 3, description="three warnings")
    assert {line["level"] for line in worker.events()} == {"warning"}
    assert len(worker.events()) == 3


def test_an_app_that_configures_logging_itself_keeps_its_ways(
    processes: Processes, redis_url: str, tmp_path: Any
) -> None:
    (tmp_path / "own_ways.py").write_text(
        "import logging, logging.config\n"
        "from capelin import Capelin\n"
        "logging.config.dictConfig({'version': 1, 'formatters': {'f': {'format': 'MINE %(message)s'}},\n"
        "    'handlers': {'h': {'class': 'logging.StreamHandler', 'formatter': 'f'}},\n"
        "    'root': {'handlers': ['h'], 'level': 'INFO'}})\n"
        "app = Capelin()\n"
        "@app.task\n"
        "async def speak() -> None:\n"
        "    logging.getLogger('x').info('spoken')\n"
    )
    enqueued = processes.capelin("enqueue", "own_ways:app", "speak", "--redis", redis_url, cwd=tmp_path)
    assert enqueued.wait_sync() == 0
    worker = processes.worker("own_ways:app", "--burst", redis_url=redis_url, cwd=tmp_path)
    assert worker.wait_sync() == 0
    assert "MINE spoken" in worker.lines
    assert worker.events("worker started"), "what capelin itself says is not lost"
