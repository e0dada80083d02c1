"""Every command before every torn key that it touches: the key is named, and nothing is half done."""

import asyncio
import os
import re
from collections.abc import Iterator
from typing import Literal

import pytest

from tests.cli.conftest import Run
from tests.support.commands import CommandRecorder
from tests.support.servers import RedisServer
from tests.support.worlds import World, build, everything, put_back, tear

pytestmark = pytest.mark.usefixtures("redis_server")

LOOKS = (
    "queues",
    "queues show default",
    "queues reshard default",
    "queues drain default --timeout 0",
    "jobs",
    "jobs show {dead}",
    "dlq",
    "dlq show {dead}",
    "workers",
    "workers show pod-3",
    "shards",
    "schedules",
    "schedules show digest",
    "schedules next digest",
    "leader",
    "singletons",
    "singletons show indexer",
)
DEEDS = (
    "queues pause default",
    "queues resume default",
    "queues purge default --yes",
    "queues reshard default 4 --yes",
    "jobs cancel {keyed} --yes",
    "jobs cancel --all --yes",
    "jobs retry {dead}",
    "jobs retry {later}",
    "jobs retry --status failed",
    "dlq replay --all",
    "dlq replay {dead}",
    "dlq purge --all --yes",
    "workers quiet pod-1",
    "workers resume pod-3",
    "workers stop pod-2 --yes",
    "schedules pause digest",
    "schedules resume digest",
    "schedules trigger digest",
    "schedules add other every:60 greet",
    "schedules rm digest --yes",
    'enqueue tests.cli.apps.shop:app greet ["x"]',
)
COMMANDS = [*LOOKS, *DEEDS]
EVERY_WAY = os.environ.get("CAPELIN_TEST_TORN") == "all"
BARE = re.compile(r"WRONGTYPE|user_script|Traceback|ERR ")


@pytest.fixture(scope="module")
def torn_server() -> Iterator[RedisServer]:
    """A server of this module's own, since what is built in it is put back again and again."""
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module")
def world(torn_server: RedisServer) -> World:
    """All that capelin keeps, whole."""
    with torn_server.connect() as asked:
        return asyncio.run(build(torn_server.url, asked))


def touched(run: Run, server: RedisServer, world: World, words: list[str]) -> list[str]:
    """Return the names of the keys that a command reads or writes."""
    with server.connect() as asked:
        put_back(asked, world)
    with CommandRecorder(server) as recorder:
        said = run(*words, "--redis", server.url)
    assert said.status in {0, 1}, said
    seen = {word for command in recorder.commands for word in command.words}
    return [name for name, key in world.keys.items() if key in seen]


def ways(command: str, names: list[str]) -> Iterator[tuple[str, Literal["type", "rubbish"]]]:
    """Tear each key in one way, commands taking turns; in both with CAPELIN_TEST_TORN=all."""
    for place, name in enumerate(names, COMMANDS.index(command)):
        if place % 2 or EVERY_WAY:
            yield name, "rubbish"
        if not place % 2 or EVERY_WAY:
            yield name, "type"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_torn_key_is_named_and_nothing_is_half_done(
    run: Run, world: World, torn_server: RedisServer, command: str
) -> None:
    words = [word.format(**world.jobs) for word in command.split()]
    names = touched(run, torn_server, world, words)
    assert names, "this command reads nothing"
    with torn_server.connect() as asked:
        for name, how in ways(command, names):
            put_back(asked, world)
            if not tear(asked, world.keys[name], how):
                continue
            said = run(*words, "--redis", torn_server.url)
            case = f"{command}, {how} of {name}: {said}"
            assert said.status in {0, 1, 2}, case
            assert not BARE.search(said.err), case
            if said.status == 2:
                assert said.err.startswith("capelin: "), case
                assert len(said.err.splitlines()) == 1, case
                after = everything(asked)
                put_back(asked, world)
                tear(asked, world.keys[name], how)
                assert after == everything(asked), f"half done: {case}"
            if said.status and how == "type" and "capelin: no " not in said.err:
                assert world.keys[name] in said.err + said.out or command.startswith("queues drain"), case
