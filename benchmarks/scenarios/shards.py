"""What more shards cost one worker, which then owns them all."""

from contextlib import ExitStack

from benchmarks.figures import Figure
from benchmarks.scenarios.scenario import NOBODY, SUBJECT, Scenario
from benchmarks.turn import Turn
from benchmarks.work import Work


def _measure(turn: Turn) -> None:
    for shards, figure in ((8, Figure.SHARDS_8), (64, Figure.SHARDS_64)):
        turn.server.empty()
        with ExitStack() as stack:
            producer = stack.enter_context(turn.process(shards=shards))
            turn.enqueue(producer, Work.NOOP, 0, turn.jobs, together=True)
            worker = stack.enter_context(turn.process(shards=shards))
            drained = turn.drain(worker, Work.NOOP, turn.jobs)
        turn.note_rate(figure, drained)


SHARDS = Scenario(
    name="shards",
    text="drain of a queue of 64 shards beside one of 8",
    measure=_measure,
    roles=NOBODY,
    full_roles=SUBJECT,
)
