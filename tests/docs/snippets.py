"""Finds the code in the project's prose, so that tests can run it as a reader would."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SHOWN = re.compile(r'shown\("([\w.]+)", "([^"]+)"\)')
_NAMED = re.compile(r"^# ([\w./-]+\.\w+)$")

PAGES = sorted(
    path
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md"))
    if path.exists()
)


@dataclass(frozen=True, kw_only=True)
class Snippet:
    """One fenced block.

    Attributes:
        page: The page's name.
        line: Where it begins, for messages.
        language: `python`, or empty for what one types into a shell.
        file: The name in its first line's comment (`# shop.py`), if it has one.
    """

    page: str
    line: int
    language: str
    text: str

    @property
    def file(self) -> str | None:
        named = _NAMED.match(self.text.partition("\n")[0])
        return named[1] if named else None

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def snippets() -> list[Snippet]:
    """Every fenced block of every page."""
    return [
        Snippet(
            page=path.name,
            line=text.count("\n", 0, match.start()) + 2,
            language=match[1],
            text=match[2],
        )
        for path in PAGES
        for text in [path.read_text(encoding="utf-8")]
        for match in _BLOCK.finditer(text)
    ]


def shown(page: str, word: str) -> Snippet:
    """The one Python snippet of a page that has a word in it: a test that asks for it runs it."""
    [found] = [
        one for one in snippets() if one.language == "python" and one.page == page and word in one.text
    ]
    return found


def executed(*parts: Snippet) -> dict[str, Any]:
    """What the names of snippets stand for, once they have run one after the other as one module."""
    names: dict[str, Any] = {"__name__": "snippet"}
    for part in parts:
        exec(compile(part.text, str(part), "exec"), names)  # noqa: S102 -- it is what a page shows
    return names


def asked_for() -> list[tuple[str, str]]:
    """Page and word of every `shown` in these tests, as their text has it."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(Path(__file__).parent.glob("test_*.py"))]
    return [(match[1], match[2]) for text in texts for match in _SHOWN.finditer(text)]


def typed_commands() -> list[tuple[str, list[str]]]:
    """Every `capelin …` that a page shows, as (where, words after `capelin`)."""
    commands: list[tuple[str, list[str]]] = []
    for snippet in snippets():
        if snippet.language in {"", "sh", "bash", "console"}:
            for offset, line in enumerate(snippet.text.splitlines()):
                typed = line.removeprefix("$ ").strip()
                if typed.startswith("capelin "):
                    words = shlex.split(typed, comments=True)
                    commands.append((f"{snippet.page}:{snippet.line + offset}", words[1:]))
    return commands
