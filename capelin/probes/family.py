"""A supervisor answers for its worker processes: it is live, or ready, when each of them is.

What a process had counted outlives it: a sum that fell because a process died would look to Prometheus like
a counter that began again, and count everything else twice.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from capelin.metrics.figures import Figures
from capelin.probes.answers import Check, Question
from capelin.workers.child import WorkerProcess

_PATIENCE: Final = 3.0
_STARTS_FOR: Final = 60.0


class Family:
    """Answers for the children of one supervisor.

    Args:
        places: How many there are to be.
        children: Those there are, by place.
    """

    def __init__(self, places: int, children: Callable[[], Mapping[int, WorkerProcess]]) -> None:
        self._places, self._children = places, children
        self._last: dict[int, Figures] = {}
        self._gone = Figures()
        self._reading = asyncio.Lock()

    async def checks(self, question: Question) -> list[Check]:
        """See ``probes.answers.Source``."""
        children = dict(self._children())
        found = await asyncio.gather(
            *(self._of(place, children.get(place), question) for place in range(self._places))
        )
        return [check for checks in found for check in checks]

    async def figures(self) -> Figures:
        """See ``probes.answers.Source``."""
        async with self._reading:
            children = {child.pid: child for child in self._children().values()}
            for pid in [pid for pid in self._last if pid not in children]:
                self._gone.take_in(self._last.pop(pid).counted())
            total = Figures()
            total.take_in(self._gone)
            answers = await asyncio.gather(*(_ask(child, "figures") for child in children.values()))
            for pid, answer in zip(children, answers, strict=True):
                if answer is not None:
                    now = self._last[pid] = Figures.from_json(answer)
                    total.take_in(now)
                elif pid in self._last:
                    total.take_in(self._last[pid].counted())
            return total

    async def _of(self, place: int, child: WorkerProcess | None, question: Question) -> list[Check]:
        if child is None or child.ended:
            return [Check(name="process", ok=False, detail="it ended, and is replaced", process=place)]
        began = time.perf_counter()
        answer = await _ask(child, question.value)
        if answer is not None:
            return [Check.unpacked(check, process=place) for check in answer]
        starts = not child.loaded.is_set() and child.age < _STARTS_FOR
        return [
            Check(
                name="process",
                ok=starts and question is Question.LIVE,
                detail="it starts" if starts else "it does not answer",
                latency_ms=(time.perf_counter() - began) * 1000,
                process=place,
            )
        ]


async def _ask(child: WorkerProcess, question: str) -> Any:
    """Ask a child; None when it does not answer."""
    if child.link is None or not child.loaded.is_set():
        return None
    try:
        async with asyncio.timeout(_PATIENCE):
            return await child.link.ask(question)
    except (TimeoutError, OSError):
        return None
