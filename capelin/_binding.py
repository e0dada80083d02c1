"""What an app is bound to: a Redis, a prefix, settings, and the clients that are open there.

An app has one binding of its own, made when first needed; ``testing`` puts another in its place for a while.
"""

import os
from functools import partial
from typing import Any, Final

from pydantic import ValidationError

from capelin._clients import Clients
from capelin._portal import Portal
from capelin._rows import Describe
from capelin.client import Client
from capelin.connection import check_url, hide_password
from capelin.errors import ConfigurationError
from capelin.keys import Keys
from capelin.settings import Settings

# The command line's --redis and --prefix hold for the processes that it starts, too: hence variables.
_URL: Final = "CAPELIN_CLI_REDIS_URL"
_SECRET: Final = frozenset({"CAPELIN_ENCRYPTION_KEYS", "CAPELIN_REDIS_URL"})
_PREFIX: Final = "CAPELIN_CLI_PREFIX"


def override(*, url: str | None = None, prefix: str | None = None) -> None:
    """Let a Redis and a prefix hold for every app, whatever it says, here and in processes that start here.

    What the command line does with ``--redis`` and ``--prefix``, before it imports an app.

    Args:
        url: A Redis URL, or None to leave it.
        prefix: A prefix of keys, or None to leave it.

    Raises:
        InvalidURL: The URL cannot be understood.
        InvalidName: The prefix is not allowed.
    """
    if url is not None:
        check_url(url)
        os.environ[_URL] = url
    if prefix is not None:
        os.environ[_PREFIX] = Keys(prefix).prefix


def load_settings() -> Settings:
    """Return the settings of this process: ``CAPELIN_<NAME>``.

    Raises:
        ConfigurationError: A variable has a value that makes no sense.
    """
    try:
        return Settings()
    except ValidationError as cause:
        problems = "; ".join(_problem(error) for error in cause.errors())
        raise ConfigurationError(f"settings: {problems}") from cause


class Binding:
    """A Redis, a prefix, settings, and the clients that are open there.

    Args:
        url: Where Redis is, as the app says; None leaves it to the settings.
        prefix: The prefix, as the app says; None leaves it to the settings.
        settings: None for those of the environment.
        describe: Tells of the tasks that ``on_failure`` names.
        final: The command line does not override it: a test's.
        check_round_trip: Arguments are read back and compared when a job is made.

    Raises:
        ConfigurationError: A setting makes no sense, or the URL or prefix.
    """

    def __init__(
        self,
        *,
        url: str | None,
        prefix: str | None,
        settings: Settings | None,
        describe: Describe,
        final: bool = False,
        check_round_trip: bool = False,
    ) -> None:
        self.settings = load_settings() if settings is None else settings
        url = url if url is not None else self.settings.redis_url
        prefix = prefix if prefix is not None else self.settings.prefix
        if not final:
            url, prefix = os.environ.get(_URL, url), os.environ.get(_PREFIX, prefix)
        check_url(url)
        self.url, self.keys = url, Keys(prefix)
        self.check_round_trip = check_round_trip
        self.clients = Clients(
            partial(Client, url=url, keys=self.keys, settings=self.settings, describe=describe)
        )
        self.portal = Portal()

    def __repr__(self) -> str:
        return f"<Binding {hide_password(self.url)} prefix={self.keys.prefix}>"


def _problem(error: Any) -> str:
    if not error["loc"]:
        return str(error["msg"]).removeprefix("Value error, ")
    variable = f"CAPELIN_{'_'.join(map(str, error['loc'])).upper()}"
    shown = "***" if variable in _SECRET else error["input"]
    return f"{variable}={shown}: {error['msg']}"
