"""What the README shows works: every snippet is run, every command is typed. See also `test_pages`."""

import ast
import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from capelin import Capelin
from tests.docs.snippets import Snippet, asked_for, executed, shown, snippets, typed_commands
from tests.support.processes import Processes

PYTHON = [snippet for snippet in snippets() if snippet.language == "python"]
NAMED = {snippet.file: snippet for snippet in PYTHON if snippet.page == "README.md" and snippet.file}
LOOKING = {"queues", "jobs", "workers", "shards", "schedules", "leader", "singletons"}
NOUNS = ("queue", "job", "schedule", "singleton")
_KNOWN = {"shop.py", "web.py", "views.py", "test_shop.py"}


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, redis_url: str) -> Iterator[Path]:
    """A folder with the README's files, importable, and a Redis for them."""
    for name, snippet in NAMED.items():
        (tmp_path / name).write_text(snippet.text, encoding="utf-8")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CAPELIN_REDIS_URL", redis_url)
    before = set(sys.modules)
    yield tmp_path
    for name in {Path(file).stem for file in NAMED} & (set(sys.modules) - before):
        del sys.modules[name]


def imported(name: str) -> ModuleType:
    return importlib.import_module(name)


@pytest.mark.parametrize("snippet", PYTHON, ids=str)
def test_every_python_snippet_is_python(snippet: Snippet) -> None:
    ast.parse(snippet.text)


def test_every_named_snippet_has_a_test_here() -> None:
    assert set(NAMED) == _KNOWN


def test_every_other_python_snippet_is_run_by_a_test() -> None:
    asked = asked_for()
    others = [one for one in PYTHON if one not in NAMED.values()]
    run = [one for one in others for page, word in asked if one.page == page and word in one.text]
    assert sorted({str(one) for one in others} - {str(one) for one in run}) == []


def test_the_first_task_is_shorter_than_it_promises() -> None:
    code = [line for line in NAMED["shop.py"].text.splitlines() if line.strip() and not line.startswith("#")]
    assert len(code) < 20


async def test_the_first_task_says_hello(shop: Path, processes: Processes, redis_url: str) -> None:
    worker = processes.worker("shop:app", redis_url=redis_url, cwd=shop)
    await worker.wait_for_event("worker started")
    script = processes.python("shop.py", cwd=shop, env={"CAPELIN_REDIS_URL": redis_url})
    assert await script.wait() == 0
    assert script.output.strip() == "Hello, Ada!"


async def test_what_else_a_call_can_say(capsys: pytest.CaptureFixture[str]) -> None:
    names = executed(shown("README.md", "email.send"))
    app: Capelin[Any] = names["app"]
    async with app.testing() as t:
        await names["signup"]("a@b.c")
        await names["signup"]("a@b.c")
        assert "there was one already" in capsys.readouterr().out
        assert len(t.enqueued(names["send"])) == 9  # five each time, less the duplicate
        await t.drain(raise_errors=True)


async def test_what_a_job_knows() -> None:
    names = executed(shown("README.md", "night.7"))
    app: Capelin[Any] = names["app"]
    async with app.testing() as t:
        await names["tonight"]()
        await t.drain(raise_errors=True)
        [first] = t.enqueued(names["nightly"])
        assert first.result == "testing, one of 1, leads: False"
        rows = t.enqueued(names["copy"])
        assert [row.result for row in rows] == [[first.id, first.id, "night.7"]] * 3


async def test_schedules() -> None:
    names = executed(shown("README.md", "async def opened"))
    app: Capelin[Any] = names["app"]
    assert [one.name for one in app.declared_schedules()] == ["tidy", "digest"]
    async with app.testing() as t:
        await names["opened"]("asia")
        [added] = await app.schedules.ls()
        assert (added.name, added.catch_up, added.args) == ("digest.asia", "all", ("asia",))
        await app.schedules.trigger("digest.asia")
        await t.drain(raise_errors=True)
        [run] = t.enqueued(names["digest"])
        assert run.result == "news from asia"


@pytest.mark.usefixtures("shop")
async def test_fastapi() -> None:
    web, app = imported("web"), imported("shop").app
    transport = httpx.ASGITransport(app=web.api)
    async with app.testing() as t, httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        job = (await client.post("/greetings/Ada")).json()["job"]
        assert (await client.get(f"/greetings/{job}")).json() == {"status": "queued"}
        await t.drain(raise_errors=True)
        assert (await client.get(f"/greetings/{job}")).json() == {"status": "completed"}


@pytest.mark.leaves_keys(reason="the job that the view enqueued waits")
@pytest.mark.usefixtures("shop")
def test_django() -> None:
    from django.conf import settings
    from django.test import RequestFactory

    if not settings.configured:
        settings.configure(ALLOWED_HOSTS=["testserver"], DEFAULT_CHARSET="utf-8")
    views, app = imported("views"), imported("shop").app
    try:
        response = views.create(RequestFactory().post("/greetings/Ada"), "Ada")
        job = app.job(json.loads(response.content)["job"])
        assert job.status_sync() == "queued"
    finally:
        app.close_sync()


async def test_the_test_of_the_shop_passes(shop: Path, processes: Processes) -> None:
    run = processes.python("-m", "pytest", "-q", "-o", "asyncio_mode=auto", "test_shop.py", cwd=shop)
    assert await run.wait() == 0, run.output
    assert "1 passed" in run.output


@pytest.mark.parametrize(
    ("where", "words"), typed_commands(), ids=lambda value: value if isinstance(value, str) else ""
)
async def test_every_command_shown_exists_with_those_options(
    where: str, words: list[str], shop: Path, processes: Processes
) -> None:
    # `--help` comes last, so that the words before it are parsed: an option that does not exist is an error.
    typed = processes.capelin(*words, "--help", cwd=shop)
    assert await typed.wait() == 0, f"{where}: {typed.output}"


@pytest.mark.parametrize(
    "words",
    [words for _, words in typed_commands() if words[0] in LOOKING],
    ids=" ".join,
)
async def test_every_command_that_looks_works_on_an_empty_redis(
    words: list[str], shop: Path, processes: Processes, redis_url: str
) -> None:
    typed = processes.capelin(*words, cwd=shop, env={"CAPELIN_REDIS_URL": redis_url})
    status = await typed.wait()
    assert status == 0 or any(f"no {noun}" in typed.output for noun in NOUNS), typed.output
