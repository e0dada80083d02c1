"""The command line: one module a noun, and no logic that the library lacks."""

from capelin.cli.main import main

__all__ = ["main"]
