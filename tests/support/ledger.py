"""What tasks of tests write down, from any process, line by line.

A line survives the death of whoever wrote it. Counting in Redis would count on what is being tested, and a
list in memory dies with its worker.
"""

import os
from collections import Counter
from pathlib import Path
from typing import Any, Self

from capelin.context import JobContext
from capelin.middleware import CallNext, Middleware

ENV = "TEST_LEDGER"


class Ledger:
    """A file of lines. Processes that a test starts get its path in `TEST_LEDGER`.

    Example:
        ledger.note("mail", to)
        app = Capelin(url, middleware=[noting_starts(ledger)])
        assert ledger.starts() == Counter({(job.id, 1): 1})
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    @classmethod
    def here(cls) -> Self:
        """The ledger of the test that started this process."""
        return cls(Path(os.environ[ENV]))

    @property
    def env(self) -> dict[str, str]:
        """What a process needs in its environment to write here."""
        return {ENV: str(self.path)}

    def note(self, *words: object) -> None:
        """Write a line; words have no spaces."""
        line = " ".join(str(word) for word in words) + "\n"
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(file, line.encode())
        finally:
            os.close(file)

    def start_of(self, job: JobContext) -> None:
        """Note that a job starts."""
        self.note("start", job.id, job.token, job.worker_id)

    def lines(self, first: str) -> list[list[str]]:
        """The lines that begin with this word, without it."""
        lines = [line.split() for line in self.path.read_text().splitlines()]
        return [words[1:] for words in lines if words and words[0] == first]

    def starts(self) -> Counter[tuple[str, int]]:
        """How often each start (job id, token) was seen: more than once for one is a bug of a worker."""
        return Counter((words[0], int(words[1])) for words in self.lines("start"))

    def starts_of(self) -> Counter[str]:
        """Starts by job id."""
        return Counter(words[0] for words in self.lines("start"))

    def workers(self) -> set[str]:
        """The ids of the workers that started anything."""
        return {words[2] for words in self.lines("start")}


def noting_starts(ledger: Ledger) -> Middleware:
    """Middleware that notes every start of every task."""

    async def note(job: JobContext, call_next: CallNext) -> Any:
        ledger.start_of(job)
        return await call_next()

    return note
