"""How a wire keeps replies in step, and when it takes a server for lost: looked at without a server."""

import asyncio
from typing import Any

import pytest

from capelin.connection.refusals import Refusal
from capelin.connection.wire import SocketWire


class _Transport(asyncio.Transport):
    """Keeps what is written; nothing ever comes by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.unsent = 0
        self.aborted = False

    def write(self, data: "bytes | bytearray | memoryview[Any]") -> None:
        self.written.append(bytes(data))

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def abort(self) -> None:
        self.aborted = True


@pytest.fixture
async def transport() -> _Transport:
    return _Transport()


@pytest.fixture
async def wire(transport: _Transport) -> SocketWire:
    wire = SocketWire(name="redis:6379", silence=3600)
    wire.connection_made(transport)
    return wire


async def test_replies_go_to_their_callers_in_order_however_they_are_cut_up(wire: SocketWire) -> None:
    one, two = wire.send([("A",), ("B",)]), wire.send([("C",)])

    for byte in b"+a\r\n-ERR b\r\n*2\r\n$1\r\nc\r\n*-1\r\n":
        wire.data_received(bytes([byte]))

    [a, b], [c] = await one, await two
    assert (a, c) == (b"a", [b"c", None])
    assert isinstance(b, Refusal)
    assert (b.code, b.message) == ("ERR", "ERR b")


async def test_the_reply_to_a_cancelled_caller_is_read_and_dropped(wire: SocketWire) -> None:
    gone, stays = wire.send([("A",)]), wire.send([("B",)])
    gone.cancel()

    wire.data_received(b"+a\r\n+b\r\n")

    assert await stays == [b"b"]
    assert wire.lost is None


async def test_what_is_sent_while_a_reply_is_owed_goes_out_in_one_write(
    wire: SocketWire, transport: _Transport
) -> None:
    wire.send([("A",)])
    wire.send([("B",)])
    wire.send([("C", 1)])
    assert transport.written == [b"*1\r\n$1\r\nA\r\n"]

    await asyncio.sleep(0)

    assert transport.written[1:] == [b"*1\r\n$1\r\nB\r\n*2\r\n$1\r\nC\r\n$1\r\n1\r\n"]


async def test_a_command_that_cannot_be_written_leaves_nothing_behind(
    wire: SocketWire, transport: _Transport
) -> None:
    with pytest.raises(UnicodeEncodeError):
        wire.send([("A",), ("B", "\ud800")])

    reply = wire.send([("C",)])
    wire.data_received(b"+c\r\n")
    assert await reply == [b"c"]
    assert transport.written == [b"*1\r\n$1\r\nC\r\n"]


async def test_when_the_socket_is_lost_each_caller_gets_what_was_read(
    wire: SocketWire, transport: _Transport
) -> None:
    first, second = wire.send([("A",), ("B",)]), wire.send([("C",)])
    told: list[str | None] = []
    wire.on_lost = lambda: told.append(wire.lost)
    wire.data_received(b"+a\r\n+b")

    wire.connection_lost(ConnectionResetError("reset"))

    assert (await first, await second) == ([b"a"], [])
    assert told == ["the connection broke: reset"]
    assert await wire.send([("D",)]) == []
    assert transport.aborted


async def test_a_pushed_message_is_no_reply(wire: SocketWire) -> None:
    messages: list[list[Any]] = []
    wire.on_message = messages.append
    reply = wire.send([("SUBSCRIBE", "news")])

    push = b"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$1\r\nx\r\n"
    wire.data_received(push + b"*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n" + push)

    assert await reply == [[b"subscribe", b"news", 1]]
    assert messages == [[b"message", b"news", b"x"]] * 2


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b":1\r\n", "it sent what nobody asked for"),
        (b"-ERR max number of clients reached\r\n", "ERR max number of clients reached"),
        (b"HTTP/1.1 400\r\n", "it does not speak the protocol of Redis"),
    ],
)
async def test_a_server_that_is_out_of_step_is_dropped(
    wire: SocketWire, transport: _Transport, data: bytes, why: str
) -> None:
    wire.data_received(data)

    assert wire.lost is not None
    assert why in wire.lost
    assert transport.aborted


async def test_silence_is_counted_in_turns_of_the_loop_so_that_one_late_turn_is_not_enough(
    wire: SocketWire,
) -> None:
    reply = wire.send([("A",)])

    for _ in range(4):
        wire.listened()  # a loop that was blocked comes here once, however long it was
    assert wire.lost is None
    wire.data_received(b"+a\r\n")
    assert await reply == [b"a"]

    last = wire.send([("B",)])
    for _ in range(5):
        wire.listened()
    assert wire.lost == "no answer within 3600 s"
    assert await last == []


async def test_a_large_call_that_is_still_going_out_is_not_silence(
    wire: SocketWire, transport: _Transport
) -> None:
    wire.send([("SET", "key", "x" * 1000)])

    for unsent in range(1000, 0, -100):
        transport.unsent = unsent
        wire.listened()

    assert wire.lost is None
    for _ in range(5):
        wire.listened()
    assert wire.lost is not None


async def test_a_wire_that_owes_nothing_is_notlistened_to(wire: SocketWire) -> None:
    reply = wire.send([("A",)])
    wire.data_received(b"+a\r\n")
    await reply

    for _ in range(20):
        wire.listened()

    assert wire.lost is None
