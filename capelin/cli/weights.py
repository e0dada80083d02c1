"""``-q emails=3 -q reports``: queues and their weights."""

from collections.abc import Mapping, Sequence

from capelin.errors import InvalidOption
from capelin.names import check_name

_MOST = 1000


def read_weights(words: Sequence[str] | None) -> Mapping[str, int] | None:
    """Read what was given with ``-q``; None when nothing was.

    Raises:
        InvalidName: A queue's name is not allowed.
        InvalidOption: A weight is no whole number from 1, or a queue is given twice.

    Example:
        >>> read_weights(["emails=3", "reports"])
        {'emails': 3, 'reports': 1}
    """
    if not words:
        return None
    weights: dict[str, int] = {}
    for word in words:
        queue, equals, weight = word.partition("=")
        check_name("queue", queue)
        if equals and not (weight.isascii() and weight.isdigit() and 0 < int(weight) <= _MOST):
            raise InvalidOption(option="-q", value=word, why=f"a weight is a whole number from 1 to {_MOST}")
        if queue in weights:
            raise InvalidOption(option="-q", value=word, why="the queue is given twice")
        weights[queue] = int(weight) if equals else 1
    return weights
