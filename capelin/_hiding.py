"""Takes passwords out of URLs before anybody sees them."""

import re

_SECRET = re.compile(r"([?&](?:[a-z_]*password)=)[^&#]*")


def hide_password(url: str) -> str:
    """Return the URL with `***` for every password in it, also when it is not a valid one.

    >>> hide_password("redis://me:secret@localhost/0")
    'redis://me:***@localhost/0'
    """
    scheme, mark, rest = _SECRET.sub(r"\1***", url).partition("://")
    login, at, place = rest.rpartition("@")
    if not (mark and at):
        return f"{scheme}{mark}{rest}"
    name, colon, _ = login.partition(":")
    return f"{scheme}://{name}:***@{place}" if colon else f"{scheme}://***@{place}"
