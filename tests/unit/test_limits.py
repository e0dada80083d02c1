"""Nothing that people or programs hand in may be of any size: each limit, just below and just above."""

import http.client
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from capelin import (
    Capelin,
    InvalidName,
    InvalidOption,
    InvalidState,
    InvalidURL,
    JobFailed,
    JobRequest,
    PayloadTooLarge,
    current_job,
)
from capelin.connection import connect
from capelin.names import MAX_NAME_LENGTH, check_name
from capelin.options import MAX_CHAIN, MAX_HEADERS, MAX_HEADERS_BYTES, MAX_KEY_BYTES, CallOptions
from capelin.probes.server import Address, ProbeServer
from capelin.requests import check_request_size
from capelin.settings import Settings
from capelin.singletons import MAX_STATE_BYTES
from capelin.workers.outcomes import failure_json

app = Capelin("memory://limits")


class Text(BaseModel):
    """A state that can be large."""

    text: str = ""


@app.singleton("writer", state=Text)
async def writer(leader: Any) -> None:
    del leader


def test_arguments_are_counted_in_bytes_with_those_of_what_follows() -> None:
    def job(args: str, then: JobRequest[Any] | None = None) -> JobRequest[Any]:
        return JobRequest(task="t", queue="q", args=args, then=then)

    check_request_size(job("ä" * 50), 100)
    check_request_size(job("ä" * 25, job("ä" * 25)), 100)
    for large in (job("ä" * 51), job("ä" * 25, job("x" * 25, job("x" * 26)))):
        with pytest.raises(PayloadTooLarge) as caught:
            check_request_size(large, 100)
        assert caught.value.size > caught.value.limit == 100


def test_headers_are_few_and_short() -> None:
    CallOptions(headers={f"h{n}": "" for n in range(MAX_HEADERS)})
    CallOptions(headers={"h": "x" * (MAX_HEADERS_BYTES - 1)})
    for headers in ({f"h{n}": "" for n in range(MAX_HEADERS + 1)}, {"h": "ä" * (MAX_HEADERS_BYTES // 2)}):
        with pytest.raises(InvalidOption, match="at most") as caught:
            CallOptions(headers=headers)
        assert len(str(caught.value)) < 200


def test_a_chain_has_an_end() -> None:
    chain = JobRequest[Any](task="t", queue="q")
    for _ in range(MAX_CHAIN - 1):
        chain = JobRequest(task="t", queue="q", then=chain)
    CallOptions(then=chain)
    with pytest.raises(InvalidOption, match="follow each other"):
        CallOptions(then=JobRequest(task="t", queue="q", then=chain))


@pytest.mark.parametrize("option", ["dedupe_key", "shard_key"])
def test_keys_are_short(option: str) -> None:
    CallOptions(**{option: "x" * MAX_KEY_BYTES})  # type: ignore[arg-type]
    with pytest.raises(InvalidOption, match="use a digest"):
        CallOptions(**{option: "x" * (MAX_KEY_BYTES + 1)})  # type: ignore[arg-type]


def test_names_are_short() -> None:
    check_name("queue", "x" * MAX_NAME_LENGTH)
    with pytest.raises(InvalidName):
        check_name("queue", "x" * (MAX_NAME_LENGTH + 1))


def test_what_is_kept_of_an_error_is_short() -> None:
    error = type("E" * 10_000, (Exception,), {})("m" * 1_000_000)
    error.add_note("n" * 1_000_000)
    assert len(failure_json(error)) < 20_000


def test_the_state_of_a_singleton_is_not_a_data_base() -> None:
    writer.encode(Text(text="x" * (MAX_STATE_BYTES - 100)))
    with pytest.raises(InvalidState, match="store it elsewhere"):
        writer.encode(Text(text="x" * MAX_STATE_BYTES))


async def test_a_result_is_no_larger_than_arguments_may_be() -> None:
    small = Capelin("memory://limits-result", settings=Settings(max_payload_bytes=100))

    @small.task
    async def echo(times: int) -> str:
        return "x" * times

    async with small.testing() as t:
        fits, large = await small.enqueue([echo.job(98), echo.job(99)])
        await t.drain()
        assert await fits.result() == "x" * 98
        with pytest.raises(JobFailed, match="the limit is 100"):
            await large.result()


async def test_a_message_of_progress_is_cut() -> None:
    told = Capelin("memory://limits-progress")

    @told.task
    async def talk() -> None:
        await current_job().progress(0.5, "m" * 100_000)

    async with told.testing() as t:
        job = await talk.enqueue()
        await t.drain(raise_errors=True)
        progress = (await job.info()).progress
        assert progress is not None
        assert progress[1] == "m" * 1_000


async def test_the_arguments_of_a_schedule_are_those_of_a_job() -> None:
    small = Capelin("memory://limits-schedule", settings=Settings(max_payload_bytes=100))

    @small.task
    async def take(text: str) -> None:
        del text

    async with small:
        await small.schedule("fits", 3600, take.job("x" * 50))
        with pytest.raises(PayloadTooLarge):
            await small.schedule("large", 3600, take.job("x" * 100))


@pytest.mark.parametrize("secret", ["of-a-url", "of%20one"])
def test_what_is_shown_of_public_objects_has_no_password(secret: str) -> None:
    url = f"redis://me:{secret}@localhost:1/0"
    shown = [Settings(redis_url=url), Capelin(url), connect(url)]
    with pytest.raises(InvalidURL) as refused:
        connect(f"redis://me:{secret}@localhost:99999/0")
    for one in (*shown, refused.value):
        assert secret not in f"{one!r} {one}"
        assert "***" in f"{one!r} {one}" or isinstance(one, Capelin)


@pytest.fixture
def server() -> Iterator[ProbeServer]:
    made = ProbeServer(Address("127.0.0.1", 0))
    nobody: Any = None  # what is asked here needs neither
    made.serve(nobody, nobody)
    yield made
    made.close()


def test_an_endless_request_line_or_header_is_refused(server: ProbeServer) -> None:
    first = b"GET / HTTP/1.1\r\n"
    for request in (b"GET /" + b"x" * 100_000, first + b"X: " + b"x" * 100_000, first + b"a: b\r\n" * 200):
        with socket.create_connection(server.address, timeout=10) as client:
            client.sendall(request + b"\r\n\r\n")
            assert client.recv(100).split()[1] in {b"414", b"431"}


def test_those_who_never_finish_their_request_do_not_keep_probes_out(server: ProbeServer) -> None:
    before = threading.active_count()
    slow = [socket.create_connection(server.address, timeout=10) for _ in range(200)]
    try:
        for client in slow:
            client.sendall(b"GET")
        ask = http.client.HTTPConnection(*server.address, timeout=10)
        ask.request("GET", "/nowhere")
        assert ask.getresponse().status == 404
        ask.close()
        assert slow[0].recv(1) == b"", "the oldest had to make room"
        assert threading.active_count() - before < 100
    finally:
        for client in slow:
            client.close()
