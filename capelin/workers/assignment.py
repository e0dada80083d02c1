"""Who should own which shard, computed by every worker alone from the same membership.

Each (shard, member) pair has a score that depends on nothing else. Pairs are granted from the best score
down; nobody gets more than an even share. So loads differ by one at most, and since scores do not change
when others come or go, a shard moves only when its owner left or when a share filled up in another order.
Of more members than there are shards, as many as there are shards come into question, by a score of their
own: every pair of a large fleet would be millions.

The bound: when one member joins or leaves, its own share moves, and a chain of shares that fill up in another
order, which is short. With 8 shards, and 3 workers that become 2 or 4, that makes 3 moves in the mean and
never more than 5; with 64, and 50 that become 49 or 51, 4 in the mean, one time in a hundred more than 10,
and never more than 16. (No formula says so but thousands of memberships drawn at random, some of which a test
draws again: ids can be made up for which a chain is longer.) With more members than shards, one that comes
or goes is one of those who own a shard, and the same holds, or it is not, and nothing moves.
"""

import hashlib
import heapq
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial

_ANY_SHARD = "*"


@lru_cache(maxsize=65536)
def score(of: str, item: int | str, member: str) -> bytes:
    """How well an item goes with a member: the smaller the better, and the same in every process."""
    return hashlib.blake2b(f"{of}:{item}:{member}".encode(), digest_size=8).digest()


def assign(queue: str, shards: int, members: Sequence[str]) -> Mapping[int, str]:
    """Return the owner of every shard of a queue.

    Args:
        queue: The queue's name; different queues spread differently.
        shards: How many shards it has.
        members: Ids of the workers that serve it, in any order.

    Returns:
        Owner by shard; empty when nobody serves the queue. Loads differ by one at most.

    Example:
        >>> sorted(assign("emails", 4, ["a", "b"]).values())
        ['a', 'a', 'b', 'b']
    """
    return _assign(queue, shards, tuple(sorted(members)))


# Who comes or goes serves some queues; those of the others are not worked out again.
@lru_cache(maxsize=256)
def _assign(queue: str, shards: int, members: tuple[str, ...]) -> Mapping[int, str]:
    if not members:
        return {}
    if len(members) > shards:
        members = tuple(sorted(heapq.nsmallest(shards, members, key=partial(score, queue, _ANY_SHARD))))
    return _grant(queue, shards, members)


# Of a fleet with more members than shards, most come and go without being among those who are chosen.
@lru_cache(maxsize=256)
def _grant(queue: str, shards: int, members: tuple[str, ...]) -> Mapping[int, str]:
    floor, extras = divmod(shards, len(members))
    pairs = sorted(
        (score(queue, shard, member), shard, member) for shard in range(shards) for member in members
    )
    owners: dict[int, str] = {}
    load = dict.fromkeys(members, 0)
    for _, shard, member in pairs:
        if shard in owners or load[member] > floor:
            continue
        if load[member] == floor:
            if extras == 0:
                continue
            extras -= 1
        owners[shard] = member
        load[member] += 1
        if len(owners) == shards:
            break
    return owners
