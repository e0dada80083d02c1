"""The pytest plugin, in projects of its users."""

import json
import textwrap

import pytest

APP = """
from dataclasses import dataclass, field
from capelin import Capelin

@dataclass
class Resources:
    sent: list = field(default_factory=list)

app = Capelin("redis://nowhere.invalid:1")

@app.task
async def send(to: str) -> int:
    return len(to)
"""
TEST = """
from shop import app, send

async def enqueue_one():
    return await send.enqueue("ann")

async def check(capelin_testing):
    t = capelin_testing(app)
    job = await enqueue_one()
    assert t.enqueued(send, "ann")
    assert await t.drain(raise_errors=True) == 1
    assert await job.result() == 3
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project with an app."""
    pytester.makepyfile(shop=APP)
    pytester.makepyprojecttoml("[tool.pytest.ini_options]\nfilterwarnings = ['error']\npythonpath = ['.']\n")
    return pytester


STRICT = ("-o", "asyncio_mode=strict", "-o", "asyncio_default_fixture_loop_scope=function")


def run(project: pytest.Pytester, *args: str) -> pytest.RunResult:
    return project.runpytest_subprocess("-p", "no:cacheprovider", *args)


def test_under_pytest_asyncio_in_strict_mode(project: pytest.Pytester) -> None:
    project.makepyfile(
        test_shop=TEST
        + textwrap.dedent("""
        import pytest

        @pytest.mark.asyncio
        async def test_first(capelin_testing):
            await check(capelin_testing)

        @pytest.mark.asyncio
        async def test_second(capelin_testing):
            await check(capelin_testing)
        """)
    )
    run(project, "-p", "no:anyio", *STRICT).assert_outcomes(passed=2)


def test_under_anyio(project: pytest.Pytester) -> None:
    project.makepyfile(
        test_shop=TEST
        + textwrap.dedent("""
        import pytest

        pytestmark = pytest.mark.anyio

        @pytest.fixture
        def anyio_backend():
            return "asyncio"

        async def test_first(capelin_testing):
            await check(capelin_testing)

        async def test_second(capelin_testing):
            await check(capelin_testing)
        """)
    )
    run(project, "-p", "no:asyncio").assert_outcomes(passed=2)


def test_in_a_fixture_of_the_users_own(project: pytest.Pytester) -> None:
    project.makepyfile(
        test_shop=TEST
        + textwrap.dedent("""
        import pytest
        import pytest_asyncio

        @pytest_asyncio.fixture
        async def t(capelin_testing):
            async with app.testing() as t:
                yield t

        @pytest.mark.asyncio
        async def test_one(t):
            await enqueue_one()
            assert t.enqueued(send)
            assert await t.drain() == 1

        @pytest.mark.asyncio
        async def test_other(t):
            assert not t.enqueued(send)
        """)
    )
    run(project, *STRICT).assert_outcomes(passed=2)


def test_without_any_plugin_for_asynchronous_tests(project: pytest.Pytester) -> None:
    project.makepyfile(
        test_shop=textwrap.dedent("""
        import threading
        from shop import app, send

        def test_sync(capelin_testing):
            t = capelin_testing(app)
            job = send.enqueue_sync("ann")
            assert t.drain_sync() == 1
            assert job.result_sync() == 3

        def test_nothing_is_left():
            assert app.url == "redis://nowhere.invalid:1"
            assert threading.active_count() == 1
        """)
    )
    run(project, "-p", "no:anyio", "-p", "no:asyncio").assert_outcomes(passed=2)


def test_a_run_that_does_not_use_it_imports_nothing_of_capelin(project: pytest.Pytester) -> None:
    project.makepyfile(
        test_other=textwrap.dedent("""
        import json, sys

        def test_nothing():
            names = [name for name in sys.modules if name.partition(".")[0] == "capelin"]
            print("loaded", json.dumps(sorted(names)))
        """)
    )
    result = run(project, "-s", "-p", "no:anyio", "-p", "no:asyncio")
    result.assert_outcomes(passed=1)
    [line] = [line for line in result.outlines if "loaded [" in line]
    assert json.loads(line[line.index("[") :].rstrip(".")) == ["capelin", "capelin.pytest_plugin"]
