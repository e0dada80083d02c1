"""What the demo measures: every file of the running Python's standard library, and a few made to fail."""

import sysconfig
from pathlib import Path

_NOT_THE_LIBRARY = frozenset({"site-packages", "dist-packages", "__pycache__"})

_MADE_TO_FAIL: dict[str, bytes] = {
    "no_closing_bracket.py": b"def lost(:\n    return [1, 2\n",
    "python_2.py": b'print "hello"\n',
    "not_utf_8.py": b"greeting = '\xff\xfe'\n",
}
_GONE = "vanished.py"


def library() -> Path:
    """Return the folder of the standard library."""
    return Path(sysconfig.get_path("stdlib"))


def library_files(most: int | None = None) -> list[Path]:
    """Return the library's files, sorted by path.

    Args:
        most: At most so many, evenly picked, so that a few stand for all.
    """
    root = library()
    found = sorted(
        path
        for path in root.rglob("*.py")
        if not _NOT_THE_LIBRARY.intersection(path.relative_to(root).parts) and path.is_file()
    )
    if most is None or most >= len(found):
        return found
    return [found[index * len(found) // most] for index in range(most)]


def make_failing_files(folder: Path) -> list[Path]:
    """Write files that cannot be measured; the last of the paths returned leads nowhere."""
    for name, content in _MADE_TO_FAIL.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in (*_MADE_TO_FAIL, _GONE)]
