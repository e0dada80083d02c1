"""Nouns: groups of commands in which ``ls`` need not be said: ``capelin queues --json``."""

from typing import Any

import typer
from typer.core import TyperGroup

HELP = ("-h", "--help")


class _Noun(TyperGroup):
    """A group whose command is ``ls`` when none is named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] not in HELP):
            args = ["ls", *args]
        return super().parse_args(ctx, args)


def noun(summary: str) -> typer.Typer:
    """Make the group of a noun.

    Args:
        summary: What it is about, in a line.
    """
    return typer.Typer(cls=_Noun, help=summary, pretty_exceptions_enable=False)
