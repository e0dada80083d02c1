"""What scripts ask most often, answered without fakeredis's ceremony. The rest goes the usual way."""

import time
from collections.abc import Callable
from typing import Any

from fakeredis.model import Hash, XStream, ZSet

SLOWLY = object()
"""No answer: fakeredis is to be asked."""
_ONE_MEMBER = 3


def _item(db: Any, key: bytes, kind: type) -> Any:
    """A key's value; None if there is none; `SLOWLY` for one of another kind, or that expires."""
    item = db._dict.get(key)
    if item is None:
        return None
    return item.value if item.expireat is None and type(item.value) is kind else SLOWLY


def _hget(db: Any, words: list[bytes]) -> Any:
    found = _item(db, words[0], Hash)
    if found is None:
        return False
    return SLOWLY if found is SLOWLY or found._expirations else found._values.get(words[1], False)


def _hmget(db: Any, words: list[bytes]) -> Any:
    found = _item(db, words[0], Hash)
    if found is None:
        return [False] * (len(words) - 1)
    if found is SLOWLY or found._expirations:
        return SLOWLY
    values = found._values
    return [values.get(word, False) for word in words[1:]]


def _hset(db: Any, words: list[bytes]) -> Any:
    found = _item(db, words[0], Hash)
    if found is None or found is SLOWLY or found._expirations:
        return SLOWLY
    values = found._values
    before = len(values)
    values.update(zip(words[1::2], words[2::2], strict=True))
    db.notify_watch(words[0])
    return len(values) - before


def _zadd(db: Any, words: list[bytes]) -> Any:
    found = _item(db, words[0], ZSet)
    if found is None or found is SLOWLY or len(words) != _ONE_MEMBER or not words[1].isdigit():
        return SLOWLY
    before = len(found)
    if found.add(words[2], float(words[1])):
        db.notify_watch(words[0])
    return len(found) - before


def _zrange(db: Any, words: list[bytes]) -> Any:
    found = _item(db, words[0], ZSet)
    if found is None:
        return []
    if found is SLOWLY or words[1] != b"0" or not words[2].isdigit():
        return SLOWLY
    reply: list[bytes] = []
    for score, member in found._byscore[: int(words[2]) + 1]:
        if not score.is_integer():
            return SLOWLY
        reply.append(member)
        if len(words) > _ONE_MEMBER:
            reply.append(b"%d" % score)
    return reply


def _nothing(db: Any, words: list[bytes]) -> Any:
    """What a list of something says of a key that does not exist."""
    return [] if words[0] not in db._dict else SLOWLY


def _none(db: Any, words: list[bytes]) -> Any:
    """What a count of something says of a key that does not exist."""
    return 0 if words[0] not in db._dict else SLOWLY


def _xlen(db: Any, words: list[bytes]) -> Any:
    found = _item(db, words[0], XStream)
    return 0 if found is None else SLOWLY if found is SLOWLY else len(found)


def _exists(db: Any, words: list[bytes]) -> Any:
    if len(words) != 1:
        return SLOWLY
    item = db._dict.get(words[0])
    return 0 if item is None else 1 if item.expireat is None else SLOWLY


def _persist(db: Any, words: list[bytes]) -> Any:
    item = db._dict.get(words[0])
    return 0 if item is None or item.expireat is None else SLOWLY


def _time(_: Any, __: list[bytes]) -> Any:
    now = round(time.time() * 1_000_000)
    return [b"%d" % (now // 1_000_000), b"%d" % (now % 1_000_000)]


QUICK: dict[str, Callable[[Any, list[bytes]], Any]] = {
    "hget": _hget,
    "hmget": _hmget,
    "hset": _hset,
    "zadd": _zadd,
    "zrange": _zrange,
    "zrangebyscore": _nothing,
    "xrange": _nothing,
    "zcount": _none,
    "hexists": _none,
    "zrem": _none,
    "hdel": _none,
    "xack": _none,
    "xdel": _none,
    "xlen": _xlen,
    "exists": _exists,
    "persist": _persist,
    "time": _time,
}
