"""No command prints a password or a key, whatever goes wrong."""

import pytest

from tests.cli.conftest import Run
from tests.support.ports import LOOPBACK, free_port
from tests.support.servers import RedisServer

SECRET = "hunter2"  # noqa: S105 -- it is nobody's
QUOTED = "h%75nter2"
"""The same, percent-encoded."""
KEY = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlYyE="
EVERY = (
    ("queues", "--json"),
    ("dlq", "replay", "--all"),
    ("workers", "--json"),
    ("schedules", "--json"),
    ("doctor", "--only", "version", "--only", "acl", "--json"),
    ("doctor", "--acl"),
    ("enqueue", "tests.cli.apps.shop:app", "greet", '["x"]'),
    ("worker", "tests.cli.apps.shop:app", "--no-such-option"),
)


@pytest.fixture
def locked(redis_server: RedisServer) -> RedisServer:
    """A server with a user who has a password."""
    redis_server.command("ACL", "SETUSER", "ops", "on", f">{SECRET}", "~*", "&*", "+@all")
    return redis_server


def urls(server: RedisServer) -> list[str]:
    """Good ones and bad ones: a wrong password, nobody there, no such scheme, a port that is none."""
    place = f"{LOOPBACK}:{server.port}"
    nobody = f"{LOOPBACK}:{free_port()}"
    return [
        f"redis://ops:{QUOTED}@{place}/0",
        f"redis://ops:{QUOTED}-wrong@{place}/0",
        f"redis://:{QUOTED}@{nobody}/0",
        f"redis+cluster://ops:{QUOTED}@{place}",
        f"redis+sentinel://ops:{QUOTED}@{nobody}/main?sentinel_password={QUOTED}",
        f"http://ops:{SECRET}@{place}",
        f"redis://ops:{SECRET}@{LOOPBACK}:port/0",
        f"redis://ops:{SECRET}@{place}/0?password={SECRET}&nonsense={SECRET}",
    ]


@pytest.mark.parametrize("kind", range(8))
def test_a_password_is_printed_by_no_command_and_no_error(
    run: Run, locked: RedisServer, monkeypatch: pytest.MonkeyPatch, kind: int
) -> None:
    monkeypatch.setenv("CAPELIN_ENCRYPTION_KEYS", KEY)
    monkeypatch.setenv("CAPELIN_LOG_LEVEL", "debug")
    try:
        url = urls(locked)[kind]
        monkeypatch.setenv("CAPELIN_REDIS_URL", url)
        for words in EVERY:
            said = run(*words)
            told = said.out + said.err
            assert SECRET not in told, (words, told)
            assert QUOTED not in told, (words, told)
            assert KEY not in told, (words, told)
        refused = run("queues", "--redis", url).err
        assert SECRET not in refused
        assert QUOTED not in refused
    finally:
        locked.command("ACL", "DELUSER", "ops")
