"""Opens a socket and logs in: TCP, TLS or Unix, then who we are and which database, in one round trip."""

import asyncio
import socket
import ssl

from capelin.connection.urls import TLS, Address, Login
from capelin.connection.wire import Command, Refusal, SocketWire
from capelin.errors import ConfigurationError, RedisRefused, Unreachable

_VERIFY = {"required": ssl.CERT_REQUIRED, "optional": ssl.CERT_OPTIONAL, "none": ssl.CERT_NONE}


class Dialler:
    """Opens wires to servers that share login, database and encryption.

    Args:
        url: The URL as it may be printed, for errors.
        login, db, client_name, tls: As in `Target`.
        connect_timeout: Seconds for the socket and the login together.
        silence: As in `SocketWire`.
    """

    def __init__(
        self,
        *,
        url: str,
        login: Login,
        db: int,
        client_name: str | None,
        tls: TLS | None,
        connect_timeout: float,
        silence: float,
    ) -> None:
        self.url, self.login, self.db, self.client_name, self.tls = url, login, db, client_name, tls
        self.connect_timeout, self.silence = connect_timeout, silence
        self._context: ssl.SSLContext | None = None

    async def open(self, address: Address) -> SocketWire:
        """A wire that is logged in.

        Raises:
            Unreachable: Nobody answers there, or not in time.
            RedisRefused: It answers, but does not let us in.
            ConfigurationError: The certificates cannot be read, or this system has no Unix sockets.
        """
        wire = SocketWire(name=str(address), silence=self.silence)
        try:
            async with asyncio.timeout(self.connect_timeout):
                await self._connect(wire, address)
                await self._greet(wire)
        except TimeoutError:
            wire.drop("not connected in time")
            cause = f"{address}: no connection within {self.connect_timeout:g} s"
            raise Unreachable(url=self.url, cause=cause) from None
        except OSError as error:
            wire.drop("not connected")
            raise Unreachable(url=self.url, cause=f"{address}: {explain(error)}") from error
        except BaseException:
            wire.drop("not connected")
            raise
        return wire

    async def _connect(self, wire: SocketWire, address: Address) -> None:
        loop = asyncio.get_running_loop()
        if not address.port:
            if not hasattr(socket, "AF_UNIX"):
                raise ConfigurationError(f"{self.url}: this system has no Unix sockets; use redis://host:port")
            await loop.create_unix_connection(lambda: wire, address.host)
            return
        transport, _ = await loop.create_connection(
            lambda: wire, address.host, address.port, ssl=self._ssl_context() if self.tls else None
        )
        raw = transport.get_extra_info("socket")
        if raw is not None:
            # A peer that vanished without a word is noticed also while it owes nothing.
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    async def _greet(self, wire: SocketWire) -> None:
        commands: list[Command] = []
        if self.login.password is not None or self.login.username is not None:
            username = () if self.login.username is None else (self.login.username,)
            commands.append(("AUTH", *username, self.login.password or ""))
        if self.db:
            commands.append(("SELECT", self.db))
        commands.append(("CLIENT", "SETNAME", self.client_name or "capelin"))
        replies = await wire.send(commands)
        for place, reply in enumerate(replies, start=1):
            if not isinstance(reply, Refusal):
                continue
            error = refused(self.url, wire.name, reply)
            # The name is a courtesy: a user without the right to give one may still work.
            if place < len(commands) or isinstance(error, Unreachable) or reply.code == "NOAUTH":
                raise error
        if wire.lost is not None:
            raise Unreachable(url=self.url, cause=f"{wire.name}: {wire.lost}")

    def _ssl_context(self) -> ssl.SSLContext:
        tls = self.tls
        if tls is None or self._context is not None:
            return self._context or ssl.create_default_context()
        try:
            context = ssl.create_default_context(cafile=tls.ca_certs, capath=tls.ca_path)
            context.check_hostname = tls.check_hostname
            context.verify_mode = _VERIFY[tls.cert_reqs]
            if tls.certfile is not None:
                context.load_cert_chain(tls.certfile, tls.keyfile, tls.password)
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(f"{self.url}: a certificate cannot be read: {error}") from error
        self._context = context
        return context


def refused(url: str, name: str, reply: Refusal, script: str | None = None) -> Unreachable | RedisRefused:
    """The one place where an error reply becomes an error of capelin.

    What passes by itself (a failover, a start, a script that keeps the server busy) is `Unreachable`: try again later.
    The rest needs a person: `RedisRefused`.
    """
    message = reply.message
    if any(sign in message for sign in _PASSING):
        return Unreachable(url=url, cause=f"{name}: {message}")
    if reply.code in {"MOVED", "ASK"}:
        message = f"{message}: this server is part of a Redis Cluster, use a redis+cluster:// URL"
    return RedisRefused(message=message, script=script)


# Not only as first word: a script's error carries the code of the command that failed inside it (Redis 6: after a dash).
_PASSING = (
    "BUSY ",
    "CLUSTERDOWN",
    "LOADING",
    "MASTERDOWN",
    "NOREPLICAS",
    "READONLY",
    "TRYAGAIN",
    "UNBLOCKED",
    "max number of clients",
    "non local key",
)


def explain(error: OSError) -> str:
    """The reason of a failed connect, for people."""
    text = str(error)
    if isinstance(error, ConnectionRefusedError) or "Connect call failed" in text:
        return "connection refused"
    if isinstance(error, socket.gaierror):
        return "the host name is not known"
    return text or type(error).__name__
