"""Redis URLs, read once and strictly: a misspelt address is refused with a hint, before any network.

Only this module knows how an address is written; the rest of the package sees a `Target`. Passwords never
leave it in print: `Target.url` and every error show `***` in their place.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import parse_qsl, unquote

from capelin._hiding import hide_password
from capelin.errors import InvalidURL

Kind = Literal["redis", "cluster", "sentinel", "memory"]

_SCHEMES: dict[str, tuple[Kind, bool]] = {
    "redis": ("redis", False),
    "rediss": ("redis", True),
    "unix": ("redis", False),
    "redis+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
    "redis+sentinel": ("sentinel", False),
    "rediss+sentinel": ("sentinel", True),
    "memory": ("memory", False),
}
_EXAMPLES: dict[str, str] = {
    "redis": "redis://localhost:6379/0",
    "cluster": "redis+cluster://host1:6379,host2:6379",
    "sentinel": "redis+sentinel://host1:26379,host2:26379/service-name/0",
    "memory": "memory://",
}
_PORTS: dict[Kind, int] = {"redis": 6379, "cluster": 6379, "sentinel": 26379, "memory": 0}
_TLS_OPTIONS = frozenset(
    {
        "ssl_ca_certs",
        "ssl_ca_path",
        "ssl_cert_reqs",
        "ssl_certfile",
        "ssl_check_hostname",
        "ssl_keyfile",
        "ssl_password",
    }
)
_LOGIN_OPTIONS = frozenset({"client_name", "password", "username"})
_SENTINEL_OPTIONS = frozenset({"sentinel_password", "sentinel_username"})
# A password may hold a question mark: only what looks like an option begins the query.
_QUERY = re.compile(r"\?(?=[a-z_]+=|$)")
_MAX_PORT = 65535


@dataclass(frozen=True, order=True)
class Address:
    """Where a server listens: a host and a port, or the path of a Unix socket (then `port` is 0)."""

    host: str
    port: int = 0

    def __str__(self) -> str:
        if not self.port:
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, kw_only=True)
class TLS:
    """How to encrypt: the `ssl_*` options of a URL, as redis-py names them."""

    ca_certs: str | None = None
    ca_path: str | None = None
    cert_reqs: Literal["required", "optional", "none"] = "required"
    certfile: str | None = None
    keyfile: str | None = None
    password: str | None = field(default=None, repr=False)
    check_hostname: bool = True


@dataclass(frozen=True, kw_only=True)
class Login:
    """Who the client is: a name and a password, each optional."""

    username: str | None = None
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a URL names.

    Attributes:
        kind: Which of the four kinds of Redis.
        url: The URL as it may be printed.
        addresses: The servers to try, in order (seeds of a Cluster, sentinels); empty for `memory`.
        db: The database; always 0 in a Cluster.
        login: For the Redis servers.
        sentinel_login: For the sentinels.
        service: The master's name in Sentinel, or the name of the in-process server.
        client_name: What `CLIENT LIST` shows.
        tls: None for a plain socket.
    """

    kind: Kind
    url: str
    addresses: tuple[Address, ...] = ()
    db: int = 0
    login: Login = Login()
    sentinel_login: Login = Login()
    service: str = ""
    client_name: str | None = None
    tls: TLS | None = None


def check_url(url: str) -> None:
    """Refuse a URL that no `connect` could use.

    Raises:
        InvalidURL: With what is wrong and what it should look like.

    >>> check_url("redis://localhost:6379/0")
    """
    parse_url(url)


def parse_url(url: str) -> Target:
    """Read a Redis URL.

    Raises:
        InvalidURL: As `check_url`.
    """
    return _Reader(url).target()


class _Reader:
    """Takes one URL apart; every refusal names the URL as it may be printed."""

    kind: Kind
    encrypted: bool

    def __init__(self, url: str) -> None:
        self.printable = hide_password(url)
        scheme, mark, rest = url.strip().partition("://")
        self.scheme = scheme.lower()
        if not mark:
            raise self.refusal(f"it has no scheme; did you mean redis://{hide_password(url).lstrip('/')}?")
        if self.scheme not in _SCHEMES:
            near = difflib.get_close_matches(self.scheme.replace("-", "+"), _SCHEMES, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}://? " if near else ""
            raise self.refusal(f"{hint}it starts with one of {', '.join(f'{name}://' for name in _SCHEMES)}")
        self.kind, self.encrypted = _SCHEMES[self.scheme]
        rest, *query = _QUERY.split(rest, maxsplit=1)
        self.options = self._options(query[0] if query else "")
        login, _, place = rest.rpartition("@")
        self.login = self._login(login)
        self.place = place

    def refusal(self, why: str) -> InvalidURL:
        return InvalidURL(url=self.printable, why=why)

    def target(self) -> Target:
        if self.kind == "memory":
            return self._memory()
        if self.scheme == "unix":
            return self._unix()
        hosts, _, path = self.place.partition("/")
        addresses = tuple(self._address(part) for part in hosts.split(","))
        if self.kind == "redis" and len(addresses) > 1:
            raise self.refusal(
                f"several hosts need redis+cluster:// or redis+sentinel://, like {_EXAMPLES['cluster']}"
            )
        service, db = self._path(unquote(path).rstrip("/"))
        return Target(
            kind=self.kind,
            url=self.printable,
            addresses=addresses,
            db=db,
            login=self.login,
            sentinel_login=self._sentinel_login(),
            service=service,
            client_name=self.options.get("client_name"),
            tls=self._tls() if self.encrypted else None,
        )

    def _memory(self) -> Target:
        if "/" in self.place.rstrip("/") or self.login != Login():
            raise self.refusal("it takes a name at most, like memory://tests")
        return Target(kind="memory", url=self.printable, service=self.place.rstrip("/") or "default")

    def _unix(self) -> Target:
        path = unquote(self.place)
        if not path.startswith("/"):
            raise self.refusal(
                "the path of a Unix socket is absolute, like unix:///run/redis/redis.sock?db=0"
            )
        return Target(
            kind="redis",
            url=self.printable,
            addresses=(Address(path),),
            db=self._db(self.options.get("db", "")),
            login=self.login,
            client_name=self.options.get("client_name"),
        )

    def _options(self, query: str) -> Mapping[str, str]:
        allowed: set[str] = set()
        if self.kind != "memory":
            allowed |= _LOGIN_OPTIONS
        if self.kind in {"redis", "sentinel"}:
            allowed.add("db")
        if self.kind == "sentinel":
            allowed |= _SENTINEL_OPTIONS
        if self.encrypted:
            allowed |= _TLS_OPTIONS
        options = dict(parse_qsl(query, keep_blank_values=True))
        for name in options:
            if name in allowed:
                continue
            if name in _TLS_OPTIONS and self.kind != "memory":
                raise self.refusal(f"option {name} needs rediss:// in the place of redis://")
            known = f"it takes {', '.join(sorted(allowed))}" if allowed else "it takes none"
            raise self.refusal(f"unknown option {name}; {known}")
        return options

    def _login(self, text: str) -> Login:
        username, colon, password = text.partition(":")
        return Login(
            username=unquote(username) or self.options.get("username") or None,
            password=(unquote(password) if colon else "") or self.options.get("password") or None,
        )

    def _sentinel_login(self) -> Login:
        return Login(
            username=self.options.get("sentinel_username") or None,
            password=self.options.get("sentinel_password") or None,
        )

    def _address(self, text: str) -> Address:
        match = re.fullmatch(
            r"(?:\[(?P<v6>[0-9A-Fa-f:.%]+)\]|(?P<host>[^:\[\]\s?#]*))(?::(?P<port>[^:]*))?", text
        )
        if match is None:
            raise self.refusal(f"{text!r} is not host:port (an IPv6 address stands in brackets: [::1]:6379)")
        host = unquote(match["v6"] or match["host"] or "")
        if not host and self.kind != "redis":
            raise self.refusal(f"a host is missing; it looks like {_EXAMPLES[self.kind]}")
        port = match["port"] or str(_PORTS[self.kind])
        if not (port.isascii() and port.isdigit() and 0 < int(port) <= _MAX_PORT):
            hint = (
                "; percent-encode the password's special characters"
                if ":" in text and "@" in self.printable
                else ""
            )
            raise self.refusal(f"port {port!r} is not a number from 1 to {_MAX_PORT}{hint}")
        return Address(host or "localhost", int(port))

    def _path(self, path: str) -> tuple[str, int]:
        """The service's name and the database."""
        service = ""
        if self.kind == "sentinel":
            service, _, path = path.partition("/")
            if not service:
                raise self.refusal(f"the service's name is missing; it looks like {_EXAMPLES['sentinel']}")
        db = self._db(path or self.options.get("db", ""))
        if self.kind == "cluster" and db:
            raise self.refusal("a Redis Cluster has one database only, 0; leave it out")
        return service, db

    def _db(self, text: str) -> int:
        if not text:
            return 0
        if not (text.isascii() and text.isdigit()):
            raise self.refusal(f"database {text!r} is not a number; it looks like {_EXAMPLES['redis']}")
        return int(text)

    def _tls(self) -> TLS:
        reqs = self.options.get("ssl_cert_reqs", "required").lower()
        if reqs not in {"required", "optional", "none"}:
            raise self.refusal(f"ssl_cert_reqs={reqs} is not one of required, optional, none")
        check = self.options.get("ssl_check_hostname", "false" if reqs == "none" else "true").lower()
        if check not in {"true", "false", "1", "0", "yes", "no"}:
            raise self.refusal(f"ssl_check_hostname={check} is neither true nor false")
        verified: Literal["required", "optional", "none"] = (
            "none" if reqs == "none" else "optional" if reqs == "optional" else "required"
        )
        return TLS(
            ca_certs=self.options.get("ssl_ca_certs"),
            ca_path=self.options.get("ssl_ca_path"),
            cert_reqs=verified,
            certfile=self.options.get("ssl_certfile"),
            keyfile=self.options.get("ssl_keyfile"),
            password=self.options.get("ssl_password"),
            check_hostname=check in {"true", "1", "yes"} and verified != "none",
        )
