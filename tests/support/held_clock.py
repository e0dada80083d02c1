"""The clock of a real server, in a test's hand.

Scripts take their time from the server. Here their text is changed in a few places: `TIME` becomes a key that
holds the test's time, automatic stream ids are made of it, and a TTL is made too long to end by itself. All
else is the real thing.
"""

import re
from typing import TypeVar

from capelin.lua import Call
from capelin.lua.call import Script
from tests.support.resp import Connection
from tests.support.routing import ClusterConnection, tag_of

T = TypeVar("T")
AnyConnection = Connection | ClusterConnection

LONGER = 1_000_000_000
"""By so much a TTL is too long, ms."""
_CLOCK = "clock"
_TIME_OF_ITS_OWN = re.compile(r"'TIME'|'\*'|EXPIRE', name, resend_window\)|'PX', unique_for\)|'EX'")


class HeldClock:
    """What time it is for the scripts that it has changed.

    Args:
        redis: A connection to the server.
        now: The time at first, ms.
    """

    def __init__(self, redis: AnyConnection, now: int) -> None:
        self._redis = redis
        self._now = now
        self._by_slot = isinstance(redis, ClusterConnection)
        self._keys: set[str] = set()
        self._scripts: dict[tuple[str, str], Script] = {}
        if not self._by_slot:  # at once: a server that is full by then takes no new key
            self._know(_CLOCK)

    def set(self, now: int) -> None:
        """Say what time it is, ms."""
        self._now = now
        self._write(*self._keys)

    def script(self, script: Script, key: str) -> Script:
        """The script, by this clock, for a call with this key: in a cluster each slot has a clock."""
        clock = f"{_CLOCK}:{{{tag_of(key)}}}" if self._by_slot else _CLOCK
        if clock not in self._keys:
            self._know(clock)
        found = self._scripts.get((script.sha, clock))
        if found is None:
            text = _with_clock(script.text, clock)
            found = Script(script.name, text, script.keys, script.args, script.group)
            self._scripts[script.sha, clock] = found
        return found

    def call(self, call: Call[T]) -> Call[T]:
        """The same call, by this clock."""
        return Call(self.script(call.script, call.keys[0]), call.keys, call.args, call.parse)

    def _know(self, clock: str) -> None:
        self._keys.add(clock)
        self._write(clock)

    def _write(self, *keys: str) -> None:
        seconds, ms = divmod(self._now, 1000)
        for key in keys:
            self._redis.pipeline(("HSET", key, "s", seconds, "us", ms * 1000), ("EXPIRE", key, 3600))


def is_clock(key: str) -> bool:
    """Whether a key is no one's but the clock's."""
    return key.partition(":")[0] == _CLOCK


def _with_clock(text: str, clock: str) -> str:
    changes = {
        "redis.call('TIME')": f"redis.call('HMGET', '{clock}', 's', 'us')",
        "'*', 'j'": "string.format('%.0f-*', now), 'j'",
        "'PX', unique_for)": f"'PX', unique_for + {LONGER})",
        "'PEXPIRE', name, resend_window)": f"'PEXPIRE', name, resend_window + {LONGER})",
    }
    for ours, theirs in changes.items():
        text = text.replace(ours, theirs)
    if found := _TIME_OF_ITS_OWN.search(text):
        raise ValueError(f"a script has a time of its own, in a way that is not known here: {found[0]}")
    return text
