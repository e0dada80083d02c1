"""Takes passwords out of URLs before anybody sees them."""

import re

# A misspelt `password` is one, too: what is no option of ours is hidden.
_SECRET = re.compile(
    r"([?&](?!(?:db|client_name|username|sentinel_username|ssl_(?!password)[a-z_]*)=)[^=&#]*=)[^&#]*"
)


def hide_password(url: str) -> str:
    """Return the URL with `***` for every password in it, also when it is not a valid one.

    >>> hide_password("redis://me:secret@localhost/0")
    'redis://me:***@localhost/0'
    >>> hide_password("redis://localhost/0?pasword=secret&client_name=web")
    'redis://localhost/0?pasword=***&client_name=web'
    """
    scheme, mark, rest = _SECRET.sub(r"\1***", url).partition("://")
    login, at, place = rest.rpartition("@")
    if not (mark and at):
        return f"{scheme}{mark}{rest}"
    name, colon, _ = login.partition(":")
    return f"{scheme}://{name}:***@{place}" if colon else f"{scheme}://***@{place}"
