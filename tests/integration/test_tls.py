"""TLS to a real Redis: an authority of one's own, client certificates, and what a mistake is told."""

from pathlib import Path

import pytest

from capelin import Capelin, ConfigurationError, Settings, Unreachable
from capelin.connection import connect
from tests.conftest import OwnRedis
from tests.support.certificates import Authority
from tests.support.ports import free_port
from tests.support.workers import QUICK, RunningWorker

PASSWORD = "sesame"  # noqa: S105 -- of a key that lives as long as the test


class Secured:
    """A Redis that speaks TLS, and wants certificates of its clients."""

    def __init__(self, own_redis: OwnRedis, folder: Path, *, host: str = "127.0.0.1") -> None:
        self.authority = Authority(folder)
        server, self.client = self.authority.sign("server", host=host), self.authority.sign("client")
        self.port = free_port()
        own_redis(
            config={
                "tls-port": self.port,
                "tls-cert-file": str(server.cert),
                "tls-key-file": str(server.key),
                "tls-ca-cert-file": str(self.authority.ca),
                "tls-auth-clients": "yes",
            }
        )

    def url(self, **options: object) -> str:
        """Its URL, with these options beside the authority."""
        said = "&".join(
            f"{name}={value}" for name, value in {"ssl_ca_certs": self.authority.ca, **options}.items()
        )
        return f"rediss://127.0.0.1:{self.port}?{said}"


@pytest.fixture
def secured(own_redis: OwnRedis, tmp_path: Path) -> Secured:
    return Secured(own_redis, tmp_path)


async def test_a_fleet_lives_behind_tls_with_certificates_on_both_sides(
    secured: Secured, running_worker: RunningWorker
) -> None:
    hidden = secured.authority.sign("worker", password=PASSWORD)
    url = secured.url(ssl_certfile=hidden.cert, ssl_keyfile=hidden.key, ssl_password=PASSWORD)
    app = Capelin(url, settings=QUICK)

    @app.task
    async def double(n: int) -> int:
        return 2 * n

    async with app:
        await running_worker(app)
        jobs = await app.enqueue([double.job(n) for n in range(50)])
        assert [await job.result(timeout=20) for job in jobs] == [2 * n for n in range(50)]
    assert PASSWORD not in repr(app.client()) + repr(app)


async def test_a_client_without_a_certificate_is_told_that_the_server_wants_one(secured: Secured) -> None:
    connection = connect(secured.url(), socket_timeout=2)
    with pytest.raises(Unreachable, match="may want a client certificate: ssl_certfile"):
        await connection.command("PING")
    await connection.close()


async def test_a_certificate_of_another_authority_is_not_believed(secured: Secured, tmp_path: Path) -> None:
    other = Authority(tmp_path, "others")
    foreign = secured.url(
        ssl_ca_certs=other.ca, ssl_certfile=secured.client.cert, ssl_keyfile=secured.client.key
    )
    connection = connect(foreign)
    with pytest.raises(Unreachable, match="certificate verify failed"):
        await connection.command("PING")
    await connection.close()


async def test_a_certificate_for_another_host_is_not_believed_unless_one_says_so(
    own_redis: OwnRedis, tmp_path: Path
) -> None:
    secured = Secured(own_redis, tmp_path, host="127.0.0.9")
    mine = {"ssl_certfile": secured.client.cert, "ssl_keyfile": secured.client.key}
    connection = connect(secured.url(**mine))
    with pytest.raises(Unreachable, match="IP address mismatch"):
        await connection.command("PING")
    lenient = connect(secured.url(**mine, ssl_check_hostname="false"))
    assert await lenient.command("PING") == b"PONG"
    await connection.close()
    await lenient.close()


async def test_a_wrong_password_of_a_key_is_not_told(secured: Secured) -> None:
    hidden = secured.authority.sign("hidden", password=PASSWORD)
    url = secured.url(ssl_certfile=hidden.cert, ssl_keyfile=hidden.key, ssl_password="wrong-one")  # noqa: S106
    app = Capelin(url, settings=Settings(enqueue_timeout=1))
    with pytest.raises(ConfigurationError, match="certificate cannot be read") as caught:
        await app.client().connection.command("PING")
    assert "wrong-one" not in str(caught.value) + repr(caught.value)
    assert "ssl_password=***" in str(caught.value)
    await app.close()
