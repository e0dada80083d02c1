"""Reading the figures of servers, and writing them for people."""

from collections.abc import Mapping, Sequence


def read_info(lines: str) -> dict[str, str]:
    r"""Read what ``INFO`` and ``CLUSTER INFO`` say.

    >>> read_info("# Server\r\nredis_version:7.0.15\r\n")
    {'redis_version': '7.0.15'}
    """
    pairs = (line.partition(":") for line in lines.splitlines() if not line.startswith("#"))
    return {name: value for name, colon, value in pairs if colon}


def number(info: Mapping[str, str], name: str, default: float = 0.0) -> float:
    """Return a figure of ``INFO``; the default for one that is missing or none."""
    try:
        return float(info.get(name, default))
    except ValueError:
        return default


def redis_cli(server: str) -> str:
    """Return how to reach a server with ``redis-cli``.

    >>> redis_cli("127.0.0.1:6379"), redis_cli("/run/redis.sock")
    ('redis-cli -h 127.0.0.1 -p 6379', 'redis-cli -s /run/redis.sock')
    """
    host, colon, port = server.rpartition(":")
    return f"redis-cli -h {host.strip('[]')} -p {port}" if colon else f"redis-cli -s {server}"


def size(bytes_: float) -> str:
    """Write a number of bytes short.

    >>> size(900), size(1_600_000), size(2_500_000_000)
    ('900 B', '1.5 MB', '2.3 GB')
    """
    for unit, name in ((2**30, "GB"), (2**20, "MB"), (2**10, "KB")):
        if bytes_ >= unit:
            return f"{bytes_ / unit:.1f} {name}"
    return f"{bytes_:.0f} B"


def count(amount: int, noun: str, plural: str | None = None) -> str:
    """Write how many of something.

    >>> count(1, "job"), count(2000, "job"), count(2, "entry", "entries")
    ('1 job', '2,000 jobs', '2 entries')
    """
    return f"{amount:,} {noun if amount == 1 else plural or noun + 's'}"


def some(names: Sequence[object], most: int = 5) -> str:
    """Name a few of many.

    >>> some(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    shown = ", ".join(str(name) for name in names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def span(seconds: float) -> str:
    """Write how long something took or takes.

    >>> span(0.4), span(90), span(7200)
    ('0.4 s', '1 m', '2 h')
    """
    from capelin._tables import ago

    return ago(seconds)
