"""The key-leak check sees what it should see, and leaves alone what may stay."""

import pytest

from tests.support.leaks import find_leaks
from tests.support.memory import MemoryConnection
from tests.support.servers import RedisServer

T = "capelin:{emails:3}"


def test_keys_with_a_ttl_and_keys_on_the_list_may_stay(redis_server: RedisServer) -> None:
    with redis_server.connect() as redis:
        redis("SET", "anything", "1", "EX", 100)
        redis("HSET", f"{T}:meta", "paused", "1")
        redis("HSET", "capelin:{emails}:meta", "shards", "8")
        redis("SADD", "capelin:queues", "emails")
        redis("HSET", "other.prefix:{fleet}:members", "version", "1")
        assert find_leaks(redis) == []


@pytest.mark.leaves_keys(reason="the leak is what this test looks at")
@pytest.mark.parametrize(
    "key",
    ["stray", "capelin:{emails:3}:typo", "capelin:inbox:w1", "{emails:3}:meta", "capelin:emails:3:meta"],
)
def test_a_key_without_a_ttl_that_is_on_no_list_is_a_leak(redis_server: RedisServer, key: str) -> None:
    with redis_server.connect() as redis:
        redis("SET", key, "1")
        assert find_leaks(redis) == [f"{key}: has no TTL and is on no list"]


@pytest.mark.leaves_keys(reason="the leak is what this test looks at")
def test_a_record_that_nothing_holds_is_a_leak(redis_server: RedisServer) -> None:
    with redis_server.connect() as redis:
        redis("HSET", f"{T}:job:emails.3.u1", "status", "completed")
        redis("RPUSH", f"{T}:failures:emails.3.u2", "{}")
        redis("SET", f"{T}:unique:send:42", "u3")
        # u2 has a place, but in another shard
        redis("ZADD", "capelin:{emails:4}:finished", 1, "u2")
        leaks = find_leaks(redis)
    assert [line.split(": its job")[0] for line in leaks] == [
        f"{T}:failures:emails.3.u2",
        f"{T}:job:emails.3.u1",
        f"{T}:unique:send:42",
    ]


@pytest.mark.parametrize(
    "place",
    [
        ("XADD", f"{T}:stream:low", "*", "j", "u1"),
        ("XADD", f"{T}:dlq", "*", "j", "u1", "task", "send"),
        ("ZADD", f"{T}:scheduled", "5", "u1"),
        ("ZADD", f"{T}:parked:send", "5", "u1"),
        ("ZADD", f"{T}:finished", "5", "u1"),
    ],
    ids=lambda place: place[1].split(":")[3],
)
def test_a_record_with_a_place_in_its_shard_may_stay(
    redis_server: RedisServer, place: tuple[str, ...]
) -> None:
    with redis_server.connect() as redis:
        redis("HSET", f"{T}:job:emails.3.u1", "status", "queued")
        redis("SET", f"{T}:unique:send:42", "u1")
        redis(*place)
        assert find_leaks(redis) == []


def test_an_in_process_server_is_looked_at_like_a_real_one(memory_url: str) -> None:
    redis = MemoryConnection(memory_url)
    redis("HSET", f"{T}:job:emails.3.u1", "status", "queued")
    redis("SET", f"{T}:unique:send:42", "u1")
    redis("XADD", f"{T}:stream:low", "*", "j", "u1")
    redis("SET", "anything", "1", "EX", 100)
    assert find_leaks(redis) == []
    redis("DEL", f"{T}:stream:low")
    redis("SET", "stray", "1")
    assert len(find_leaks(redis)) == 3
    redis("FLUSHALL")


@pytest.mark.leaves_keys(reason="many keys, to be found over several pages")
def test_every_page_of_a_large_database_is_looked_at(redis_server: RedisServer) -> None:
    with redis_server.connect() as redis:
        redis.pipeline(*[("SET", f"stray{number}", "1") for number in range(1_500)])
        assert len(find_leaks(redis)) == 1_500


@pytest.mark.usefixtures("redis_binary")
def test_the_fixture_fails_a_test_that_leaks_and_only_that(
    pytester: pytest.Pytester, pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(pytestconfig.rootpath))
    pytester.makeconftest("from tests.conftest import *")
    pytester.makepyfile(
        """
        import pytest
        from tests.support.memory import MemoryConnection

        def test_leaks(redis_server):
            redis_server.command("SET", "stray", "1")

        def test_leaks_in_its_own(own_redis):
            own_redis().command("SET", "stray", "1")

        @pytest.mark.leaves_keys(reason="shown")
        def test_says_why(redis_server):
            redis_server.command("SET", "stray", "1")

        @pytest.mark.leaves_keys()
        def test_gives_no_reason(redis_server):
            redis_server.command("SET", "stray", "1")

        def test_leaks_in_memory(memory_url):
            MemoryConnection(memory_url)("SET", "stray", "1")

        def test_is_clean(redis_server):
            redis_server.command("SET", "stray", "1", "EX", 100)
        """
    )
    pytester.makeini("[pytest]\nmarkers = leaves_keys(reason): .\n    slow: .")
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(passed=6, errors=4)
    result.stdout.fnmatch_lines(["*stray: has no TTL and is on no list*", "*leaves_keys needs a reason*"])
