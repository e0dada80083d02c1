"""Who should host which singleton, computed by every worker alone from the same membership.

As with shards (``workers.assignment``), each (singleton, member) pair has a score that depends on nothing
else, and pairs are granted from the best score down. Singletons that may live on the same members are granted
together, and no member gets more than what makes the loads even, counting what it has of others. So loads
differ by one at most wherever members may host the same, and few singletons move when a member comes or goes.
"""

from collections.abc import Collection, Mapping

from capelin.workers.assignment import score

_OF = "singletons"


def spread(candidates: Mapping[str, Collection[str]]) -> dict[str, str]:
    """Return the host of every singleton that has a candidate.

    Args:
        candidates: Ids of the members that may host a singleton, by its name; any order.

    Example:
        >>> sorted(spread({"a": ["x", "y"], "b": ["x", "y"]}).values())
        ['x', 'y']
    """
    together: dict[tuple[str, ...], list[str]] = {}
    for name in sorted(candidates):
        if members := tuple(sorted(candidates[name])):
            together.setdefault(members, []).append(name)
    load: dict[str, int] = {}
    hosts: dict[str, str] = {}
    # Those with the least choice first: the others then make up for what that leaves uneven.
    for members in sorted(together, key=lambda members: (len(members), members)):
        granted = _grant(together[members], members, load)
        for member in granted.values():
            load[member] = load.get(member, 0) + 1
        hosts |= granted
    return hosts


def _grant(names: list[str], members: tuple[str, ...], load: Mapping[str, int]) -> dict[str, str]:
    level = _level(len(names), [load.get(member, 0) for member in members])
    room = {member: max(0, level - 1 - load.get(member, 0)) for member in members}
    extras = len(names) - sum(room.values())
    hosts: dict[str, str] = {}
    for _, name, member in sorted(
        (score(_OF, name, member), name, member) for name in names for member in members
    ):
        if name in hosts or load.get(member, 0) >= level:
            continue
        if room[member] > 0:
            room[member] -= 1
        elif room[member] == 0 and extras > 0:
            room[member] = -1
            extras -= 1
        else:
            continue
        hosts[name] = member
    return hosts


def _level(count: int, loads: list[int]) -> int:
    """The load up to which members are filled when ``count`` more are spread evenly."""
    level = min(loads)
    while sum(max(0, level - load) for load in loads) < count:
        level += 1
    return level
