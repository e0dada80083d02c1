"""What a connection does, alike on an in-process Redis, a real one, and a Cluster."""

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest

from capelin.connection import Connection, connect
from capelin.errors import ConfigurationError, InvalidOption, RedisRefused, TornKey, Unreachable
from capelin.lua.call import Call, Script
from tests.support.scripts import ADD, LENGTH, add, append, parsed_by
from tests.support.waiting import wait_until

pytestmark = pytest.mark.leaves_keys(reason="plain keys to try the connection on")


@pytest.fixture
async def connection(backend_url: str) -> AsyncIterator[Connection]:
    connection = connect(backend_url)
    yield connection
    await connection.close()


def _unreadable(_: object) -> int:
    raise ZeroDivisionError("this reply has no meaning")


async def test_a_script_runs_and_its_reply_is_read(connection: Connection) -> None:
    assert await connection.run(add("counter", 2)) == 2
    assert await connection.run(parsed_by(add("counter", 3), str)) == "5"


async def test_each_call_of_a_pipeline_has_its_own_reply_or_exception(connection: Connection) -> None:
    await connection.command("SET", "{a}text", "x")

    replies = await connection.run_many(
        [
            add("{a}counter"),
            append("{a}text", "x"),
            parsed_by(add("{a}counter"), _unreadable),
            append("{b}list", "\ud800"),
            add("{b}counter"),
            add("{a}counter"),
        ]
    )

    assert replies[0] == 1
    assert isinstance(replies[1], RedisRefused)
    assert replies[1].script == "append"
    assert "WRONGTYPE" in replies[1].message
    assert isinstance(replies[2], TornKey)
    assert isinstance(replies[2].__cause__, ZeroDivisionError)
    assert isinstance(replies[3], UnicodeEncodeError)
    assert replies[4:] == [1, 3]


async def test_what_a_pipeline_returns_for_one_call_run_raises(connection: Connection) -> None:
    await connection.command("SET", "text", "x")

    with pytest.raises(RedisRefused, match="Redis refused append: WRONGTYPE"):
        await connection.run(append("text", "x"))
    with pytest.raises(TornKey, match="counter") as raised:
        await connection.run(parsed_by(add("counter"), _unreadable))
    assert isinstance(raised.value.__cause__, ZeroDivisionError)
    with pytest.raises(UnicodeEncodeError):
        await connection.run(append("list", "\ud800"))


async def test_calls_of_one_pipeline_run_in_their_order_also_the_first_time(connection: Connection) -> None:
    calls: list[Call[Any]] = []
    for number in range(20):
        calls.append(append("{a}list", str(number)))
        calls.append(add("{a}counter"))

    replies = await connection.run_many(calls)

    assert replies == [n for number in range(1, 21) for n in (number, number)]
    assert await connection.command("LRANGE", "{a}list", 0, -1) == [str(n).encode() for n in range(20)]


async def test_a_call_runs_behind_one_whose_script_the_server_did_not_know(connection: Connection) -> None:
    for master in await connection.masters():
        await connection.command_on(master, "SCRIPT", "LOAD", LENGTH.text)
    length: Call[int] = Call(LENGTH, ["{a}list"], [], int)

    assert await connection.run_many([append("{a}list", "x"), length]) == [1, 1]


async def test_a_pipeline_of_nothing_is_nothing(connection: Connection) -> None:
    assert await connection.run_many([]) == []
    assert await connection.commands([]) == []


async def _flush_scripts(connection: Connection) -> None:
    for master in await connection.masters():
        await connection.command_on(master, "SCRIPT", "FLUSH")


async def test_after_a_script_flush_exactly_the_calls_that_did_not_run_are_sent_again(
    connection: Connection,
) -> None:
    await connection.run_many([add("{a}counter"), append("{a}list", "x"), append("{b}list", "x")])
    await _flush_scripts(connection)
    for master in await connection.masters():
        await connection.command_on(master, "SCRIPT", "LOAD", ADD.text)

    replies = await connection.run_many([add("{a}counter"), append("{a}list", "y"), append("{b}list", "y")])

    assert replies == [2, 2, 2]
    await _flush_scripts(connection)
    assert await connection.run(add("{a}counter")) == 3


async def test_a_script_that_does_not_compile_is_refused_with_the_reason(connection: Connection) -> None:
    broken: Call[Any] = Call(Script(name="broken", text="return ("), ["{a}x"], [], int)

    refusal, reply = await connection.run_many([broken, add("{a}counter")])

    assert isinstance(refusal, RedisRefused)
    assert refusal.script == "broken"
    assert "NOSCRIPT" not in refusal.message
    assert reply == 1


async def test_plain_commands_return_what_redis_sends(connection: Connection) -> None:
    assert await connection.command("HSET", "hash", "a", 1, b"b", 2.5) == 2
    assert await connection.command("HGETALL", "hash") == [b"a", b"1", b"b", b"2.5"]
    assert await connection.command("GET", "nothing") is None
    assert await connection.command("PING") == b"PONG"
    with pytest.raises(RedisRefused, match="WRONGTYPE"):
        await connection.command("GET", "hash")


async def test_a_pipeline_of_plain_commands_goes_on_after_an_error(connection: Connection) -> None:
    replies = await connection.commands([("SET", "a", "1"), ("LPUSH", "a", "x"), ("GET", b"a"), ("GET", "b")])

    assert replies[0] == b"OK"
    assert isinstance(replies[1], RedisRefused)
    assert replies[2:] == [b"1", None]


async def test_the_masters_can_be_asked_one_by_one(connection: Connection) -> None:
    await connection.commands([("SET", str(number), "x") for number in range(30)])

    masters = await connection.masters()
    sizes = [await connection.command_on(master, "DBSIZE") for master in masters]

    assert len(masters) == (3 if connection.kind == "cluster" else 1)
    assert sum(sizes) == 30
    assert all(sizes)
    with pytest.raises(RedisRefused):
        await connection.command_on(masters[0], "NONSENSE")


async def test_many_callers_at_once_each_get_their_own_reply(connection: Connection) -> None:
    async def echo(number: int) -> bool:
        key = f"{{{number % 7}}}{number}"
        replies = await connection.run_many([append(key, "x"), parsed_by(add(f"n{key}", number), int)])
        await connection.command("SET", f"text{number}", f"value {number}")
        text = await connection.command("GET", f"text{number}")
        return replies == [1, number] and text == f"value {number}".encode()

    assert all(await asyncio.gather(*(echo(number) for number in range(1, 300))))


async def test_a_caller_that_is_cancelled_disturbs_no_other(connection: Connection) -> None:
    await connection.run(add("warm"))

    async def one(number: int) -> int:
        return await connection.run(add(f"counter{number}", number))

    tasks = [asyncio.create_task(one(number)) for number in range(1, 200)]
    await asyncio.sleep(0)  # all have sent, none has its reply
    for task in tasks[::3]:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)

    for number, outcome in enumerate(outcomes, start=1):
        if (number - 1) % 3:
            assert outcome == number
        else:
            assert isinstance(outcome, asyncio.CancelledError)
    assert await connection.run(add("counter1000", 1000)) == 1000


async def test_pop_says_which_list_had_an_element_and_takes_one(connection: Connection) -> None:
    await connection.command("RPUSH", "{b}wake", "1", "2")

    assert await connection.pop(["{a}wake", "{b}wake", "{c}wake"], 1) == "{b}wake"
    assert await connection.command("LRANGE", "{b}wake", 0, -1) == [b"2"]


async def test_pop_wakes_when_an_element_comes(connection: Connection) -> None:
    waiting = asyncio.create_task(connection.pop(["{a}wake", "{b}wake"], 4))
    await asyncio.sleep(0.05)
    started = asyncio.get_running_loop().time()
    await connection.command("RPUSH", "{b}wake", "1")

    assert await waiting == "{b}wake"
    assert asyncio.get_running_loop().time() - started < 1


@pytest.mark.parametrize("seconds", [0.001, 0.05, 0.3])
async def test_pop_ends_in_time_when_nothing_comes(connection: Connection, seconds: float) -> None:
    await connection.pop(["warm"], 0.01)
    started = asyncio.get_running_loop().time()

    assert await connection.pop(["{a}wake", "{b}wake"], seconds) is None
    assert seconds * 0.99 <= asyncio.get_running_loop().time() - started < seconds + 0.25


async def test_pop_of_no_lists_waits_its_time(connection: Connection) -> None:
    started = asyncio.get_running_loop().time()

    assert await connection.pop([], 0.05) is None
    assert asyncio.get_running_loop().time() - started >= 0.049


async def test_what_a_handler_takes_care_of_is_not_returned_and_the_wait_goes_on(
    connection: Connection,
) -> None:
    lists, taken = ["{a}wake", "{b}wake"], list[str]()

    def handle(name: str) -> asyncio.Future[None] | None:
        if len(taken) == 3:
            return None
        taken.append(name)
        return _done()

    waiting = asyncio.create_task(connection.pop(lists, 4, handle=handle))
    for number in range(4):
        await connection.command("LPUSH", lists[number % 2], "1")
    assert await waiting in lists
    assert len(taken) == 3
    for name in lists:
        assert await connection.command("LLEN", name) == 0


async def test_a_list_that_never_runs_dry_keeps_no_other_waiting(connection: Connection) -> None:
    """`BLPOP` takes from the first of its lists that has anything, however long the last has waited."""
    lists = ["{a}busy", "{a}also", "{a}last"]
    for key in lists:
        await connection.command("RPUSH", key, *"12345")
    told = list[str]()

    def handle(name: str) -> asyncio.Future[None]:
        told.append(name)
        return _done()

    waiting = asyncio.create_task(connection.pop(lists, 4, handle=handle))
    await wait_until(lambda: len(told) == 15, description="all elements to be handled")
    waiting.cancel()
    await asyncio.wait([waiting])
    assert [sorted(told[at : at + 3]) for at in range(0, 15, 3)] == [sorted(lists)] * 5


async def test_a_wait_goes_on_when_its_handler_says_so(connection: Connection) -> None:
    told, busy = list[str](), asyncio.get_running_loop().create_future()

    def handle(name: str) -> asyncio.Future[None]:
        told.append(name)
        return busy if len(told) == 1 else _done()

    waiting = asyncio.create_task(connection.pop(["wake"], 4, handle=handle))
    await connection.command("RPUSH", "wake", "1")
    await wait_until(lambda: told == ["wake"], description="the first element to be handled")
    await connection.command("RPUSH", "wake", "2")
    await connection.command("PING")
    assert await connection.command("LRANGE", "wake", 0, -1) == [b"2"]
    busy.set_result(None)
    await wait_until(lambda: told == ["wake"] * 2, description="the second element to be handled")
    waiting.cancel()
    await asyncio.wait([waiting])


async def test_a_wait_that_was_given_up_while_its_element_is_handled_pops_no_other(
    connection: Connection,
) -> None:
    told, busy = list[str](), asyncio.get_running_loop().create_future()

    def handle(name: str) -> asyncio.Future[None]:
        told.append(name)
        return busy

    waiting = asyncio.create_task(connection.pop(["{a}left"], 4, handle=handle))
    await connection.command("RPUSH", "{a}left", "1", "2")
    await wait_until(lambda: told == ["{a}left"], description="the element to be handled")
    waiting.cancel()
    assert await connection.pop(["{a}stays"], 0.02) is None
    busy.set_result(None)
    assert await connection.pop(["{a}stays"], 0.02) is None
    assert told == ["{a}left"]
    assert await connection.command("LRANGE", "{a}left", 0, -1) == [b"2"]


def _done() -> asyncio.Future[None]:
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    done.set_result(None)
    return done


async def test_elements_of_several_lists_come_one_a_call(connection: Connection) -> None:
    lists = [f"{{{letter}}}wake" for letter in "abcde"]
    waiting = asyncio.create_task(connection.pop(lists, 4))
    await asyncio.sleep(0.05)
    await connection.commands([("RPUSH", name, "1") for name in lists])

    found = [await waiting]
    while (name := await connection.pop(lists, 0.2)) is not None:
        found.append(name)

    assert sorted(filter(None, found)) == lists


async def test_an_element_popped_for_a_cancelled_caller_goes_to_the_next_call(connection: Connection) -> None:
    waiting = asyncio.create_task(connection.pop(["wake"], 4))
    await asyncio.sleep(0.05)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await connection.command("RPUSH", "wake", "1")

    assert await connection.pop(["wake"], 4) == "wake"
    assert await connection.command("LLEN", "wake") == 0


async def test_an_element_popped_for_lists_that_nobody_asks_for_any_more_is_pushed_back(
    connection: Connection,
) -> None:
    for _ in range(20):
        waiting = asyncio.create_task(connection.pop(["{a}left", "{a}stays"], 4))
        await asyncio.sleep(0.01)
        waiting.cancel()
        await connection.command("RPUSH", "{a}left", "1")
        # The old wait has popped the element, or is ended before: it is back, or was never gone.
        assert await connection.pop(["{a}stays"], 0.02) is None
        await wait_until(
            lambda: connection.command("LLEN", "{a}left"), description="the element to be back", timeout=3
        )
        await connection.command("DEL", "{a}left")


async def test_a_wait_that_nobody_takes_up_again_pushes_back_by_itself(connection: Connection) -> None:
    waiting = asyncio.create_task(connection.pop(["{a}wake", "{b}wake"], 4))
    await asyncio.sleep(0.05)
    waiting.cancel()
    await connection.command("RPUSH", "{b}wake", "1")

    started = asyncio.get_running_loop().time()
    await wait_until(lambda: connection.command("LLEN", "{b}wake"), description="the element to be back")
    await asyncio.sleep(0.2)  # nobody pops any more
    assert asyncio.get_running_loop().time() - started < 2
    assert await connection.command("LRANGE", "{b}wake", 0, -1) == [b"1"]


async def test_a_second_pop_takes_over_from_the_first(connection: Connection) -> None:
    first = asyncio.create_task(connection.pop(["{a}wake", "{b}wake"], 4))
    await asyncio.sleep(0.05)
    second = asyncio.create_task(connection.pop(["{b}wake", "{c}wake"], 4))

    assert await first is None
    await connection.commands([("RPUSH", "{a}wake", "1"), ("RPUSH", "{c}wake", "1")])
    assert await second == "{c}wake"
    assert await connection.command("LLEN", "{a}wake") == 1


async def test_closing_pushes_back_what_was_popped_for_nobody(backend_url: str) -> None:
    watcher = connect(backend_url)
    for _ in range(10):
        connection = connect(backend_url)
        waiting = asyncio.create_task(connection.pop(["{a}wake", "{b}wake"], 4))
        await asyncio.sleep(0.02)
        waiting.cancel()
        await watcher.command("RPUSH", "{b}wake", "1")
        await connection.close()
        assert await watcher.command("LPOP", "{b}wake") == b"1"
    await watcher.close()


async def test_pops_of_other_lists_do_not_pile_up_connections(redis_url: str) -> None:
    connection = connect(redis_url)
    for number in range(30):
        waiting = asyncio.create_task(connection.pop([f"wake{number}"], 4))
        await asyncio.sleep(0.01)
        waiting.cancel()
    await connection.pop(["last"], 0.1)

    clients = await connection.command("CLIENT", "LIST")

    assert clients.count(b"name=capelin") <= 4
    await connection.close()


@pytest.mark.parametrize("seconds", [0, -1, 5, 60, float("nan")])
async def test_blocking_times_lie_between_zero_and_the_socket_timeout(
    connection: Connection, seconds: float
) -> None:
    with pytest.raises(InvalidOption, match="below socket_timeout, 5 s"):
        await connection.pop(["wake"], seconds)
    with pytest.raises(InvalidOption, match="below socket_timeout, 5 s"):
        await connection.read_stream("stream", "0", seconds)


async def test_a_subscriber_gets_what_is_published_on_its_channel(connection: Connection) -> None:
    async with (
        connection.subscribe("news") as news,
        connection.subscribe("news") as again,
        connection.subscribe("other") as other,
    ):
        await connection.command("PUBLISH", "news", "one")
        await connection.command("PUBLISH", "other", b"\xff")
        async with asyncio.timeout(5):
            assert await anext(news) == b"one"
            assert await anext(again) == b"one"
            assert await anext(other) == b"\xff"


async def test_a_subscription_that_was_left_hears_nothing_and_can_be_taken_again(
    connection: Connection,
) -> None:
    async with connection.subscribe("news") as stays:
        async with connection.subscribe("other") as left:
            pass
        async with connection.subscribe("other") as again:
            await connection.command("PUBLISH", "other", "x")
            await connection.command("PUBLISH", "news", "y")
            async with asyncio.timeout(5):
                assert await anext(again) == b"x"
                assert await anext(stays) == b"y"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await anext(left)


async def test_waiting_for_a_message_can_be_given_up_and_taken_up_again(connection: Connection) -> None:
    async with connection.subscribe("news") as news:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await anext(news)
        await connection.command("PUBLISH", "news", "x")
        async with asyncio.timeout(5):
            assert await anext(news) == b"x"


async def test_a_thousand_subscriptions_share_one_socket(redis_url: str) -> None:
    connection = connect(redis_url)
    subscriptions = [connection.subscribe(f"job{number}") for number in range(1000)]
    await asyncio.gather(*(subscription.__aenter__() for subscription in subscriptions))
    await asyncio.gather(
        *(connection.command("PUBLISH", f"job{number}", str(number)) for number in range(1000))
    )

    async with asyncio.timeout(10):
        messages = [await anext(subscription) for subscription in subscriptions]

    assert messages == [str(number).encode() for number in range(1000)]
    assert (await connection.command("CLIENT", "LIST")).count(b"name=capelin") == 2
    for subscription in subscriptions:
        await subscription.__aexit__(None, None, None)

    async def left() -> bool:
        return bool(await connection.command("PUBSUB", "CHANNELS") == [])

    await wait_until(left, description="every channel to be left on the server too")
    await connection.close()


async def test_a_stream_is_read_on_from_where_the_reader_was(connection: Connection) -> None:
    await connection.command("XADD", "inbox", "1-1", "kind", "cancel", "uid", "x")
    await connection.command("XADD", "inbox", "1-2", "kind", b"\xff")

    assert await connection.read_stream("inbox", "0", 1, count=1) == [("1-1", {"kind": "cancel", "uid": "x"})]
    assert await connection.read_stream("inbox", "1-1", 1) == [("1-2", {"kind": "\N{REPLACEMENT CHARACTER}"})]
    assert await connection.read_stream("inbox", "1-2", 0.02) == []
    reading = asyncio.create_task(connection.read_stream("inbox", "1-2", 4))
    await asyncio.sleep(0.05)
    await connection.command("XADD", "inbox", "1-3", "kind", "leave")
    assert await reading == [("1-3", {"kind": "leave"})]


async def test_a_reader_that_is_cancelled_leaves_the_stream_readable(connection: Connection) -> None:
    reading = asyncio.create_task(connection.read_stream("inbox", "$", 4))
    await asyncio.sleep(0.05)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading

    await connection.command("XADD", "inbox", "1-1", "kind", "leave")
    assert await connection.read_stream("inbox", "0", 1) == [("1-1", {"kind": "leave"})]


async def test_closing_ends_every_wait_and_a_second_close_does_nothing(connection: Connection) -> None:
    await connection.run(add("counter"))
    async with connection.subscribe("news") as news:
        listening = asyncio.create_task(anext(news))
        reading = asyncio.create_task(connection.read_stream("inbox", "$", 4))
        popping = asyncio.create_task(connection.pop(["{a}wake", "{b}wake"], 4))
        await asyncio.sleep(0.05)

        await connection.close()
        await connection.close()

        with pytest.raises(Unreachable):
            await listening
        with pytest.raises(Unreachable):
            await reading
        with pytest.raises(Unreachable):
            await popping
    with pytest.raises(ConfigurationError, match="was closed"):
        await connection.run(add("counter"))


async def test_an_unused_connection_can_be_closed(backend_url: str) -> None:
    connection = connect(backend_url)
    await connection.close()

    with pytest.raises(ConfigurationError, match="was closed"):
        await connection.command("PING")


async def test_another_event_loop_is_refused(connection: Connection) -> None:
    await connection.run(add("counter"))

    def elsewhere() -> str:
        with pytest.raises(ConfigurationError) as refusal:
            asyncio.run(connection.run(add("counter")))
        return str(refusal.value)

    assert "another event loop" in await asyncio.to_thread(elsewhere)
    assert await connection.run(add("counter")) == 2


def test_a_connection_that_nobody_closed_is_closed_with_its_event_loop(backend_url: str) -> None:
    connections: list[Connection] = []

    async def use() -> int:
        connection = connect(backend_url)
        connections.append(connection)
        await connection.pop(["{a}wake", "{b}wake"], 0.01)
        await connection.read_stream("inbox", "$", 0.01)
        async with connection.subscribe("news"):
            return await connection.run(add("counter"))

    assert [asyncio.run(use()) for _ in range(3)] == [1, 2, 3]
    connections.clear()
    gc.collect()  # a socket that is still open would warn, and warnings are errors


def test_a_connection_that_is_dropped_is_closed_by_the_garbage_collector(redis_url: str) -> None:
    async def drop() -> None:
        await connect(redis_url).run(add("counter"))
        gc.collect()
        watcher = connect(redis_url)

        async def alone() -> bool:
            return bool((await watcher.command("CLIENT", "LIST")).count(b"name=capelin") == 1)

        await wait_until(alone, description="the dropped connection to be gone")
        await watcher.close()

    asyncio.run(drop())


def test_everything_works_on_uvloop(backend_url: str) -> None:
    uvloop = pytest.importorskip("uvloop")

    async def use() -> None:
        connection = connect(backend_url)
        assert await connection.run_many([add("{a}n"), append("{b}l", "x"), add("{a}n")]) == [1, 1, 2]
        waiting = asyncio.create_task(connection.pop(["{a}wake", "{b}wake"], 4))
        await asyncio.sleep(0.05)
        await connection.command("RPUSH", "{a}wake", "1")
        assert await waiting == "{a}wake"
        async with connection.subscribe("news") as news, asyncio.timeout(5):
            await connection.command("PUBLISH", "news", "x")
            assert await anext(news) == b"x"
        await connection.close()

    uvloop.run(use())


async def test_memory_servers_are_shared_by_name_and_only_by_name(memory_url: str) -> None:
    one, same, other = connect(memory_url), connect(memory_url), connect("memory://another-name")

    await one.run(add("counter"))

    assert await same.run(add("counter")) == 2
    assert await other.command("GET", "counter") is None
    for connection in (one, same, other):
        await connection.close()


async def test_memory_without_its_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "fakeredis", None)

    with pytest.raises(ConfigurationError, match=r"pip install 'capelin\[embedded\]'"):
        await connect("memory://").command("PING")
