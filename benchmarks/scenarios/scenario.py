"""What a scenario is."""

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.catalog import Role
from benchmarks.turn import Turn


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """Something that is measured of a system, in a Redis that is empty when it begins.

    Attributes:
        name: How it is asked for.
        text: What it does, for the reader.
        measure: Does it.
        roles: Whose turn it is; in a full run, ``full_roles`` adds to them.
        full_roles: Who else has a turn in a full run.
        every_round: Whether it is part of every round; the others are of the first, and of all in a full run.
    """

    name: str
    text: str
    measure: Callable[[Turn], None]
    roles: frozenset[Role]
    full_roles: frozenset[Role] = frozenset()
    every_round: bool = False

    def concerns(self, role: Role, *, full: bool) -> bool:
        """Whether a system of that role has a turn."""
        return role in self.roles or (full and role in self.full_roles)


NOBODY = frozenset[Role]()
SUBJECT = frozenset({Role.SUBJECT})
PEERS = frozenset({Role.PEER})
TASK_SYSTEMS = frozenset({Role.SUBJECT, Role.PEER})
ALL = frozenset(Role)
