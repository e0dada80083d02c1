"""What scripts ask most often, answered without fakeredis's ceremony. The rest goes the usual way.

Each answer is what fakeredis would have said, as Lua wants it: `False` for nothing, `True` for a status.
"""

import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from typing import Any

from fakeredis._command_args_parsing import Float
from fakeredis._core import Item
from fakeredis.model import Hash, XStream, ZSet
from fakeredis.model._stream import MAX_ID_PART

Words = Sequence[bytes]

SLOWLY = object()
"""No answer: fakeredis is to be asked."""
_ONE_MEMBER = 3
_WITH_EXPIRY = 4
_KEY_AND_VALUE = 2
_WITH_COUNT = 5
_LIMITED = 6
_OF_ONE_CONSUMER = 6
_A_RANGE = 3
_A_FIELD = 3


def _item(db: Any, key: bytes, kind: type) -> Any:
    """A key's value; None if there is none; `SLOWLY` for one of another kind, or that expires."""
    item = db._dict.get(key)
    if item is None:
        return None
    return item.value if item.expireat is None and type(item.value) is kind else SLOWLY


def _new(db: Any, key: bytes, kind: Callable[[], Any]) -> Any:
    value = kind()
    db._dict[key] = Item(value)
    return value


# Hashes.


def _hget(db: Any, words: Words) -> Any:
    found = _item(db, words[0], Hash)
    if found is None:
        return False
    return SLOWLY if found is SLOWLY or found._expirations else found._values.get(words[1], False)


def _hmget(db: Any, words: Words) -> Any:
    found = _item(db, words[0], Hash)
    if found is None:
        return [False] * (len(words) - 1)
    if found is SLOWLY or found._expirations:
        return SLOWLY
    get = found._values.get
    return [get(word, False) for word in words[1:]]


def _hset(db: Any, words: Words) -> Any:
    found = _item(db, words[0], Hash)
    if found is SLOWLY or len(words) % 2 == 0 or len(words) < _A_FIELD:
        return SLOWLY
    if found is None:
        found = _new(db, words[0], Hash)
    elif found._expirations:
        return SLOWLY
    values = found._values
    before = len(values)
    values.update(zip(words[1::2], words[2::2], strict=True))
    db.notify_watch(words[0])
    return len(values) - before


def _hincrby(db: Any, words: Words) -> Any:
    found = _item(db, words[0], Hash)
    if found is None or found is SLOWLY or found._expirations:
        return SLOWLY
    try:
        value = int(found._values.get(words[1], b"0")) + int(words[2])
    except ValueError:
        return SLOWLY
    found._values[words[1]] = b"%d" % value
    db.notify_watch(words[0])
    return value


def _hexists(db: Any, words: Words) -> Any:
    found = _item(db, words[0], Hash)
    if found is None:
        return 0
    return SLOWLY if found is SLOWLY or found._expirations else int(words[1] in found._values)


def _hdel(db: Any, words: Words) -> Any:
    found = _item(db, words[0], Hash)
    if found is None:
        return 0
    if found is SLOWLY or found._expirations:
        return SLOWLY
    values = found._values
    there = {word for word in words[1:] if word in values}
    if not there:
        return 0
    if len(there) == len(values):
        return SLOWLY
    for word in there:
        del values[word]
    db.notify_watch(words[0])
    return len(there)


# Sorted sets.


def _zadd(db: Any, words: Words) -> Any:
    found = _item(db, words[0], ZSet)
    if found is SLOWLY or len(words) != _ONE_MEMBER or not words[1].isdigit():
        return SLOWLY
    if found is None:
        found = _new(db, words[0], ZSet)
    before = len(found)
    if found.add(words[2], float(words[1])):
        db.notify_watch(words[0])
    return len(found) - before


def _scored(scored: Any, *, with_scores: bool) -> Any:
    reply: list[bytes] = []
    for score, member in scored:
        if not score.is_integer():
            return SLOWLY
        reply.append(member)
        if with_scores:
            reply.append(b"%d" % score)
    return reply


def _zrange(db: Any, words: Words) -> Any:
    found = _item(db, words[0], ZSet)
    if found is None:
        return []
    if found is SLOWLY or words[1] != b"0" or not words[2].isdigit():
        return SLOWLY
    return _scored(found._byscore[: int(words[2]) + 1], with_scores=len(words) > _ONE_MEMBER)


def _zrangebyscore(db: Any, words: Words) -> Any:
    """Of what is due: `-inf now [WITHSCORES] [LIMIT 0 most]`."""
    found = _item(db, words[0], ZSet)
    if found is None:
        return []
    if found is SLOWLY or words[1] != b"-inf" or not words[2].isdigit():
        return SLOWLY
    options = words[3:]
    with_scores = bool(options) and options[0] == b"WITHSCORES"
    limit = options[with_scores:]
    if limit and not (len(limit) == _ONE_MEMBER and limit[0] == b"LIMIT" and limit[1] == b"0"):
        return SLOWLY
    due = found._byscore[: found._byscore.bisect_left((float(words[2]) + 1,))]
    if due and due[-1][0] > float(words[2]):
        return SLOWLY  # scores that are no whole numbers
    return _scored(due[: int(limit[2])] if limit else due, with_scores=with_scores)


def _zcount(db: Any, words: Words) -> Any:
    found = _item(db, words[0], ZSet)
    if found is None:
        return 0
    if found is SLOWLY or not words[1].isdigit() or words[2] != b"+inf":
        return SLOWLY
    return len(found) - found._byscore.bisect_left((float(words[1]),))


def _zrem(db: Any, words: Words) -> Any:
    found = _item(db, words[0], ZSet)
    if found is None:
        return 0
    return SLOWLY if found is SLOWLY or any(word in found for word in words[1:]) else 0


def _zscore(db: Any, words: Words) -> Any:
    found = _item(db, words[0], ZSet)
    if found is None:
        return False
    if found is SLOWLY:
        return SLOWLY
    score = found.get(words[1])
    return False if score is None else Float.encode(score, humanfriendly=False)


# Streams.


def _xlen(db: Any, words: Words) -> Any:
    found = _item(db, words[0], XStream)
    return 0 if found is None else SLOWLY if found is SLOWLY else len(found)


def _xinfo(db: Any, words: Words) -> Any:
    if words[0] != b"GROUPS":
        return SLOWLY
    found = _item(db, words[1], XStream)
    if found is None or found is SLOWLY:
        return SLOWLY
    reply: list[list[Any]] = []
    for group in found.groups_info(False):
        fields: list[Any] = []
        for name, value in group.items():
            fields += name, False if value is None else value
        reply.append(fields)
    return reply


def _id(text: bytes, otherwise: int) -> tuple[int, int]:
    moment, dash, number = text.partition(b"-")
    return int(moment), int(number) if dash else otherwise


def _xrange(db: Any, words: Words) -> Any:
    found = _item(db, words[0], XStream)
    if found is None:
        return []
    start, end, count = words[1], words[2], None
    if found is SLOWLY or end[:1] == b"(" or len(words) not in (_A_RANGE, _WITH_COUNT):
        return SLOWLY
    if len(words) == _WITH_COUNT:
        count = int(words[4])
    ids = found._ids
    first, last = 0, len(ids)
    try:
        if start[:1] == b"(":
            first = bisect_right(ids, _id(start[1:], 0))
        elif start != b"-":
            first = bisect_left(ids, _id(start, 0))
        if end != b"+":
            last = bisect_right(ids, _id(end, MAX_ID_PART))
    except ValueError:
        return SLOWLY
    return [found.format_record(one) for one in ids[first:last][:count]]


def _xpending(db: Any, words: Words) -> Any:
    """Of a consumer to which nothing was delivered."""
    found = _item(db, words[0], XStream)
    if found is None or found is SLOWLY or len(words) != _OF_ONE_CONSUMER:
        return SLOWLY
    group = found.group_get(words[1])
    if group is None or any(entry.consumer_name == words[5] for entry in group.pel.values()):
        return SLOWLY
    return []


# Keys, and the clock.


def _set(db: Any, words: Words) -> Any:
    expires = None
    if len(words) == _WITH_EXPIRY and words[2] == b"PX" and words[3].isdigit() and int(words[3]) > 0:
        expires = db.time + int(words[3]) / 1000.0
    elif len(words) != _KEY_AND_VALUE:
        return SLOWLY
    db.notify_watch(words[0])
    item = db.setdefault(words[0], Item(None))
    item.value, item.expireat = words[1], expires
    db.schedule_expiry(words[0], expires)
    return True


def _exists(db: Any, words: Words) -> Any:
    if len(words) != 1:
        return SLOWLY
    item = db._dict.get(words[0])
    return 0 if item is None else 1 if item.expireat is None else SLOWLY


def _persist(db: Any, words: Words) -> Any:
    item = db._dict.get(words[0])
    return 0 if item is None or item.expireat is None else SLOWLY


def _time(_: Any, __: Words) -> Any:
    now = round(time.time() * 1_000_000)
    return [b"%d" % (now // 1_000_000), b"%d" % (now % 1_000_000)]


QUICK: dict[bytes, Callable[[Any, Words], Any]] = {
    b"HGET": _hget,
    b"HMGET": _hmget,
    b"HSET": _hset,
    b"HINCRBY": _hincrby,
    b"HEXISTS": _hexists,
    b"HDEL": _hdel,
    b"ZADD": _zadd,
    b"ZRANGE": _zrange,
    b"ZRANGEBYSCORE": _zrangebyscore,
    b"ZCOUNT": _zcount,
    b"ZREM": _zrem,
    b"ZSCORE": _zscore,
    b"XLEN": _xlen,
    b"XINFO": _xinfo,
    b"XRANGE": _xrange,
    b"XPENDING": _xpending,
    b"SET": _set,
    b"EXISTS": _exists,
    b"PERSIST": _persist,
    b"TIME": _time,
}
"""By the command's name, as scripts write it."""

LISTS = {b"HMGET", b"ZRANGE", b"ZRANGEBYSCORE", b"XRANGE", b"TIME"}
"""Those whose reply is always a list, but for an error."""
