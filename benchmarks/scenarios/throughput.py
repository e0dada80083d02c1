"""Enqueue one at a time, enqueue many, drain: and what that costs Redis and the worker."""

from contextlib import ExitStack

from benchmarks.child import Child
from benchmarks.figures import Figure
from benchmarks.processes import resident_bytes
from benchmarks.scenarios.scenario import ALL, Scenario
from benchmarks.turn import Turn
from benchmarks.work import Work

_WARM_ONE = 50
_WARM_MANY = 200
_ONE_AT_MOST = 800
_ONE_TIMES = 3


def _measure(turn: Turn) -> None:
    empty = turn.server.memory()
    with ExitStack() as stack:
        producer = stack.enter_context(turn.process())
        waiting = _enqueue(turn, producer)
        worker = stack.enter_context(turn.process())
        started = _drain(turn, worker, waiting)
        _look_up(turn, producer, waiting)
    if started:  # and everybody has gone, whose buffers would count
        turn.note(Figure.FINISHED_MEMORY, max(0, turn.server.memory() - empty) / started)


def _drain(turn: Turn, worker: Child, waiting: int) -> int:
    """Drain, and note what it cost; returns how many jobs started."""
    server = turn.server
    server.reset_statistics()
    cpu = server.cpu_seconds()
    drained = turn.drain(worker, Work.NOOP, waiting)
    cpu = server.cpu_seconds() - cpu
    started = int(drained["started"])
    if started:
        scripts, others = server.calls()
        turn.note_rate(Figure.DRAIN, drained)
        turn.note(Figure.WORKER_CPU, drained["worked"] / started)
        turn.note(Figure.REDIS_CPU, cpu / started)
        turn.note(Figure.SCRIPT_CALLS, scripts / started)
        turn.note(Figure.OTHER_CALLS, others / started)
        if not turn.system.requirements:
            turn.note(Figure.SCRIPTS, server.scripts_microseconds() / 1e6 / started)
        turn.note(Figure.WORKER_MEMORY, resident_bytes(worker.pid))
    return started


def _look_up(turn: Turn, producer: Child, drained: int) -> None:
    """Ask the system's own records how many jobs have finished."""
    finished = producer.ask("finished")["finished"]
    account = turn.outcome.account(turn.system.name)
    if finished is None:
        account.keeps_records = False
    else:
        account.recorded += finished
        account.looked_at += drained


def _enqueue(turn: Turn, producer: Child) -> int:
    """Enqueue after a warm-up; returns how many jobs wait then."""
    waiting = 0
    for count, together in ((_WARM_ONE, False), (_WARM_MANY, True)):
        turn.enqueue(producer, Work.NOOP, waiting, count, together=together)
        waiting += count
    ones = min(turn.jobs, _ONE_AT_MOST)
    for _ in range(
        _ONE_TIMES
    ):  # each is over in less than a second: one hiccup of the machine decides nothing
        turn.note(Figure.ENQUEUE_ONE, ones / turn.enqueue(producer, Work.NOOP, waiting, ones, together=False))
        waiting += ones
    before = turn.server.memory()
    seconds = turn.enqueue(producer, Work.NOOP, waiting, turn.jobs, together=True)
    if not turn.lacks(Figure.ENQUEUE_MANY):
        turn.note(Figure.ENQUEUE_MANY, turn.jobs / seconds)
    elif not turn.lacks(Figure.ENQUEUE_SPREAD):
        turn.note(Figure.ENQUEUE_SPREAD, turn.jobs / seconds)
    turn.note(Figure.MEMORY, (turn.server.memory() - before) / turn.jobs)
    return waiting + turn.jobs


THROUGHPUT = Scenario(
    name="throughput",
    text="enqueue one at a time, enqueue many, drain no-op jobs with one worker",
    measure=_measure,
    roles=ALL,
    every_round=True,
)
