"""Records of jobs as the architecture's table names their fields, whatever Redis is spared of the words."""

from collections.abc import Mapping

SHORT = {"a": "args", "at": "enqueued", "d": "digest"}
"""Fields that every record has are stored under short names."""


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
