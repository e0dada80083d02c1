"""Nothing that people or programs hand in may be of any size: each limit, just below and just above."""

import http.client
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from capelin import Capelin, InvalidName, InvalidOption, InvalidState, JobRequest, PayloadTooLarge
from capelin.names import MAX_NAME_LENGTH, check_name
from capelin.options import MAX_CHAIN, MAX_HEADERS, MAX_HEADERS_BYTES, MAX_KEY_BYTES, CallOptions
from capelin.probes.server import Address, ProbeServer
from capelin.requests import check_request_size
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
