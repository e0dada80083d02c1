"""A mutant: a named way to break the protocol, as changes of texts."""

from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "capelin"


@dataclass(frozen=True, kw_only=True)
class Edit:
    """One change of one file.

    Attributes:
        file: Below the package.
        before: Stands in the file exactly once.
        after: Stands there instead.
    """

    file: str
    before: str
    after: str

    def applied(self, text: str) -> str:
        """Change a file's text.

        Raises:
            ValueError: The text is not there, or more than once: the mutant is to be written anew.
        """
        if text.count(self.before) != 1:
            raise ValueError(f"{self.file} has {text.count(self.before)} times {self.before!r}, not once")
        return text.replace(self.before, self.after)


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One way to break the protocol.

    Attributes:
        name: What is broken, as a sentence's beginning: `reap forgets`.
        rule: The guarantees, or the rule of the protocol, that it breaks.
        edits: How.
        aimed: The tests that are to notice, as pytest names them: a file, or one test of it.
    """

    name: str
    rule: str
    edits: tuple[Edit, ...]
    aimed: tuple[str, ...]

    def check(self) -> None:
        """See that it applies to today's texts.

        Raises:
            ValueError: It does not.
        """
        texts: dict[str, str] = {}
        for edit in self.edits:
            text = texts.get(edit.file) or (PACKAGE / edit.file).read_text()
            texts[edit.file] = edit.applied(text)


def lua(file: str, before: str, after: str = "") -> Edit:
    """A change of a script, or of an include."""
    return Edit(file=f"lua/{file}.lua", before=before, after=after)


def python(file: str, before: str, after: str = "") -> Edit:
    """A change of a module."""
    return Edit(file=f"{file}.py", before=before, after=after)


def mutant(name: str, rule: str, *edits: Edit, aimed: tuple[str, ...]) -> Mutant:
    """A mutant; `aimed` leaves out `tests/` and `.py`."""
    return Mutant(name=name, rule=rule, edits=edits, aimed=tuple(map(_named, aimed)))


def _named(test: str) -> str:
    file, colons, rest = test.partition("::")
    return f"tests/{file}.py{colons}{rest}"
