"""`--processes N --http`: one port answers for all, whoever dies."""

import signal
from typing import Any

import psutil

from capelin import Capelin
from tests.probes.asking import Asked
from tests.probes.conftest import Ask
from tests.support.waiting import wait_until_sync


def completed(supervisor: Asked) -> float:
    return supervisor.metrics().of("capelin_jobs_completed_total", task="nap")


async def test_one_port_answers_for_all_of_them(ask: Ask, client: Capelin[Any]) -> None:
    supervisor = ask("tests.probes.apps.watched:app", "--processes", "2", "-c", "1")
    supervisor.until_ready(timeout=30)
    for path in ("/health", "/health/live", "/health/ready"):
        assert '"process": 0' in supervisor.get(path).body
        assert '"process": 1' in supervisor.get(path).body
    task = client.task_named("nap")
    await client.enqueue([task.job(0.05) for _ in range(20)])
    wait_until_sync(lambda: completed(supervisor) == 20, description="the work of both to be counted")
    samples = supervisor.metrics()
    assert samples.of("capelin_slots", pool="loop") == 2
    assert samples.of("capelin_shard_leases") == 16
    assert samples.of("capelin_jobs_enqueued_total") == 20
    assert samples.of("capelin_leader") == 1

    # One that stands still.
    pids = [int(line["pid"]) for line in supervisor.process.events("worker process started")]
    frozen = psutil.Process(pids[1])
    frozen.send_signal(signal.SIGSTOP)
    said = supervisor.until_failing("/health/live", "process")
    assert said == "it does not answer"
    assert completed(supervisor) == 20, "a counter that falls counts everything twice"

    # One that dies, and is replaced.
    frozen.send_signal(signal.SIGKILL)
    wait_until_sync(lambda: supervisor.live().status == 200, description="it to be replaced")
    supervisor.until_ready(timeout=30)
    assert completed(supervisor) == 20
    await task.enqueue(0.0)
    wait_until_sync(lambda: completed(supervisor) == 21, description="the next to be counted")
    supervisor.process.terminate()
    assert await supervisor.process.wait() == 0
