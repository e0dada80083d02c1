"""How Redis URLs are read, and what is said about those that cannot be."""

import os
import subprocess
import sys

import pytest

from capelin.connection import check_url, connect, hide_password
from capelin.connection.refusals import Refusal, to_error
from capelin.connection.urls import TLS, Address, Login, Target, parse_url
from capelin.errors import InvalidOption, InvalidURL, RedisRefused, Unreachable


@pytest.mark.parametrize(
    ("url", "kind", "addresses", "db"),
    [
        ("redis://localhost:6379/0", "redis", [Address("localhost", 6379)], 0),
        ("redis://localhost", "redis", [Address("localhost", 6379)], 0),
        ("redis://", "redis", [Address("localhost", 6379)], 0),
        ("REDIS://example.org:1/15", "redis", [Address("example.org", 1)], 15),
        ("redis://h?db=3", "redis", [Address("h", 6379)], 3),
        ("redis://[::1]:7000/2", "redis", [Address("::1", 7000)], 2),
        ("unix:///run/redis.sock?db=4", "redis", [Address("/run/redis.sock")], 4),
        ("unix://:pw@/run/my%20redis.sock", "redis", [Address("/run/my redis.sock")], 0),
        ("redis+cluster://a:1,b:2,c", "cluster", [Address("a", 1), Address("b", 2), Address("c", 6379)], 0),
        ("redis+cluster://a:1/0", "cluster", [Address("a", 1)], 0),
        ("redis+sentinel://a/main", "sentinel", [Address("a", 26379)], 0),
        ("redis+sentinel://a:1,b:2/main/5", "sentinel", [Address("a", 1), Address("b", 2)], 5),
        ("memory://", "memory", [], 0),
        ("memory://tests", "memory", [], 0),
    ],
)
def test_every_form_of_a_url_names_its_servers_and_database(
    url: str, kind: str, addresses: list[Address], db: int
) -> None:
    check_url(url)

    target = parse_url(url)

    assert (target.kind, list(target.addresses), target.db) == (kind, addresses, db)


def test_a_sentinel_url_names_the_service_and_both_logins() -> None:
    target = parse_url("redis+sentinel://me:p%40ss@a:1/main?sentinel_username=s&sentinel_password=t")

    assert target.service == "main"
    assert target.login == Login(username="me", password="p@ss")  # noqa: S106
    assert target.sentinel_login == Login(username="s", password="t")  # noqa: S106


def test_memory_servers_have_a_name_and_a_default_one() -> None:
    assert parse_url("memory://").service == "default"
    assert parse_url("memory://a").service == "a"


@pytest.mark.parametrize("url", ["redis://:s3cr@t?#/@h", "redis://h?password=s3cr%40t%3F%23/"])
def test_a_password_may_stand_before_the_host_or_in_the_query(url: str) -> None:
    assert parse_url(url).login == Login(password="s3cr@t?#/")  # noqa: S106


def test_tls_options_are_read_and_checked_certificates_are_the_default() -> None:
    assert parse_url("redis://h").tls is None
    assert parse_url("rediss://h").tls == TLS()
    assert parse_url("rediss+cluster://h?ssl_ca_certs=ca.pem&ssl_certfile=c&ssl_keyfile=k").tls == TLS(
        ca_certs="ca.pem", certfile="c", keyfile="k"
    )
    assert parse_url("rediss://h?ssl_cert_reqs=none").tls == TLS(cert_reqs="none", check_hostname=False)
    assert parse_url("rediss://h?ssl_check_hostname=no").tls == TLS(check_hostname=False)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("localhost:6379", "did you mean redis://localhost:6379?"),
        ("", "it has no scheme"),
        ("http://localhost", "starts with one of"),
        ("rediis://localhost", "did you mean redis://?"),
        ("redis-cluster://localhost", "did you mean redis+cluster://?"),
        ("redis://localhost:none", "port 'none' is not a number"),
        ("redis://localhost:0", "port '0' is not a number"),
        ("redis://localhost:65536", "port '65536' is not a number"),
        ("redis://localhost/first", "database 'first' is not a number"),
        ("redis://a,b", "redis+cluster://"),
        ("redis://::1:6379", "brackets"),
        ("redis://h?retry_on_timeout=yes", "unknown option retry_on_timeout"),
        ("redis://h?ssl_ca_certs=x", "needs rediss://"),
        ("rediss://h?ssl_cert_reqs=maybe", "required, optional, none"),
        ("rediss://h?ssl_check_hostname=maybe", "neither true nor false"),
        ("redis+cluster://a:1/2", "one database only"),
        ("redis+cluster://", "a host is missing"),
        ("redis+cluster://a:1,", "a host is missing"),
        ("redis+sentinel://a:1", "service's name is missing"),
        ("redis+sentinel://a:1/", "service's name is missing"),
        ("unix://run/redis.sock", "absolute"),
        ("redis://h?db", "host:port"),
        ("memory://a/b", "memory://tests"),
        ("memory://?db=1", "unknown option db; it takes none"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_with_what_to_do(url: str, said: str) -> None:
    with pytest.raises(InvalidURL) as refusal:
        check_url(url)

    assert said in str(refusal.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://me:s3cret@h/x",
        "redis://:s3cret@h/x",
        "redis://me:s3c@ret@h/x",
        "redis://me:p/s3cret@h/x",
        "redis://me:p?s3cret@h/x",
        "redis://h/x?password=s3cret",
        "redis://h/x?password=a@s3cret",
        "redis://h/x?pasword=s3cret",
        "redis+sentinel://h?sentinel_password=s3cret",
        "nonsense://me:s3cret@h",
        "redis://me:s3cret#@h:port",
    ],
)
def test_no_error_and_no_repr_shows_a_password(url: str) -> None:
    with pytest.raises(InvalidURL) as refusal:
        check_url(url)

    assert "s3c" not in str(refusal.value)
    assert "ret" not in str(refusal.value).replace("retry", "")
    assert "s3cret" not in hide_password(url)


def test_a_target_does_not_show_its_passwords() -> None:
    target = parse_url("rediss+sentinel://me:s3cret@h/main?sentinel_password=s3cret&ssl_password=s3cret")

    assert isinstance(target, Target)
    assert "s3cret" not in repr(target)
    assert "me:***@h" in target.url


def test_connecting_does_nothing_yet_and_the_connection_says_where_to() -> None:
    connection = connect("redis://me:s3cret@nowhere.invalid/3")

    assert repr(connection) == "<Connection redis://me:***@nowhere.invalid/3>"
    assert connection.kind == "redis"


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_timeouts_are_above_zero(seconds: float) -> None:
    with pytest.raises(InvalidOption, match="socket_timeout"):
        connect("redis://h", socket_timeout=seconds)
    with pytest.raises(InvalidOption, match="connect_timeout"):
        connect("redis://h", connect_timeout=seconds)


def test_importing_the_connection_loads_no_fakeredis() -> None:
    code = "import capelin.connection, sys; sys.exit('fakeredis' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False, env=os.environ).returncode == 0


@pytest.mark.parametrize(
    "message",
    [
        "READONLY You can't write against a read only replica.",
        "ERR Error running script (call to f_1): @user_script:1: -READONLY You can't write to a replica.",
        "LOADING Redis is loading the dataset in memory",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "CLUSTERDOWN Hash slot not served",
        "TRYAGAIN Multiple keys request during rehashing of slot",
        "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
        "NOREPLICAS Not enough good replicas to write.",
        "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
        "ERR max number of clients reached",
        "ERR Script attempted to access a non local key in a cluster node script: 1, on @user_script:1.",
    ],
)
def test_what_passes_by_itself_counts_as_unreachable(message: str) -> None:
    error = to_error(Refusal(message), url="redis://h", server="h:1", script="take")

    assert isinstance(error, Unreachable)
    assert error.retryable
    assert message in str(error)


@pytest.mark.parametrize(
    "message",
    [
        "OOM command not allowed when used memory > 'maxmemory'.",
        "NOPERM this user has no permissions to run the 'evalsha' command",
        "WRONGTYPE Operation against a key holding the wrong kind of value",
        "BUSYGROUP Consumer Group name already exists",
        "MISCONF Redis is configured to save RDB snapshots",
        "ERR unknown command 'READONLY'",
    ],
)
def test_what_needs_a_person_is_refused_by_name_of_the_script(message: str) -> None:
    error = to_error(Refusal(message), url="redis://h", server="h:1", script="take")

    assert isinstance(error, RedisRefused)
    assert (error.script, error.message, error.retryable) == ("take", message, False)
