"""Error replies: kept as values while they travel, turned into errors of capelin in one place."""

from collections.abc import Sequence

from capelin.errors import RedisRefused, TornKey, Unreachable

# These pass by themselves: a failover, a start, a script that keeps the server busy, slots on their way.
_PASSING_CODES = frozenset(
    {
        "BUSY",
        "CLUSTERDOWN",
        "LOADING",
        "MASTERDOWN",
        "NOREPLICAS",
        "READONLY",
        "TRYAGAIN",
        "UNBLOCKED",
    }
)
# Errors without a code of their own. A script that met a non-local key half way may have run in part: like a
# lost reply.
_PASSING_TEXTS = ("max number of clients reached", "non local key")
_REDIRECTIONS = frozenset({"ASK", "MOVED"})


class Refusal(Exception):
    """An error reply, as the server sent it."""

    @property
    def message(self) -> str:
        """The whole text."""
        return str(self)

    @property
    def code(self) -> str:
        """The first word, such as `NOSCRIPT` or `ERR`."""
        return str(self).partition(" ")[0]

    def says(self, code: str) -> bool:
        """Whether this is that error, also when a script passed it on (Redis 6 puts it behind a dash)."""
        return self.code == code or f"-{code} " in self.message

    @property
    def passing(self) -> bool:
        """Whether the same call may succeed later without a change."""
        message = self.message
        return (
            self.code in _PASSING_CODES
            or any(text in message for text in _PASSING_TEXTS)
            or any(f"-{code} " in message for code in _PASSING_CODES)
        )

    @property
    def redirects(self) -> bool:
        """Whether another node of a Cluster has the key; the command did not run."""
        return self.code in _REDIRECTIONS


_TORN = "TORN"
"""The code of a script that found a key of another type, and named it: see `lua/includes/whole.lua`."""


def to_error(
    refusal: Refusal, *, url: str, server: str, script: str | None = None, keys: Sequence[str] = ()
) -> Unreachable | RedisRefused:
    """What passes by itself is `Unreachable`: try again later. The rest needs a person: `RedisRefused`.

    Args:
        refusal: The reply.
        url: The URL as it may be printed.
        server: Which server it was, for people.
        script: The script's name, if it was one.
        keys: The keys that it was about.
    """
    if refusal.code == _TORN:
        return TornKey.read(refusal.message, script=script)
    if refusal.passing:
        return Unreachable(url=url, cause=f"{server}: {refusal.message}")
    if refusal.redirects:
        return RedisRefused(
            message=f"{refusal.message}: {server} is part of a Redis Cluster, use a redis+cluster:// URL",
            script=script,
            keys=keys,
        )
    return RedisRefused(message=refusal.message, script=script, keys=keys)


def afresh(error: Unreachable | RedisRefused) -> Unreachable | RedisRefused:
    """The same error for another caller: a raised exception collects the traceback of whoever raised it."""
    if isinstance(error, Unreachable):
        return Unreachable(url=error.url, cause=error.cause)
    if isinstance(error, TornKey):
        return TornKey(key=error.key, why=error.why, script=error.script)
    return RedisRefused(message=error.message, script=error.script, keys=error.keys)
