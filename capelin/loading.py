"""Finding an app by its import string, ``module:attribute``, and saying in a line what is wrong with one.

Whoever types a command has made a typo, stands in the wrong folder, or has a module that fails on import.
Each gets another answer, with a suggestion.
"""

import difflib
import importlib
import importlib.util
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from capelin.errors import ConfigurationError

if TYPE_CHECKING:
    from capelin.app import Capelin

_USUAL_NAME = "app"


class CannotLoad(ConfigurationError):
    """An import string leads to no app."""

    def __init__(self, *, path: str, why: str, hint: str = "") -> None:
        self.path, self.why, self.hint = path, why, hint
        super().__init__(f"cannot load {path!r}: {why}" + (f"; {hint}" if hint else ""))


def make_importable(folder: str | os.PathLike[str] = ".") -> None:
    """Put a folder first on the import path, as ``python -m`` does with the working directory.

    Raises:
        ConfigurationError: There is no such folder.
    """
    resolved = Path(folder).resolve()
    if not resolved.is_dir():
        raise ConfigurationError(f"there is no folder {str(folder)!r} to import from (--app-dir)")
    if str(resolved) in sys.path:
        sys.path.remove(str(resolved))
    sys.path.insert(0, str(resolved))


def load_app(path: str) -> "Capelin[Any]":
    """Import the app that an import string names.

    Args:
        path: ``billing.tasks:app``; without an attribute, the module's one app.

    Raises:
        CannotLoad: There is no such module or attribute, it is no app, or the module fails on import.

    Example:
        app = load_app("examples.quickstart:app")
    """
    from capelin.app import Capelin

    module_name, _, attribute = path.partition(":")
    _check_shape(path, module_name)
    module = _import(path, module_name)
    if not attribute:
        return _only_app(path, module)
    value: object = module
    done = module_name
    for name in attribute.split("."):
        if not hasattr(value, name):
            raise CannotLoad(
                path=path, why=f"{done} has no attribute {name!r}", hint=_near(name, value, done)
            )
        done = f"{done}:{name}" if value is module else f"{done}.{name}"
        value = getattr(value, name)
    if not isinstance(value, Capelin):
        raise CannotLoad(
            path=path, why=f"it is a {type(value).__name__}, not a Capelin app", hint=_apps_hint(module)
        )
    return _complete(path, cast("Capelin[Any]", value))  # type: ignore[redundant-cast] # pyright is not as sure


def _complete(path: str, app: "Capelin[Any]") -> "Capelin[Any]":
    """Import what the app includes now, where a failure can be told from one of the work itself."""
    app.imported_as(path)
    try:
        _ = app.tasks
    except ConfigurationError:
        raise
    except (Exception, SystemExit) as error:
        raise _failed_import(path, "what it includes", error) from error
    return app


def _check_shape(path: str, module_name: str) -> None:
    if module_name.endswith(".py") or "/" in module_name or os.sep in module_name:
        parts = [part for part in Path(module_name.removesuffix(".py")).parts if part not in (".", os.sep)]
        attribute = path.partition(":")[2] or _USUAL_NAME
        raise CannotLoad(
            path=path,
            why="it is a file",
            hint=f"name the module: did you mean {'.'.join(parts)}:{attribute}?",
        )
    if not all(part.isidentifier() for part in module_name.split(".")):
        raise CannotLoad(path=path, why="it is not of the form module:attribute", hint="like tasks:app")


def _import(path: str, module_name: str) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module_name}.".startswith(f"{error.name}."):
            raise CannotLoad(
                path=path, why=f"there is no module {error.name!r}", hint=_modules_hint(module_name)
            ) from error
        raise _failed_import(path, module_name, error) from error
    except (Exception, SystemExit) as error:
        raise _failed_import(path, module_name, error) from error


def _failed_import(path: str, module_name: str, error: BaseException) -> CannotLoad:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_users(frame.filename)]
    where = f" ({_short(frames[-1].filename)}, line {frames[-1].lineno})" if frames else ""
    if isinstance(error, SyntaxError) and error.filename:
        where = f" ({_short(error.filename)}, line {error.lineno})"
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    return CannotLoad(
        path=path,
        why=f"importing {module_name} failed: {type(error).__name__}: {' '.join(message.split())}{where}",
        hint=f"python -c 'import {path.partition(':')[0]}' shows where",
    )


def _is_users(filename: str) -> bool:
    return not filename.startswith("<") and not Path(filename).is_relative_to(Path(__file__).parent)


def _short(filename: str) -> str:
    path = Path(filename)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else filename


def _modules_hint(module_name: str) -> str:
    """Suggest the module next to the one that is not there."""
    *parents, last = module_name.split(".")
    folder = Path.cwd() if not parents else None
    if parents:
        try:
            spec = importlib.util.find_spec(".".join(parents))
        except (ImportError, ValueError):
            spec = None
        places = spec.submodule_search_locations if spec is not None else None
        if not places:
            return _modules_hint(".".join(parents)) if spec is None else f"{'.'.join(parents)} is no package"
        folder = Path(next(iter(places)))
    known = _modules_in(folder or Path.cwd())
    near = difflib.get_close_matches(last, known, n=1)
    if near:
        return f"did you mean {'.'.join([*parents, near[0]])!r}?"
    return f"is it in this folder ({Path.cwd()})? --app-dir names another"


def _modules_in(folder: Path) -> list[str]:
    names = [file.stem for file in folder.glob("*.py") if file.stem.isidentifier()]
    names += [file.parent.name for file in folder.glob("*/__init__.py")]
    return [name for name in names if not name.startswith("__")]


def _near(name: str, value: object, done: str) -> str:
    if isinstance(value, ModuleType) and (hint := _apps_hint(value)):
        return hint
    near = difflib.get_close_matches(name, dir(value), n=1)
    return f"did you mean {near[0]!r}?" if near else f"define it in {done}: {name} = Capelin()"


def _apps(module: ModuleType) -> dict[str, "Capelin[Any]"]:
    from capelin.app import Capelin

    return {name: value for name, value in vars(module).items() if isinstance(value, Capelin)}


def _apps_hint(module: ModuleType) -> str:
    names = list(_apps(module))
    if not names:
        return ""
    found = " or ".join(f"{module.__name__}:{name}" for name in names[:3])
    return f"did you mean {found}?"


def _only_app(path: str, module: ModuleType) -> "Capelin[Any]":
    apps = _apps(module)
    if _USUAL_NAME in apps or len({id(app) for app in apps.values()}) == 1:
        name = _USUAL_NAME if _USUAL_NAME in apps else next(iter(apps))
        return _complete(f"{module.__name__}:{name}", apps[name])
    if not apps:
        raise CannotLoad(
            path=path, why=f"module {module.__name__} has no Capelin app", hint="make one: app = Capelin()"
        )
    raise CannotLoad(path=path, why="it has several apps", hint=_apps_hint(module))
