"""The Redis that `dev` and `demo` start for themselves."""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from capelin.embedded import EmbeddedRedis
from capelin.errors import ConfigurationError
from tests.support.ports import free_port
from tests.support.resp import Connection
from tests.support.waiting import wait_until_sync

KINDS = ["redis-server", "fakeredis"]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    name = str(request.param)
    if name == "fakeredis":
        monkeypatch.setenv("PATH", "/nonexistent")
    elif shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    return name


def _nothing(_: str) -> None:
    """Find no module."""


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_it_answers_holds_data_and_ends_with_its_block(kind: str) -> None:
    with EmbeddedRedis() as redis:
        assert redis.kind == kind
        assert redis.kind in redis.why
        with Connection(redis.port, timeout=10) as connection:
            assert connection("SET", "a", "1") == "OK"
            assert connection("GET", "a") == "1"
    assert not listens(redis.port)


def test_it_takes_the_port_that_it_is_given(kind: str) -> None:
    del kind
    port = free_port()
    with EmbeddedRedis(port) as redis:
        assert redis.port == port
        assert redis.url == f"redis://127.0.0.1:{port}/0"


def test_a_port_that_is_taken_is_told(kind: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigurationError, match=f"{kind} does not start: .*in use"):
            EmbeddedRedis(taken.getsockname()[1])


def test_it_leaves_no_folder_behind(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    del kind
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with EmbeddedRedis():
        assert list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
def test_it_ends_when_whoever_started_it_is_killed(kind: str, number: signal.Signals, tmp_path: Path) -> None:
    del kind
    script = "from capelin.embedded import EmbeddedRedis\nprint(EmbeddedRedis().port, flush=True)\ninput()\n"
    child = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    if child.stdout is None or child.stdin is None:
        raise RuntimeError("no pipes")
    port = int(child.stdout.readline())
    assert listens(port)
    child.send_signal(number)
    child.wait()
    child.stdout.close()
    child.stdin.close()
    wait_until_sync(lambda: not listens(port), description="the embedded Redis to end")


def test_an_old_redis_server_is_left_alone_for_fakeredis(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "redis-server"
    old.write_text("#!/bin/sh\necho 'Redis server v=5.0.14 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64'\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with EmbeddedRedis() as redis:
        assert redis.kind == "fakeredis"
        assert "older than 6.2" in redis.why


def test_without_either_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(importlib.util, "find_spec", _nothing)
    with pytest.raises(
        ConfigurationError, match=r"no redis-server on the PATH, and fakeredis is not installed.*embedded"
    ):
        EmbeddedRedis()
