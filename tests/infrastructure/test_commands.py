"""Counters of Redis commands count what was asked, and not themselves."""

from tests.support.commands import CommandRecorder, counting_commands
from tests.support.servers import RedisServer


def test_commands_within_the_block_are_counted_and_no_others(redis_server: RedisServer) -> None:
    redis_server.command("PING")
    with counting_commands(redis_server) as counts:
        redis_server.command("SET", "x", 1, "EX", 100)
        redis_server.command("EVAL", "redis.call('GET', KEYS[1]) return redis.call('GET', KEYS[1])", 1, "x")
    redis_server.command("PING")
    assert counts == {"set": 1, "eval": 1, "get": 2}
    assert counts.total() == 4


def test_nothing_is_counted_when_nothing_is_asked(redis_server: RedisServer) -> None:
    with counting_commands(redis_server) as counts:
        pass
    assert counts.total() == 0


def test_the_recorder_shows_commands_in_order_and_who_ran_them(redis_server: RedisServer) -> None:
    with CommandRecorder(redis_server) as recorder:
        redis_server.command("SET", "x", 'a "b" \\ ü\r\nc', "EX", 100)
        redis_server.command("EVAL", "return redis.call('GET', KEYS[1])", 1, "x")
    redis_server.command("PING")
    assert [(c.name, c.by_script) for c in recorder.commands] == [
        ("SET", False),
        ("EVAL", False),
        ("GET", True),
    ]
    assert recorder.commands[0].words[:3] == ("SET", "x", 'a "b" \\ ü\r\nc')
    assert [c.name for c in recorder.sent()] == ["SET", "EVAL"]
    assert [c.words[-1] for c in recorder.sent("eval")] == ["x"]
    times = [c.at for c in recorder.commands]
    assert times == sorted(times)
