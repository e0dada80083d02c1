"""Opens a socket and logs in: TCP, TLS or Unix, then who we are and which database, in one round trip."""

import asyncio
import socket
import ssl
from dataclasses import dataclass, field

from capelin.connection.refusals import Refusal, to_error
from capelin.connection.urls import TLS, Address, Login
from capelin.connection.wire import Command, SocketWire
from capelin.errors import ConfigurationError, Unreachable

_VERIFY = {"required": ssl.CERT_REQUIRED, "optional": ssl.CERT_OPTIONAL, "none": ssl.CERT_NONE}


@dataclass(kw_only=True)
class Dialler:
    """Opens wires to servers that share login, database and encryption.

    Attributes:
        url: The URL as it may be printed, for errors.
        login, db, client_name, tls: As in `Target`.
        connect_timeout: Seconds for the socket and the login together.
        silence: As in `SocketWire`.
    """

    url: str
    login: Login
    db: int = 0
    client_name: str | None = None
    tls: TLS | None = None
    connect_timeout: float
    silence: float
    _context: ssl.SSLContext | None = field(default=None, init=False, repr=False)

    async def open(self, address: Address) -> SocketWire:
        """A wire that is logged in.

        Raises:
            Unreachable: Nobody answers there, or not in time.
            RedisRefused: It answers, but does not let us in.
            ConfigurationError: The certificates cannot be read, or this system has no Unix sockets.
        """
        context = self._ssl_context()
        wire = SocketWire(name=str(address), silence=self.silence)
        try:
            async with asyncio.timeout(self.connect_timeout):
                await self._connect(wire, address, context)
                await self._greet(wire)
        except BaseException as error:
            wire.drop("it was never open")
            if isinstance(error, Unreachable) or not isinstance(error, OSError):
                raise
            cause = f"{address}: {self._explain(error)}"
            raise Unreachable(url=self.url, cause=cause) from error
        return wire

    async def _connect(self, wire: SocketWire, address: Address, context: ssl.SSLContext | None) -> None:
        loop = asyncio.get_running_loop()
        if not address.port:
            try:
                await loop.create_unix_connection(lambda: wire, address.host)
            except (AttributeError, NotImplementedError):
                raise ConfigurationError(
                    f"{self.url}: there are no Unix sockets here; use redis://host:port"
                ) from None
            return
        transport, _ = await loop.create_connection(lambda: wire, address.host, address.port, ssl=context)
        raw = transport.get_extra_info("socket")
        if raw is not None:
            # A peer that vanished without a word is noticed in time also while it owes nothing.
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    async def _greet(self, wire: SocketWire) -> None:
        commands: list[Command] = []
        if self.login.password is not None:
            username = () if self.login.username is None else (self.login.username,)
            commands.append(("AUTH", *username, self.login.password))
        if self.db:
            commands.append(("SELECT", self.db))
        commands.append(("CLIENT", "SETNAME", self.client_name or "capelin"))
        replies = await wire.send(commands)
        for place, reply in enumerate(replies, start=1):
            # The name is a courtesy: a user without the right to give one may still work.
            courtesy = place == len(commands)
            if isinstance(reply, Refusal) and (not courtesy or reply.passing or reply.code == "NOAUTH"):
                raise to_error(reply, url=self.url, server=wire.name)
        if len(replies) < len(commands):
            # With TLS 1.3 a server that wants a certificate says so by hanging up on the first command.
            bare = self.tls is not None and self.tls.certfile is None
            hint = "; it may want a client certificate: ssl_certfile, ssl_keyfile" if bare else ""
            raise Unreachable(url=self.url, cause=f"{wire.name}: {wire.lost}{hint}")

    def _ssl_context(self) -> ssl.SSLContext | None:
        tls = self.tls
        if tls is None or self._context is not None:
            return self._context
        try:
            context = ssl.create_default_context(cafile=tls.ca_certs, capath=tls.ca_path)
            context.check_hostname = tls.check_hostname
            context.verify_mode = _VERIFY[tls.cert_reqs]
            if tls.certfile is not None:
                context.load_cert_chain(tls.certfile, tls.keyfile, tls.password)
        except OSError as error:
            raise ConfigurationError(f"{self.url}: a certificate cannot be read: {error}") from error
        self._context = context
        return context

    def _explain(self, error: OSError) -> str:
        """Why a connect failed, for people."""
        text = str(error)
        if isinstance(error, TimeoutError):
            return f"no connection within {self.connect_timeout:g} s"
        if isinstance(error, ConnectionRefusedError) or "Connect call failed" in text:
            return "connection refused"
        if isinstance(error, socket.gaierror):
            return "the host name is not known"
        return text or type(error).__name__
