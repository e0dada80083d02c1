"""What a connection does when network or server fail: it runs nothing twice and comes back by itself."""

import asyncio
import contextlib
import socket
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from capelin.connection import Connection, connect, memory
from capelin.errors import ConfigurationError, RedisRefused, Unreachable
from capelin.lua.call import Call
from tests.conftest import OwnRedis
from tests.support.ports import free_port
from tests.support.processes import Processes
from tests.support.proxy import RedisProxy, mentions
from tests.support.scripts import ADD, LENGTH, add, append
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until

pytestmark = pytest.mark.leaves_keys(reason="plain keys to try the connection on")

Proxied = Callable[[str], RedisProxy]
Connect = Callable[..., Connection]


@pytest.fixture
async def connected() -> AsyncIterator[Connect]:
    """`connect`, closed when the test is over."""
    async with contextlib.AsyncExitStack() as stack:

        def open_one(url: str, *, socket_timeout: float = 5) -> Connection:
            connection = connect(url, socket_timeout=socket_timeout)
            stack.push_async_callback(connection.close)
            return connection

        yield open_one


async def test_a_script_whose_reply_is_lost_ran_once_and_its_caller_is_told(
    redis_server: RedisServer, proxied: Proxied, connected: Connect
) -> None:
    proxy = proxied(redis_server.url)
    connection = connected(proxy.url)
    await connection.run(add("warm"))
    fault = proxy.cut_reply_after(mentions("EVALSHA", ADD.sha, "counter"))

    with pytest.raises(Unreachable, match=rf"127\.0\.0\.1:{proxy.port}.*closed the connection"):
        await connection.run(add("counter"))

    assert fault.hits == 1
    assert redis_server.command("GET", "counter") == "1"
    assert await connection.run(add("counter")) == 2


async def test_a_script_that_never_arrived_is_not_sent_by_itself(
    redis_server: RedisServer, proxied: Proxied, connected: Connect
) -> None:
    proxy = proxied(redis_server.url)
    connection = connected(proxy.url)
    proxy.cut_before(mentions("EVALSHA", ADD.sha))

    with pytest.raises(Unreachable):
        await connection.run(add("counter"))

    assert redis_server.command("GET", "counter") is None
    assert await connection.run(add("counter")) == 1


async def test_replies_read_before_the_cut_are_kept_and_the_rest_are_unreachable(
    redis_server: RedisServer, proxied: Proxied, connected: Connect
) -> None:
    proxy = proxied(redis_server.url)
    connection = connected(proxy.url)
    await connection.run(add("warm"))
    proxy.cut_reply_after(mentions("EVALSHA", "second"))

    replies = await connection.run_many([add("first"), append("list", "x"), add("second"), add("third")])

    assert replies[:2] == [1, 1]
    assert all(isinstance(reply, Unreachable) for reply in replies[2:])
    assert replies[2] is not replies[3]
    assert redis_server.command("GET", "second") == "1"


async def test_everybody_on_a_lost_connection_is_told_and_nothing_runs_twice(
    redis_server: RedisServer, proxied: Proxied, connected: Connect
) -> None:
    proxy = proxied(redis_server.url)
    connection = connected(proxy.url)
    await connection.run(add("warm"))
    proxy.cut_reply_after(mentions("EVALSHA", "key50\r\n"))

    outcomes = await asyncio.gather(
        *(connection.run(add(f"key{number}")) for number in range(100)), return_exceptions=True
    )

    assert outcomes[:50] == [1] * 50
    assert all(isinstance(outcome, Unreachable) for outcome in outcomes[50:])
    counts = [redis_server.command("GET", f"key{number}") for number in range(100)]
    assert counts[:51] == ["1"] * 51
    assert set(counts[51:]) <= {"1", None}


async def test_a_server_that_is_down_is_named_and_found_again_when_it_is_back(
    own_redis: OwnRedis, connected: Connect
) -> None:
    server = own_redis()
    connection = connected(server.url)
    assert await connection.run(add("counter")) == 1

    server.kill()
    for _ in range(3):
        with pytest.raises(Unreachable, match=rf"127\.0\.0\.1:{server.port}"):
            await connection.run(add("counter"))
    with pytest.raises(Unreachable, match="connection refused"):
        await connection.pop(["wake"], 1)
    with pytest.raises(Unreachable, match="connection refused"):
        await connection.read_stream("inbox", "0", 1)
    with pytest.raises(Unreachable, match="connection refused"):
        async with connection.subscribe("news"):
            pass

    server.restart()
    assert await connection.run(add("counter")) == 1
    await connection.command("RPUSH", "wake", "x")
    assert await connection.pop(["wake"], 1) == "wake"
    assert await connection.read_stream("inbox", "0", 0.01) == []


async def test_waits_on_wires_of_their_own_end_when_the_server_goes(
    own_redis: OwnRedis, connected: Connect
) -> None:
    server = own_redis()
    connection = connected(server.url)
    async with connection.subscribe("news") as news:
        waits: list[asyncio.Task[object]] = [
            asyncio.create_task(connection.pop(["wake"], 4)),
            asyncio.create_task(connection.read_stream("inbox", "$", 4)),
            asyncio.create_task(anext(news)),  # pyright: ignore[reportArgumentType] -- it is a coroutine
        ]
        await wait_until(
            lambda: (
                server.command("CLIENT", "LIST", "TYPE", "NORMAL")
                and server.info("clients")["blocked_clients"] == "2"
            ),
            description="both blocking commands to be waiting",
        )

        server.kill()

        for wait in waits:
            with pytest.raises(Unreachable):
                await wait
        with pytest.raises(Unreachable):
            await anext(news)


async def test_a_silent_server_is_given_up_after_the_socket_timeout(
    redis_server: RedisServer, proxied: Proxied, connected: Connect
) -> None:
    proxy = proxied(redis_server.url)
    connection = connected(proxy.url, socket_timeout=0.4)
    await connection.run(add("warm"))
    proxy.blackhole(requests_pass=True)
    started = time.monotonic()

    with pytest.raises(Unreachable, match=r"no answer within 0\.4 s"):
        await connection.run(add("counter"))

    assert 0.39 < time.monotonic() - started < 1.5
    proxy.accept()
    await wait_until(lambda: redis_server.command("GET", "counter"), description="the script to have run")
    assert await connection.run(add("counter")) == 2


async def test_a_server_that_accepts_and_never_answers_does_not_hold_a_connect_for_ever(
    redis_server: RedisServer, proxied: Proxied, connected: Connect
) -> None:
    proxy = proxied(redis_server.url)
    proxy.blackhole()
    connection = connected(proxy.url, socket_timeout=0.3)
    started = time.monotonic()

    outcomes = await asyncio.gather(
        *(connection.run(add("counter")) for _ in range(50)), return_exceptions=True
    )

    # One attempt for all of them, not fifty in a row.
    assert all(isinstance(outcome, Unreachable) for outcome in outcomes)
    assert len({id(outcome) for outcome in outcomes}) == 50
    assert proxy.accepted == 1
    assert time.monotonic() - started < 1.5
    proxy.accept()
    assert await connection.run(add("counter")) == 1


async def test_a_caller_cancelled_while_connecting_leaves_the_connect_to_the_others(
    redis_server: RedisServer, proxied: Proxied, connected: Connect
) -> None:
    proxy = proxied(redis_server.url)
    proxy.blackhole()
    connection = connected(proxy.url)
    first = asyncio.create_task(connection.run(add("counter")))
    second = asyncio.create_task(connection.run(add("counter")))
    await wait_until(lambda: proxy.accepted, description="the connect to be under way")

    first.cancel()
    await asyncio.wait([first])
    proxy.accept()

    assert first.cancelled()
    assert await second == 1
    assert proxy.accepted == 1


async def test_a_frozen_server_that_thaws_in_time_answers_everybody(
    own_redis: OwnRedis, connected: Connect
) -> None:
    server = own_redis()
    connection = connected(server.url)
    await connection.run(add("warm"))
    server.pause()
    calls = [asyncio.create_task(connection.run(add("counter"))) for _ in range(5)]
    await asyncio.sleep(0.2)
    calls[2].cancel()
    server.resume()

    done = await asyncio.gather(*calls, return_exceptions=True)

    assert [done[0], done[1], done[3], done[4]] == [1, 2, 4, 5]
    assert await connection.run(add("counter")) == 6


async def test_a_subscriber_notices_a_server_that_falls_silent(
    redis_server: RedisServer, proxied: Proxied, connected: Connect
) -> None:
    proxy = proxied(redis_server.url)
    connection = connected(proxy.url, socket_timeout=0.2)
    async with connection.subscribe("news") as news:
        proxy.blackhole()
        with pytest.raises(Unreachable, match="no answer"):
            async with asyncio.timeout(5):
                await anext(news)


async def test_closing_while_the_server_is_frozen_does_not_hang(
    own_redis: OwnRedis, connected: Connect
) -> None:
    server = own_redis()
    connection = connected(server.url)
    await connection.run(add("warm"))
    waiting = asyncio.create_task(connection.pop(["wake"], 4))
    await wait_until(lambda: server.info("clients")["blocked_clients"] == "1", description="the pop to wait")
    server.pause()
    running = asyncio.create_task(connection.run(add("counter")))
    await asyncio.sleep(0)
    started = time.monotonic()

    await connection.close()

    assert time.monotonic() - started < 3
    with pytest.raises(Unreachable):
        await running
    waiting.cancel()
    await asyncio.wait([waiting])
    server.resume()


@pytest.mark.parametrize("library", ["asyncio", "uvloop"])
def test_a_blocked_event_loop_is_not_taken_for_a_silent_server(redis_url: str, library: str) -> None:
    run = pytest.importorskip(library).run

    async def use() -> tuple[int, str | None]:
        connection = connect(redis_url, socket_timeout=0.2)
        await connection.run(add("warm"))
        await connection.pop(["other"], 0.01)
        called = asyncio.create_task(connection.run(add("counter")))
        popped = asyncio.create_task(connection.pop(["wake"], 0.15))
        await asyncio.sleep(0.05)
        called_again = asyncio.create_task(connection.run(add("counter")))
        await asyncio.sleep(0)  # sent; the reply is there at once, and the loop does not look
        time.sleep(0.6)  # noqa: ASYNC251
        try:
            return await called + await called_again, await popped
        finally:
            await connection.close()

    assert run(use()) == (3, None)


async def test_what_does_not_speak_the_protocol_is_dropped_and_said_so(connected: Connect) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(Unreachable, match="does not speak the protocol of Redis"):
            await connected(f"redis://127.0.0.1:{port}").command("PING")


async def test_a_host_that_does_not_exist_is_said_so(connected: Connect) -> None:
    with pytest.raises(Unreachable, match=r"nowhere\.invalid:6379: the host name is not known"):
        await connected("redis://nowhere.invalid").command("PING")


async def test_a_wrong_password_is_refused_and_not_shown(own_redis: OwnRedis, connected: Connect) -> None:
    server = own_redis()
    server.command("CONFIG", "SET", "requirepass", "right")
    try:
        with pytest.raises(RedisRefused, match="WRONGPASS") as refusal:
            await connected(f"redis://:wr0ng@127.0.0.1:{server.port}").run(add("counter"))
        assert "wr0ng" not in str(refusal.value)
        with pytest.raises(RedisRefused, match="NOAUTH"):
            await connected(server.url).run(add("counter"))
        assert await connected(f"redis://:right@127.0.0.1:{server.port}").run(add("counter")) == 1
        assert await connected(f"redis://default:right@127.0.0.1:{server.port}").run(add("counter")) == 2
    finally:
        _config(server, "right", "requirepass", "")


def _config(server: RedisServer, password: str, option: str, value: str) -> None:
    with server.connect() as redis:
        redis("AUTH", password)
        redis("CONFIG", "SET", option, value)


async def test_a_user_with_few_rights_works_and_is_told_what_is_missing(
    own_redis: OwnRedis, connected: Connect
) -> None:
    server = own_redis()
    server.command(
        "ACL", "SETUSER", "few", "on", ">pw", "~*", "+evalsha", "+incrby", "+script|load", "+blpop"
    )
    server.command("ACL", "SETUSER", "fewer", "on", ">pw", "~*", "+evalsha", "+incrby")
    few = connected(f"redis://few:pw@127.0.0.1:{server.port}")
    fewer = connected(f"redis://fewer:pw@127.0.0.1:{server.port}")

    with pytest.raises(RedisRefused, match=r"NOPERM.*script"):
        await fewer.run(add("counter"))
    assert await few.run(add("counter")) == 1
    assert await fewer.run(add("counter")) == 2  # somebody else has loaded it
    with pytest.raises(RedisRefused, match="Redis refused append"):
        await few.run(append("list", "x"))
    # Neither CLIENT ID nor CLIENT UNBLOCK: the wait for the old list ends by itself.
    assert await few.pop(["wake"], 0.05) is None
    assert await few.pop(["other"], 0.05) is None


async def test_a_full_redis_refuses_by_name_of_the_script_and_runs_the_others(
    own_redis: OwnRedis, connected: Connect
) -> None:
    server = own_redis()
    connection = connected(server.url)
    await connection.run(add("counter"))
    server.command("CONFIG", "SET", "maxmemory", 1)

    refused, length = await connection.run_many([append("list", "x"), Call(LENGTH, ["list"], [], int)])

    assert isinstance(refused, RedisRefused)
    assert refused.script == "append"
    assert "OOM" in refused.message
    assert length == 0


async def test_a_master_that_became_a_replica_is_left_and_looked_for_again(
    own_redis: OwnRedis, connected: Connect
) -> None:
    server, other = own_redis(), own_redis(config={"repl-diskless-sync-delay": 0})
    connection = connected(server.url)
    await connection.run(add("counter"))

    server.command("REPLICAOF", "127.0.0.1", other.port)
    await wait_until(
        lambda: server.info("replication").get("master_link_status") == "up", description="replication to run"
    )
    before = await connection.command("CLIENT", "ID")
    with pytest.raises(Unreachable, match="READONLY"):
        await connection.run(add("counter"))
    assert await connection.command("CLIENT", "ID") != before
    server.command("REPLICAOF", "NO", "ONE")

    assert await connection.run(add("counter")) == 1


async def test_a_server_without_free_places_is_unreachable_for_now(
    own_redis: OwnRedis, connected: Connect
) -> None:
    server = own_redis(config={"maxclients": 2})
    holders = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(2)]
    connection = connected(server.url)
    try:
        with pytest.raises(Unreachable, match="max number of clients"):
            await connection.run(add("counter"))
    finally:
        for holder in holders:
            holder.close()

    async def works() -> bool:
        with contextlib.suppress(Unreachable):
            return await connection.run(add("counter")) == 1
        return False

    await wait_until(works, description="a place to be free")
    await connection.close()
    await wait_until(lambda: _answers(server), description="places for the checks behind this test")


def _answers(server: RedisServer) -> bool:
    with contextlib.suppress(Exception):
        return server.command("PING") == "PONG"
    return False


async def test_database_name_and_unix_socket_are_used(
    own_redis: OwnRedis, connected: Connect, tmp_path: Path
) -> None:
    path = tmp_path / "redis.sock"
    server = own_redis(config={"unixsocket": str(path)})
    connection = connected(f"unix://{path}?db=3&client_name=tester")

    assert await connection.run(add("counter")) == 1

    assert server.info("keyspace").keys() == {"db3"}
    assert b"name=tester" in await connection.command("CLIENT", "LIST")
    with pytest.raises(RedisRefused, match="DB index is out of range"):
        await connected(f"redis://127.0.0.1:{server.port}/99").run(add("counter"))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that is its own authority, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    words = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    words += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    try:
        subprocess.run(words, check=True, capture_output=True)
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        pytest.skip(f"openssl cannot make a certificate: {error}")
    return cert, key


async def test_tls_checks_the_certificate_unless_told_otherwise(
    own_redis: OwnRedis, connected: Connect, certificate: tuple[Path, Path]
) -> None:
    cert, key = certificate
    port = free_port()
    own_redis(
        config={
            "tls-port": port,
            "tls-cert-file": str(cert),
            "tls-key-file": str(key),
            "tls-auth-clients": "no",
        }
    )
    url = f"rediss://127.0.0.1:{port}"

    trusting = connected(f"{url}?ssl_ca_certs={cert}")
    assert await trusting.run_many([append("list", "x" * 1_000_000), add("counter")]) == [1, 1]
    assert await trusting.pop(["wake"], 0.01) is None
    assert await connected(f"{url}?ssl_cert_reqs=none").run(add("counter")) == 2
    with pytest.raises(Unreachable, match="certificate verify failed"):
        await connected(url).run(add("counter"))
    with pytest.raises(Unreachable):
        await connected(f"redis://127.0.0.1:{port}").run(add("counter"))


async def test_a_certificate_that_cannot_be_read_is_a_mistake_of_configuration(connected: Connect) -> None:
    with pytest.raises(ConfigurationError, match="certificate cannot be read"):
        await connected("rediss://127.0.0.1?ssl_ca_certs=/no/such/file").run(add("counter"))


async def test_large_calls_and_replies_pass_while_others_run(redis_url: str, connected: Connect) -> None:
    connection = connected(redis_url)
    text = "x" * 20_000_000
    loads = [asyncio.create_task(connection.run(append(f"list{number}", text))) for number in range(3)]
    smalls = [asyncio.create_task(connection.run(add("counter"))) for _ in range(100)]

    assert await asyncio.gather(*loads) == [1, 1, 1]
    assert sorted(await asyncio.gather(*smalls)) == list(range(1, 101))
    assert len(await connection.command("LPOP", "list0")) == len(text)
    await connection.command("DEL", "list1", "list2")


async def test_a_forked_process_is_told_to_open_its_own(processes: Processes, redis_url: str) -> None:
    code = f"""
import asyncio, os
from capelin.connection import connect
from capelin.errors import ConfigurationError
connection = connect({redis_url!r})
loop = asyncio.new_event_loop()
loop.run_until_complete(connection.command("PING"))
pid = os.fork()
if pid == 0:
    for run in (loop.run_until_complete, asyncio.run):
        try:
            run(connection.command("PING"))
        except ConfigurationError as error:
            print("child:", error, flush=True)
    asyncio.run(connection.close())
    os._exit(0)
os.waitpid(pid, 0)
print("parent:", loop.run_until_complete(connection.command("PING")), flush=True)
loop.run_until_complete(connection.close())
loop.close()
"""
    child = processes.python("-X", "dev", "-c", code)

    assert await child.wait() == 0
    assert child.output.count("another event loop or process") == 2
    assert "parent: b'PONG'" in child.output
    assert "Warning" not in child.output


def test_two_threads_may_have_a_connection_each(redis_url: str) -> None:
    counts: list[int] = []

    async def use() -> None:
        connection = connect(redis_url)
        counts.extend([await connection.run(add("counter")) for _ in range(200)])
        await connection.close()

    threads = [threading.Thread(target=lambda: asyncio.run(use())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(counts) == list(range(1, 601))


async def test_an_in_process_server_that_plays_dead_is_unreachable_until_it_is_back(
    memory_url: str, connected: Connect
) -> None:
    connection = connected(memory_url)
    server = memory.server(memory_url.removeprefix("memory://"))
    assert await connection.run(add("counter")) == 1

    server.connected = False
    with pytest.raises(Unreachable):
        await connection.run(add("counter"))
    with pytest.raises(Unreachable):
        await connection.pop(["wake"], 1)
    server.connected = True

    assert await connection.run(add("counter")) == 2
