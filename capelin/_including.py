"""Modules that an app includes by name: imported when its tasks are needed, so they may import the app."""

import importlib
import threading
from collections.abc import Callable
from types import ModuleType

from capelin.errors import ConfigurationError
from capelin.tasks import Tasks


class Includes:
    """Import paths that are still to be imported."""

    def __init__(self) -> None:
        self._pending: list[str] = []
        self._lock = threading.RLock()  # a module that is being imported may ask for the app's tasks

    def add(self, path: str) -> None:
        """Note a module (``billing.tasks``), or a group in one (``billing.tasks:tasks``).

        Raises:
            ConfigurationError: It is not an import path.
        """
        module, _, group = path.partition(":")
        names = (*module.split("."), *((group,) if ":" in path else ()))
        if not all(name.isidentifier() for name in names):
            raise ConfigurationError(
                f"include: {path!r} is not a module; one looks like 'billing.tasks' or 'billing.tasks:group'"
            )
        self._pending.append(path)

    def load(self, include: Callable[[Tasks], None]) -> None:
        """Import what is pending, once.

        Args:
            include: Takes the groups of tasks that an imported module holds.

        Raises:
            ConfigurationError: There is no such module, or no such group in it.
            Whatever the module raises while it is imported.
        """
        if not self._pending:
            return
        with self._lock:
            while self._pending:
                _load(self._pending[0], include)
                self._pending.pop(0)


def _load(path: str, include: Callable[[Tasks], None]) -> None:
    name, _, group = path.partition(":")
    module = _imported(name)
    if not group:
        for value in list(vars(module).values()):
            if isinstance(value, Tasks):
                include(value)
        return
    found: object = getattr(module, group, None)
    if not isinstance(found, Tasks):
        raise ConfigurationError(f"include: {path!r} names no Tasks(...)")
    include(found)


def _imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if name != missing and not name.startswith(f"{missing}."):
            raise
        raise ConfigurationError(
            f"include: no module named {missing!r}; is the directory that holds it importable?"
        ) from error
