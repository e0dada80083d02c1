"""Every start of a job in a worker: which, and when. Standard library only."""

import asyncio
import contextlib
import time

from benchmarks.processes import own_cpu_seconds


class Starts:
    """Which jobs started when, of those that are expected."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.moments: list[int] = []
        self.worked = 0.0
        self._different: set[int] = set()
        self._expected = range(0)
        self._enough = 0
        self._reached = asyncio.Event()
        self._began = 0.0

    def expect(self, first: int, count: int, *, enough: int | None = None) -> None:
        """Forget what was, and wait for the starts of jobs.

        Args:
            first: The first job's number.
            count: How many jobs there are.
            enough: How many different ones are waited for; all of them by default.
        """
        self.numbers.clear()
        self.moments.clear()
        self._different.clear()
        self._expected = range(first, first + count)
        self._enough = count if enough is None else enough
        self._reached.clear()

    def add(self, number: int) -> None:
        """Note a start that happens now, by the clock that all processes of this machine share."""
        self.add_at(number, time.monotonic_ns())

    def add_at(self, number: int, moment: int) -> None:
        """Note a start."""
        self.moments.append(moment)
        self.numbers.append(number)
        if number in self._expected:  # else it is a late repeat of an earlier one
            self._different.add(number)
        if len(self.numbers) == 1:
            self._began = own_cpu_seconds()
        if len(self._different) == self._enough:
            self._reached.set()

    async def wait(self, seconds: float) -> bool:
        """Return whether all jobs that were expected started in time."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._reached.wait(), seconds)
        return self._reached.is_set()

    def stop_clock(self) -> None:
        """Note how much CPU time this process and its children spent since the first start."""
        self.worked = own_cpu_seconds() - self._began

    def account(self) -> dict[str, int]:
        """Return how many different jobs started, and how many starts were repeats."""
        different = len(self._different)
        return {"started": different, "repeated": len(self.numbers) - different}
