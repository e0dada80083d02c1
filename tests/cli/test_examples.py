"""The examples run as their first lines say."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.support.ports import free_port
from tests.support.processes import ROOT, Processes

EXAMPLES = ROOT / "examples"


def test_the_quickstart_runs(processes: Processes, redis_url: str) -> None:
    worker = processes.worker("examples.quickstart:app", redis_url=redis_url)
    worker.wait_for_line_sync("worker started")
    ran = processes.python("-m", "examples.quickstart", env={"CAPELIN_REDIS_URL": redis_url})
    assert ran.wait_sync() == 0
    assert "Hello, Ada! Hello, Ada!" in ran.output
    assert "{'a': 4, 'l': 3, 'i': 3}" in ran.output
    assert "Ada: 10 December" in ran.output
    [line] = worker.events("greeting")
    assert (line["name"], line["task"]) == ("Ada", "greet")
    asked = processes.capelin(
        "enqueue", "examples.quickstart:app", "greet", '{"name": "Ada"}', "--wait", "--redis", redis_url
    )
    assert asked.wait_sync() == 0
    assert asked.lines[-1] == '"Hello, Ada!"'


def test_the_fastapi_example_enqueues_and_tells(
    processes: Processes, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    httpx = pytest.importorskip("httpx")
    pytest.importorskip("fastapi")
    monkeypatch.setenv("CAPELIN_REDIS_URL", redis_url)
    from examples import fastapi_app

    async def signups() -> tuple[dict[str, Any], dict[str, Any], int]:
        transport = httpx.ASGITransport(app=fastapi_app.api)
        async with (
            fastapi_app.lifespan(fastapi_app.api),
            httpx.AsyncClient(transport=transport, base_url="http://test") as client,
        ):
            first = (await client.post("/signup", params={"address": "a@b.c"})).json()
            second = (await client.post("/signup", params={"address": "a@b.c"})).json()
            assert second == {"job": first["job"], "duplicate": True}
            waiting = (await client.get(f"/jobs/{first['job']}")).json()
            worker = processes.worker("examples.fastapi_app:app", "--burst", redis_url=redis_url)
            assert await worker.wait() == 0
            ended = (await client.get(f"/jobs/{first['job']}")).json()
            missing = await client.get("/jobs/emails.0.nothing")
            return waiting, ended, missing.status_code

    waiting, ended, missing = asyncio.run(signups())
    assert waiting == {"status": "queued", "result": None}
    assert ended == {"status": "completed", "result": "sent to a@b.c"}
    assert missing == 404


def test_the_django_example_serves_and_works(processes: Processes, redis_url: str) -> None:
    pytest.importorskip("django")
    port = free_port()
    env = {"CAPELIN_REDIS_URL": redis_url}
    site = processes.python(
        "-m", "examples.django_app", "runserver", "--noreload", f"127.0.0.1:{port}", env=env, name="django"
    )
    site.wait_for_line_sync("Starting development server")
    script = (
        f"import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:{port}/orders/7').read())"
    )
    asked = processes.python("-c", script)
    assert asked.wait_sync() == 0
    assert '"order": 7' in asked.output
    worker = processes.worker("examples.django_app:app", "--burst", redis_url=redis_url)
    assert worker.wait_sync() == 0
    listed = processes.capelin("jobs", "--json", "--redis", redis_url)
    assert listed.wait_sync() == 0
    assert '"result": "order 7 is confirmed"' in listed.output


def test_there_is_a_test_for_every_example() -> None:
    source = Path(__file__).read_text()
    for example in EXAMPLES.glob("*.py"):
        assert f"examples.{example.stem}" in source
