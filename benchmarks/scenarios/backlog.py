"""How fast the first thousands start when more and more jobs wait."""

import statistics
from contextlib import ExitStack

from benchmarks.catalog import Role
from benchmarks.child import Child
from benchmarks.figures import Figure
from benchmarks.scenarios.scenario import PEERS, SUBJECT, Scenario
from benchmarks.turn import PATIENCE, Turn
from benchmarks.work import Work

_SMALL = 1000
_LARGE = 100_000
_HUGE = 1_000_000
_SAMPLE = 5000
_SMALL_TIMES = 5
_A_CALL = 50_000


def _measure(turn: Turn) -> None:
    turn.note(Figure.BACKLOG_1K, statistics.median(_rate(turn, _SMALL) for _ in range(_SMALL_TIMES)))
    turn.note(Figure.BACKLOG_100K, _rate(turn, _LARGE))
    if turn.scale.full and turn.system.role is Role.SUBJECT:
        turn.note(Figure.BACKLOG_1M, _rate(turn, _HUGE))


def _rate(turn: Turn, backlog: int) -> float:
    """Return the jobs a second, from the first start to that of the last of the sample."""
    turn.server.empty()
    sample = min(backlog, _SAMPLE)
    with ExitStack() as stack:
        producer = stack.enter_context(turn.process())
        fill(turn, producer, backlog)
        worker = stack.enter_context(turn.process())
        worker.ask("work", work=Work.NOOP.value, expect=backlog, enough=sample)
        moments: list[int] = worker.ask("sampled", timeout=PATIENCE + sample / 100)["moments"][:sample]
    return (len(moments) - 1) / ((moments[-1] - moments[0]) / 1e9)


def fill(turn: Turn, producer: Child, count: int) -> None:
    """Enqueue very many jobs, in calls that no process has to be patient with."""
    for first in range(0, count, _A_CALL):
        turn.enqueue(producer, Work.NOOP, first, min(_A_CALL, count - first), together=True)


BACKLOG = Scenario(
    name="backlog",
    text="drain of the first 5,000 of 100 thousand (in full: 1 million) jobs, beside that of 1 thousand",
    measure=_measure,
    roles=SUBJECT,
    full_roles=PEERS,
)
