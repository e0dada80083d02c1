"""Guarantee 13: no pickle.

What is in Redis is text, and JSON where it has structure: any language reads it. What cannot be encoded
exactly fails at the call site, before anything is written.
"""

import ast
import json
import math
import pickle
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel

import capelin
from capelin import Capelin, FailedJob, Reject, current_job
from capelin.errors import InvalidArguments, InvalidResult, JobFailed, PayloadTooLarge
from capelin.jobs import Job
from capelin.tasks import Task
from tests.support.census import take_census
from tests.support.resp import Reply
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until
from tests.support.workers import QUICK, RunningWorker


class Colour(Enum):
    """A sample."""

    RED = "red"


class Address(BaseModel):
    """A sample."""

    street: str
    number: int = 1


class Home(Address):
    """A sample: where an address is asked for, it would come back as one."""

    floor: int = 0


@dataclass
class Point:
    """A sample."""

    x: float
    y: float


@pytest.fixture
async def app(redis_server: RedisServer) -> AsyncIterator[Capelin[None]]:
    app = Capelin(redis_server.url, name="payloads", settings=QUICK.model_copy(update={"shards": 1}))

    @app.task
    async def told(job: FailedJob) -> str:
        return job.reason

    @app.task
    async def keep(
        when: datetime,
        name: UUID,
        price: Decimal,
        colour: Colour,
        address: Address,
        *,
        point: Point,
        picture: bytes,
        scores: dict[str, list[float | None]],
        pause: timedelta = timedelta(0),
    ) -> tuple[datetime, Address, bytes, str]:
        await current_job().progress(0.5, "half way")
        return when, address, picture, repr((name, price, colour, point, scores, pause))

    @app.task(on_failure=told)
    async def refuse(word: str) -> None:
        raise Reject(f"no {word}")

    async with app:
        yield app


def record_of(server: RedisServer, job: Job[Any]) -> dict[str, str]:
    """The job's record as it is."""
    return take_census(server)[job.id].record


async def test_arguments_and_results_are_json_that_is_read_by_hand(
    app: Capelin[None], redis_server: RedisServer, running_worker: RunningWorker
) -> None:
    keep: Task[..., Any] = app.tasks["keep"]
    job = await keep.options(headers={"trace": "a-1"}, then=app.tasks["told"].job(failed_job())).enqueue(
        datetime(2026, 3, 1, 12, 30, tzinfo=timezone(timedelta(hours=2))),
        UUID("12345678-1234-5678-1234-567812345678"),
        Decimal("19.90"),
        Colour.RED,
        Address(street="Sea Road"),
        point=Point(1.5, -2.0),
        picture=b"\x00\xff",
        scores={"a": [1.0, None]},
        pause=timedelta(minutes=1),
    )
    args = [
        [
            "2026-03-01T12:30:00+02:00",
            "12345678-1234-5678-1234-567812345678",
            "19.90",
            "red",
            {"street": "Sea Road", "number": 1},
        ],
        {
            "point": {"x": 1.5, "y": -2.0},
            "picture": "AP8=",
            "scores": {"a": [1.0, None]},
            "pause": "PT1M",
        },
    ]
    record = record_of(redis_server, job)
    assert json.loads(record["args"]) == args
    assert json.loads(record["headers"]) == {"trace": "a-1"}
    assert json.loads(record["then"])[0] == "told"
    assert record["task"] == "keep"
    await running_worker(app)
    when, address, picture, rest = await job.result(timeout=10)
    assert when == datetime(2026, 3, 1, 10, 30, tzinfo=UTC)
    assert (when.utcoffset(), address, picture) == (
        timedelta(hours=2),
        Address(street="Sea Road"),
        b"\x00\xff",
    )
    assert rest == repr(
        (
            UUID("12345678-1234-5678-1234-567812345678"),
            Decimal("19.90"),
            Colour.RED,
            Point(1.5, -2.0),
            {"a": [1.0, None]},
            timedelta(minutes=1),
        )
    )
    record = record_of(redis_server, job)
    result = ["2026-03-01T12:30:00+02:00", {"street": "Sea Road", "number": 1}, "AP8=", rest]
    assert json.loads(record["result"]) == result
    assert json.loads(record["progress"]) == [0.5, "half way"]


def failed_job() -> FailedJob:
    """A value with much in it."""
    error = capelin.JobError(type="E", message="m")
    return FailedJob(
        job_id="a.1.b", task="t", args=([1], {"a": 2}), attempt=1, crashes=0, reason="r", error=error
    )


async def test_a_plain_call_is_written_as_one_would_write_it(
    app: Capelin[None], redis_server: RedisServer
) -> None:
    @app.task
    async def send(to: str, subject: str = "hi") -> int:
        return len(to + subject)

    job = await send.enqueue("a@b.c", subject="größe")
    assert record_of(redis_server, job)["args"] == '[["a@b.c"],{"subject":"größe"}]'


async def test_everything_in_redis_is_text_and_what_has_structure_is_json(
    app: Capelin[None], redis_server: RedisServer, running_worker: RunningWorker
) -> None:
    await running_worker(app)
    refuse: Task[..., Any] = app.tasks["refuse"]
    job = await refuse.options(dedupe_key="k", timeout=5).enqueue("way")
    with pytest.raises(JobFailed):
        await job.result(timeout=10)
    await wait_until(
        lambda: len(take_census(redis_server).of_task("told")) == 1, description="on_failure to be added"
    )
    await refuse.options(delay=60, expires=60).enqueue("later")
    seen = 0
    for key in redis_server.keys():  # noqa: SIM118 -- not a dict
        for text in texts_of(redis_server, key):
            seen += 1
            assert not any("\udc80" <= char <= "\udcff" for char in text), (key, text)
            if text[:1] in "[{":
                json.loads(text)
    assert seen > 50
    record = record_of(redis_server, job)
    assert json.loads(record["error"])["message"] == "no way"
    failures = redis_server.command("LRANGE", f"capelin:{{default:0}}:failures:{job.id}", 0, -1)
    assert isinstance(failures, list)
    assert [json.loads(str(failure))["error"]["type"] for failure in failures] == ["Reject"]


def texts_of(server: RedisServer, key: str) -> list[str]:
    """Every text that a key holds."""

    def flat(reply: Reply) -> list[str]:
        if isinstance(reply, list):
            return [text for item in reply for text in flat(item)]
        return [str(reply)]

    read: dict[object, tuple[str | int, ...]] = {
        "string": ("GET", key),
        "hash": ("HGETALL", key),
        "list": ("LRANGE", key, 0, -1),
        "zset": ("ZRANGE", key, 0, -1),
        "set": ("SMEMBERS", key),
        "stream": ("XRANGE", key, "-", "+"),
    }
    return flat(server.command(*read[server.command("TYPE", key)]))


# Pickle


def test_nothing_but_the_pipe_to_a_workers_own_children_knows_pickle() -> None:
    package = Path(capelin.__file__).parent
    found: dict[str, set[str]] = {}
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or "", *(alias.name for alias in node.names)]
            bad = {name.split(".")[0] for name in names} & {
                "pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib",
            }  # fmt: skip
            if bad:
                found[path.relative_to(package).as_posix()] = bad
    assert found == {"workers/processes.py": {"pickle"}}


async def test_no_job_on_the_loop_or_in_a_thread_is_ever_pickled(
    app: Capelin[None],
    running_worker: RunningWorker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @app.task
    def double(number: int) -> int:
        return number * 2

    @app.task
    async def triple(number: int) -> int:
        return number * 3

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("pickled")

    for name in ("dumps", "loads", "dump", "load", "Pickler", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    await running_worker(app)
    assert await (await double.enqueue(4)).result(timeout=10) == 8
    assert await (await triple.enqueue(4)).result(timeout=10) == 12


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return open, (str(self.path), "w")


async def test_a_pickle_that_somebody_put_into_redis_is_never_opened(
    app: Capelin[None], redis_server: RedisServer, running_worker: RunningWorker, tmp_path: Path
) -> None:
    bomb = tmp_path / "bomb"
    text = pickle.dumps(Bomb(bomb))
    jobs: list[Job[Any]] = []
    for field in ("a", "headers", "retry"):
        job = await app.tasks["refuse"].enqueue("x")
        redis_server.command("HSET", f"capelin:{{default:0}}:job:{job.id}", field, text)
        jobs.append(job)
    await running_worker(app)
    for job in jobs:
        with pytest.raises(JobFailed):
            await job.result(timeout=10)
    assert not bomb.exists()


# What cannot be encoded exactly


def itself() -> list[Any]:
    """A list that contains itself."""
    value: list[Any] = []
    value.append(value)
    return value


class Count(int):
    """A kind of int: it would come back as an int."""


INEXACT: dict[str, tuple[Any, Any]] = {
    "nan": (float, math.nan),
    "infinity": (float, math.inf),
    "nan-inside": (Any, {"a": [1.0, math.nan]}),
    "decimal-nan": (Decimal, Decimal("NaN")),
    "an-object": (Any, object()),
    "a-set-where-anything-goes": (Any, {1, 2}),
    "a-tuple-where-anything-goes": (Any, (1, 2)),
    "bytes-where-anything-goes": (Any, b"\xff"),
    "a-moment-where-anything-goes": (Any, datetime(2026, 1, 1, tzinfo=UTC)),
    "keys-that-are-numbers": (Any, {1: "one"}),
    "a-subclass-of-int": (int, Count(3)),
    "a-subclass-of-the-model": (Address, Home(street="Sea Road", floor=3)),
    "a-number-for-a-text": (str, 5),
    "a-text-for-a-number": (int, "5"),
    "a-bool-for-a-number": (int, True),
    "half-a-character": (str, "\ud800"),
    "itself": (Any, itself()),
    "an-exception": (Any, ValueError("no")),
    "a-function": (Any, print),
}
inexact = pytest.mark.parametrize(
    ("hint", "value"), [pytest.param(hint, value, id=name) for name, (hint, value) in INEXACT.items()]
)


@inexact
async def test_what_cannot_be_encoded_exactly_fails_at_the_call_site_with_nothing_written(
    app: Capelin[None], redis_server: RedisServer, hint: Any, value: Any
) -> None:
    async def take(value: Any) -> None: ...

    take.__annotations__["value"] = hint
    task: Task[..., Any] = app.task(take)
    for call in (task.enqueue, task.options(delay=5).enqueue):
        with pytest.raises(InvalidArguments):
            await call(value)
        with pytest.raises(InvalidArguments):
            await call(value=value)
    with pytest.raises(InvalidArguments):
        await app.enqueue([app.tasks["refuse"].job("x"), task.job(value)])
    with pytest.raises(InvalidArguments):
        app.tasks["refuse"].options(then=task.job(value))
    assert redis_server.keys() == set()


@pytest.mark.parametrize(
    "value", [math.nan, (1,), b"a", {1: 2}, Ellipsis, datetime(2026, 1, 1, tzinfo=UTC)], ids=repr
)
async def test_a_task_known_by_name_takes_plain_json_and_nothing_else(
    app: Capelin[None], redis_server: RedisServer, value: Any
) -> None:
    with pytest.raises(InvalidArguments):
        await app.task_named("elsewhere").enqueue(value)
    with pytest.raises(InvalidArguments):
        await app.task_named("elsewhere").enqueue(key=[value])
    assert redis_server.keys() == set()


async def test_a_payload_that_is_too_large_is_refused_with_nothing_written(redis_server: RedisServer) -> None:
    settings = QUICK.model_copy(update={"max_payload_bytes": 1000})
    async with Capelin(redis_server.url, name="large", settings=settings) as app:

        @app.task
        async def take(text: str) -> int:
            return len(text)

        with pytest.raises(PayloadTooLarge, match="1,000"):
            await take.enqueue("ä" * 499)  # fewer characters than bytes
        assert redis_server.keys() == set()
        await take.enqueue("a" * 900)
        assert take_census(redis_server).statuses == {"queued": 1}
        redis_server.flush()


@inexact
async def test_a_result_that_cannot_be_encoded_exactly_fails_its_job_and_is_not_tried_again(
    app: Capelin[None], redis_server: RedisServer, running_worker: RunningWorker, hint: Any, value: Any
) -> None:
    starts = 0

    async def give() -> Any:
        nonlocal starts
        starts += 1
        return value

    give.__annotations__["return"] = hint
    task: Task[..., Any] = app.task(give)
    await running_worker(app)
    job = await task.enqueue()
    with pytest.raises(JobFailed) as caught:
        await job.result(timeout=10)
    assert caught.value.error_type == InvalidResult.__name__
    assert starts == 1
    assert "result" not in record_of(redis_server, job)
