"""Finding an app by its import string; what is said about wrong ones is in tests/cli/test_errors.py."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from capelin.errors import ConfigurationError
from capelin.loading import CannotLoad, load_app, make_importable


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of modules, importable for this test."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    make_importable(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


MADE = "from capelin import Capelin\n"


def test_an_app_is_found_by_module_and_attribute_and_named_so(folder: Path) -> None:
    (folder / "one.py").write_text(MADE + "billing = Capelin()\n")
    app = load_app("one:billing")
    assert app.name == "one:billing"


def test_an_attribute_may_be_inside_another(folder: Path) -> None:
    (folder / "nested.py").write_text(MADE + "class Config:\n    app = Capelin(name='given')\n")
    assert load_app("nested:Config.app").name == "given"
    with pytest.raises(CannotLoad, match="nested:Config has no attribute 'ap'"):
        load_app("nested:Config.ap")


def test_a_module_alone_means_its_app_or_its_only_one(folder: Path) -> None:
    (folder / "usual.py").write_text(MADE + "other = Capelin()\napp = Capelin()\n")
    (folder / "only.py").write_text(MADE + "jobs = Capelin()\nsame = jobs\n")
    assert load_app("usual").name == "usual:app"
    assert load_app("only").name == "only:jobs"


def test_what_an_app_includes_is_imported_with_it(folder: Path) -> None:
    (folder / "root.py").write_text(MADE + "app = Capelin(include=['parts'])\n")
    (folder / "parts.py").write_text("from root import app\n\n@app.task\ndef part() -> None: ...\n")
    assert list(load_app("root:app").tasks) == ["part"]
    (folder / "broken.py").write_text(MADE + "app = Capelin(include=['falls'])\n")
    (folder / "falls.py").write_text("\n1 / 0\n")
    with pytest.raises(CannotLoad, match=r"what it includes failed: ZeroDivisionError.*falls.py, line 2"):
        load_app("broken:app")
    (folder / "lost.py").write_text(MADE + "app = Capelin(include=['nowhere'])\n")
    with pytest.raises(ConfigurationError, match="nowhere"):
        load_app("lost:app")


def test_a_folder_comes_first_once(folder: Path) -> None:
    make_importable(folder)
    assert sys.path[0] == str(folder)
    assert sys.path.count(str(folder)) == 1


@pytest.mark.parametrize("path", ["", ":app", "two words:app", "a..b:app", "9lives:app"])
def test_what_cannot_be_an_import_string_is_refused(path: str) -> None:
    with pytest.raises(CannotLoad, match="not of the form module:attribute"):
        load_app(path)
