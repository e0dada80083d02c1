"""Nouns: groups of commands in which ``ls`` need not be said: ``capelin queues --json``."""

from typing import Any

import typer
from typer.core import TyperGroup

HELP = ("-h", "--help")


class _Noun(TyperGroup):
    """A group whose command is ``ls`` when none is named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        # At Tab nobody has said yet whether a verb is to follow.
        if (not args and not ctx.resilient_parsing) or (args and args[0][0:1] == "-" and args[0] not in HELP):
            args = ["ls", *args]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """Offer the verbs; and the options of ``ls`` to whoever has begun to type one."""
        ls = self.get_command(ctx, "ls")
        if ls is None or not incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        return ls.shell_complete(ls.make_context("ls", [], parent=ctx, resilient_parsing=True), incomplete)


def noun(summary: str) -> typer.Typer:
    """Make the group of a noun.

    Args:
        summary: What it is about, in a line.
    """
    return typer.Typer(cls=_Noun, help=summary, pretty_exceptions_enable=False)
