"""The tasks that an app knows, by name and by alias."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from capelin.errors import InvalidTask, UnknownTask
from capelin.functions import same_function

if TYPE_CHECKING:
    from capelin.tasks import Task


class TaskRegistry(Mapping[str, "Task[..., Any]"]):
    """Tasks by name; a look-up takes aliases too, iteration and length count each task once.

    A name is used once. The same function imported twice (as ``__main__`` and by its module's name) counts as
    one: the one that other processes can import stays.

    Raises:
        UnknownTask: ``registry["name"]`` of a task that is not there; it suggests the nearest name.
    """

    def __init__(self) -> None:
        self._tasks: dict[str, Task[..., Any]] = {}
        self._aliases: dict[str, str] = {}

    def add(self, *tasks: "Task[..., Any]") -> None:
        """Add tasks, all or none.

        Raises:
            InvalidTask: A name or alias is taken by another task.
        """
        for index, task in enumerate(tasks):
            self._check_free(task, tasks[:index])
        for task in tasks:
            self._put(task)

    def _check_free(self, task: "Task[..., Any]", before: "Iterable[Task[..., Any]]") -> None:
        for name in (task.name, *task.aliases):
            others = [
                other for other in (self.get(name), *before) if other and name in (other.name, *other.aliases)
            ]
            for other in others:
                if other.name != task.name or not same_function(other.function, task.function):
                    raise InvalidTask(
                        task=task.name,
                        why=f"the name {name!r} is taken by {other.import_path}; "
                        f"give {task.import_path} another (name=...)",
                    )

    def _put(self, task: "Task[..., Any]") -> None:
        present = self._tasks.get(task.name)
        if present is not None:
            if task.function.__module__ == "__main__" != present.function.__module__:
                return
            self._aliases = {alias: name for alias, name in self._aliases.items() if name != task.name}
        self._tasks[task.name] = task
        self._aliases.update(dict.fromkeys(task.aliases, task.name))

    def __getitem__(self, name: str) -> "Task[..., Any]":
        task = self._tasks.get(self._aliases.get(name, name))
        if task is None:
            raise UnknownTask(task=name, known=[*self._tasks, *self._aliases])
        return task

    def get(self, name: str, default: Any = None) -> Any:
        """Return the task of that name or alias, or ``default``."""
        return self._tasks.get(self._aliases.get(name, name), default)

    def __contains__(self, name: object) -> bool:
        return name in self._tasks or name in self._aliases

    def __iter__(self) -> Iterator[str]:
        return iter(self._tasks)

    def __len__(self) -> int:
        return len(self._tasks)

    def __repr__(self) -> str:
        return f"<TaskRegistry {', '.join(self._tasks) or 'empty'}>"
