"""What 50 workers cost Redis while there is nothing to do."""

import time
from contextlib import ExitStack

from benchmarks.figures import Figure
from benchmarks.scenarios.scenario import NOBODY, SUBJECT, Scenario
from benchmarks.turn import Turn
from benchmarks.work import Work

_WORKERS = 50
_TO_REST = 15.0  # more than twice the TTL of leases: everybody has seen everybody, and shards no longer move
_WATCHED = 20.0


def _measure(turn: Turn) -> None:
    server = turn.server
    with ExitStack() as stack:
        workers = [stack.enter_context(turn.process()) for _ in range(_WORKERS)]
        for worker in workers:
            worker.ask("work", work=Work.NOOP.value, expect=0)
        time.sleep(_TO_REST)
        server.reset_statistics()
        cpu, begin = server.cpu_seconds(), time.monotonic()
        time.sleep(_WATCHED)
        cpu, seconds = server.cpu_seconds() - cpu, time.monotonic() - begin
        turn.note(Figure.FLEET_CPU, cpu / seconds)
        turn.note(Figure.FLEET_COMMANDS, sum(server.calls()) / seconds)


IDLE_FLEET = Scenario(
    name="idle-fleet",
    text="Redis's CPU time and commands while 50 workers have nothing to do",
    measure=_measure,
    roles=NOBODY,
    full_roles=SUBJECT,
)
