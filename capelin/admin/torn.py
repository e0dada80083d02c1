"""Names what lies in Redis where capelin keeps something and is not what it wrote, so that it can be mended.

Redis itself says only that some key is of another type. Whoever is on call must know which one.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

from capelin.connection import Connection
from capelin.errors import CapelinError, RedisRefused, TornKey
from capelin.keys import type_of

T = TypeVar("T")

_SIGNS = ("WRONGTYPE", "user_script", "not an integer")
"""What Redis says when a script or a command meets something that capelin did not write there."""


async def named(connection: Connection, error: RedisRefused) -> RedisRefused:
    """Return an error that names the torn key, for one in which Redis does not; else the same one.

    Args:
        connection: Where it was raised; it is asked for the types of the keys that the error is about.
        error: The error.
    """
    if isinstance(error, TornKey) or not error.keys or not any(sign in error.message for sign in _SIGNS):
        return error
    try:
        types = await connection.commands([("TYPE", key) for key in error.keys])
    except CapelinError:
        return error
    for key, found in zip(error.keys, types, strict=True):
        wanted = type_of(key)
        if isinstance(found, bytes) and wanted is not None and found.decode() not in ("none", wanted):
            return TornKey.of_type(key=key, found=found.decode(), wanted=wanted, script=error.script)
    return TornKey(
        key=error.keys[0], why=f"or what belongs to it cannot be read ({error.message})", script=error.script
    )


async def all_named(connection: Connection, replies: Sequence[T | Exception]) -> list[Any]:
    """Return replies with every torn key named that errors among them are about."""
    return [await named(connection, reply) if isinstance(reply, RedisRefused) else reply for reply in replies]
