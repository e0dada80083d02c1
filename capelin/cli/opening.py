"""How commands come by an app, and by settings that options of the command line change."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from capelin.app import Capelin
    from capelin.settings import Settings


def open_app(path: str, *, app_dir: str, redis: str | None, prefix: str | None) -> "Capelin[Any]":
    """Import an app; ``--redis`` and ``--prefix`` hold for it, and for the processes that this one starts.

    Raises:
        CannotLoad: There is no such app, or its module fails on import.
        InvalidURL, InvalidName: What was typed is not allowed.
        ConfigurationError: A setting makes no sense.
    """
    from capelin._binding import override
    from capelin.loading import load_app, make_importable

    override(url=redis, prefix=prefix)
    make_importable(app_dir)
    return load_app(path)


def check_shared(url: str) -> None:
    """Refuse a Redis that no other process can see.

    Raises:
        InvalidURL: The URL cannot be understood.
        ConfigurationError: It is ``memory://``.
    """
    from capelin.connection import check_url
    from capelin.errors import ConfigurationError

    check_url(url)
    if url.startswith("memory:"):
        raise ConfigurationError(
            f"{url} lives inside one process, which no command can look into; "
            "`capelin dev APP` starts a Redis when there is none"
        )


def changed(settings: "Settings", **changes: object) -> "Settings":
    """Return settings with those changes that are not None, checked.

    Raises:
        ConfigurationError: A value makes no sense.
    """
    from pydantic import ValidationError

    from capelin.errors import ConfigurationError
    from capelin.settings import Settings

    wanted = {name: value for name, value in changes.items() if value is not None}
    if not wanted:
        return settings
    try:
        return Settings.model_validate(settings.model_dump() | wanted)
    except ValidationError as cause:
        problems = "; ".join(
            f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in cause.errors()
        )
        raise ConfigurationError(problems) from cause


def configure_logs() -> None:
    """Have this process log as the settings of the environment say.

    Raises:
        ConfigurationError: A setting makes no sense.
    """
    from capelin._binding import load_settings
    from capelin.logs import configure

    settings = load_settings()
    configure(level=settings.log_level, format=settings.log_format)
