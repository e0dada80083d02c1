"""Records of jobs in whole words, of which Redis is spared some."""

from collections.abc import Mapping

SHORT = {"a": "args", "at": "enqueued", "d": "digest"}
"""What most records have is stored under short names: see the table of the record in docs/architecture.md."""


def spelled_out(record: Mapping[str, str]) -> dict[str, str]:
    """Return a record with its fields' whole names, and with the status that a job need not say.

    Example:
        >>> spelled_out({"task": "a", "at": "5"})
        {'task': 'a', 'enqueued': '5', 'status': 'queued'}
    """
    found = {SHORT.get(name, name): value for name, value in record.items()}
    if "task" in found and "token" not in found:
        found.setdefault("status", "queued")
    return found
