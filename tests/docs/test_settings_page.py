"""docs/settings.md has every setting, as the code has it."""

from collections.abc import Iterator
from typing import Literal, get_args, get_origin

from capelin.settings import Settings
from tests.docs.snippets import ROOT


def rows() -> Iterator[str]:
    for name, field in Settings.model_fields.items():
        default = "none" if field.default is None else f"`{shortest(field.default)}`"
        values = " ".join(f"`{value}`" for value in choices(field.annotation))
        meaning = f"{field.description} ({values})" if values else field.description
        yield f"| `{name}` | {default} | {meaning} |"


def shortest(default: object) -> str:
    if isinstance(default, bool) or not isinstance(default, int | float):
        return str(default)
    return f"{int(default):,}" if default == int(default) else str(default)


def choices(hint: object) -> tuple[str, ...]:
    return get_args(hint) if get_origin(hint) is Literal else ()


def test_every_setting_has_its_row() -> None:
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    table = [line for line in page.splitlines() if line.startswith("| `")]
    assert table == list(rows()), "\n".join(["docs/settings.md should have:", *rows()])


def test_every_setting_says_what_it_is() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []
