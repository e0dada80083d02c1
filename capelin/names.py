"""Which names are allowed.

Task, queue, worker and schedule names become parts of Redis keys, job ids, metric labels and shell
commands. One alphabet serves all of them, so that nothing needs quoting and an id can be taken apart again.
"""

import re

from capelin.errors import InvalidName

_NAME = re.compile(r"[A-Za-z0-9_.-]+")
MAX_NAME_LENGTH = 200


def check_name(kind: str, value: str) -> str:
    """Return ``value`` if it is a legal name, else raise.

    Args:
        kind: What is being named (``"queue"``, ``"task"``), for the message.
        value: The name as the user gave it.

    Raises:
        InvalidName: The name is empty, too long, or has other characters than letters, digits, ``_``, ``.``
            and ``-``.

    Example:
        >>> check_name("queue", "emails")
        'emails'
    """
    if not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance] -- it arrives from users
        raise InvalidName(kind=kind, name=repr(value), why="a name is a string")
    if len(value) > MAX_NAME_LENGTH:
        raise InvalidName(kind=kind, name=value[:40] + "…", why=f"at most {MAX_NAME_LENGTH} characters")
    if not _NAME.fullmatch(value):
        raise InvalidName(
            kind=kind, name=repr(value), why="letters, digits, '_', '.' and '-' only, at least one"
        )
    return value
