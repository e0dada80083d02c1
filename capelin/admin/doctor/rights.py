"""The rights that capelin needs in Redis, as one line of ACL, and which of them a user lacks.

What the scripts call is read from the scripts themselves; what the rest of capelin sends is listed here, and
tests hold that list against the code, and the line against a fleet that runs with no other right.
"""

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files

from capelin.connection.urls import Kind
from capelin.lua.call import Script

Words = tuple[str, ...]

CALL = re.compile(r"redis\.p?call\(\s*'([A-Za-z]+)'(?:\s*,\s*'([A-Za-z]+)')?")
_CONTAINERS = frozenset({"ACL", "CLIENT", "CLUSTER", "CONFIG", "SCRIPT", "XGROUP", "XINFO"})

# fmt: off
SENT: Mapping[Kind | None, Sequence[Words]] = {
    None: (
        ("EVALSHA",), ("PING",), ("TIME",), ("WAIT",), ("SELECT",), ("SUBSCRIBE",), ("UNSUBSCRIBE",),
        ("BLPOP",), ("LPUSH",), ("LRANGE",), ("EXPIRE",), ("SADD",), ("SMEMBERS",), ("ZRANGE",), ("EXISTS",),
        ("GET",), ("HGET",), ("HMGET",), ("HGETALL",), ("HKEYS",), ("HDEL",), ("HEXISTS",), ("HINCRBY",),
        ("HSTRLEN",),
        ("TYPE",), ("XADD",), ("XREAD",), ("XLEN",), ("XRANGE",),
        ("SCRIPT", "LOAD"),
        ("CLIENT", "ID"),
        ("CLIENT", "SETNAME"),
        ("CLIENT", "UNBLOCK"),
    ),
    "cluster": (("ASKING",), ("CLUSTER", "SLOTS")),
    "sentinel": (("ROLE",),),
}
# fmt: on
"""What is sent beside the scripts: to every kind of Redis (None), and to some."""

# Whether the present user may, asked of the server without doing it. 1: yes; 0: no; -1: there is no such
# command; -2: the server is older than 7.0 and cannot be asked.
PROBE = Script(
    name="rights",
    text="""-- capelin rights
local replies = {}
for i, words in ipairs(cjson.decode(ARGV[1])) do
  if redis.acl_check_cmd == nil then
    replies[i] = -2
  else
    local known, may = pcall(redis.acl_check_cmd, unpack(words))
    replies[i] = not known and -1 or (may and 1 or 0)
  end
end
return replies
""",
)

_SUFFIX: Mapping[Words, Words] = {
    ("BLPOP",): ("0.01",),
    ("CLIENT", "SETNAME"): ("capelin",),
    ("CLIENT", "UNBLOCK"): ("0",),
    ("EXPIRE",): ("1",),
    ("LRANGE",): ("0", "1"),
    ("PEXPIRE",): ("1",),
    ("SCRIPT", "LOAD"): ("return 1",),
    ("SELECT",): ("0",),
    ("WAIT",): ("0", "1"),
    ("XACK",): ("g", "0-1"),
    ("XADD",): ("*", "j", "u"),
    ("XDEL",): ("0-1",),
    ("XGROUP", "CREATE"): ("g", "0"),
    ("XGROUP", "DELCONSUMER"): ("g", "c"),
    ("XINFO", "CONSUMERS"): ("g",),
    ("XPENDING",): ("g",),
    ("XRANGE",): ("-", "+"),
    ("XREVRANGE",): ("+", "-"),
    ("ZADD",): ("1", "m"),
    ("ZRANGE",): ("0", "1"),
    ("ZREVRANGE",): ("0", "1"),
    ("HDEL",): ("f",),
    ("HEXISTS",): ("f",),
    ("HGET",): ("f",),
    ("HINCRBY",): ("f", "1"),
    ("HMGET",): ("f",),
    ("HSCAN",): ("0",),
    ("HSET",): ("f", "v"),
    ("HSETNX",): ("f", "v"),
    ("HSTRLEN",): ("f",),
    ("LPUSH",): ("1",),
    ("RPUSH",): ("1",),
    ("SADD",): ("m",),
    ("SET",): ("v",),
    ("ZCOUNT",): ("0", "1"),
    ("ZRANGEBYSCORE",): ("0", "1"),
    ("ZREM",): ("m",),
    ("ZREMRANGEBYSCORE",): ("0", "1"),
    ("ZSCORE",): ("m",),
}
_ODD: Mapping[Words, Words] = {
    ("EVALSHA",): (PROBE.sha, "1", "{key}"),
    ("PUBLISH",): ("{channel}", "completed"),
    ("SUBSCRIBE",): ("{channel}",),
    ("UNSUBSCRIBE",): ("{channel}",),
    ("XREAD",): ("COUNT", "1", "STREAMS", "{key}", "0"),
    ("XREADGROUP",): ("GROUP", "g", "c", "COUNT", "1", "STREAMS", "{key}", ">"),
}
_KEYLESS = frozenset({"ASKING", "PING", "ROLE", "TIME", "SELECT", "WAIT", "CLIENT", "CLUSTER", "SCRIPT"})


@cache
def of_scripts() -> frozenset[Words]:
    """Return every command that a script calls."""
    folder = files("capelin.lua")
    texts = [
        entry.read_text(encoding="utf-8")
        for place in (folder, folder.joinpath("includes"))
        for entry in place.iterdir()
        if entry.name.endswith(".lua")
    ]
    found: set[Words] = set()
    for name, sub in (match for text in texts for match in CALL.findall(text)):
        found.add((name.upper(), sub.upper()) if name.upper() in _CONTAINERS else (name.upper(),))
    return frozenset(found)


def needed(kind: Kind = "redis", *, db: int = 0) -> list[Words]:
    """Return every command that capelin sends to a kind of Redis, in order."""
    wanted = of_scripts() | set(SENT[None]) | set(SENT.get(kind, ()))
    return sorted(wanted if db else wanted - {("SELECT",)})


def acl_line(user: str = "capelin", *, prefix: str = "capelin", kind: Kind = "redis", db: int = 0) -> str:
    """Return the command that makes a user with the rights that capelin needs, and no other.

    Args:
        user: The user's name.
        prefix: What every key begins with.
        kind: Which of the kinds of Redis it is.
        db: The database; another than 0 has to be selected.

    >>> acl_line()[:76]
    'ACL SETUSER capelin reset on >PASSWORD resetchannels ~capelin:* &capelin:* +'
    """
    rights = " ".join(right(words) for words in needed(kind, db=db))
    return f"ACL SETUSER {user} reset on >PASSWORD resetchannels ~{prefix}:* &{prefix}:* {rights}"


def right(words: Words) -> str:
    """Return a command as a rule of ACL.

    >>> right(("XGROUP", "CREATE"))
    '+xgroup|create'
    """
    return "+" + "|".join(word.lower() for word in words)


def sample(words: Words, prefix: str) -> Words:
    """Return a whole call of a command, on a key or channel of capelin, that a server can be asked about.

    >>> sample(("HSET",), "capelin")
    ('HSET', 'capelin:{any:0}:meta', 'f', 'v')
    """
    base = f"{prefix}:{{any:0}}"
    if words[0] in _KEYLESS:
        return (*words, *_SUFFIX.get(words, ()))
    behind = tuple(word.format(key=f"{base}:meta", channel=f"{base}:done:x") for word in _ODD.get(words, ()))
    return (*words, *(behind or (f"{base}:meta", *_SUFFIX.get(words, ()))))


def question(asked: Sequence[Words]) -> str:
    """Return the argument of the probe for these calls."""
    return json.dumps(asked)
