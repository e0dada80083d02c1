"""A run: every system measured on one Redis, in turns, so that whatever else the machine does meets all."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.catalog import ROUND_TRIP_MODULE, Role
from benchmarks.child import ChildFailed, connected
from benchmarks.figures import Unit, percentile
from benchmarks.outcome import Outcome
from benchmarks.scenarios.latency import GAP
from benchmarks.scenarios.scenario import Scenario
from benchmarks.server import Server
from benchmarks.turn import Measured, Scale, Turn

_HOT = 1000

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is measured.

    Attributes:
        systems: Whom, in the order of their turns.
        scenarios: What, in order.
        scale: How much of it.
        rounds: How often it is each one's turn.
    """

    systems: Sequence[Measured]
    scenarios: Sequence[Scenario]
    scale: Scale
    rounds: int

    @property
    def limit(self) -> Measured | None:
        """The bare loop, or None when it is not measured."""
        return next((each for each in self.systems if each.system.role is Role.LIMIT), None)

    def of_round(self, number: int) -> list[Scenario]:
        """Return the scenarios of a round; the first is number 0."""
        return [each for each in self.scenarios if number == 0 or each.every_round or self.scale.full]


def run(server: Server, plan: Plan, *, home: Path, say: Say) -> Outcome:
    """Measure.

    Args:
        server: Where.
        plan: Whom, what, how much.
        home: The interpreter that has capelin, for the round trips.
        say: Told what is going on.

    Raises:
        ChildFailed: capelin, or a limit of it, could not be measured. A peer's failure is only noted.
    """
    outcome = Outcome()
    for number in range(plan.rounds):
        where = f"round {number + 1} of {plan.rounds}"
        say(f"{where}: round trips")
        _round_trips(server, home, outcome, plan.scale.paced)
        for scenario in plan.of_round(number):
            for measured in plan.systems:
                if scenario.concerns(measured.system.role, full=plan.scale.full):
                    say(f"{where}: {scenario.name}: {measured.system.name}")
                    turn = Turn(
                        server=server,
                        measured=measured,
                        outcome=outcome,
                        scale=plan.scale,
                        limit=plan.limit,
                    )
                    _take(turn, scenario)
    return outcome


def _take(turn: Turn, scenario: Scenario) -> None:
    turn.server.empty()
    try:
        scenario.measure(turn)
    except ChildFailed as error:
        if turn.system.role is not Role.PEER:
            raise
        turn.outcome.failures.append(f"{turn.system.name}, {scenario.name}: {error}")


def _round_trips(server: Server, home: Path, outcome: Outcome, paced: int) -> None:
    """Measure those that stand beside the unit of the bounds; that is the latency scenario's."""
    server.empty()
    with connected(home, ROUND_TRIP_MODULE, server.url) as child:
        for unit, what, count, gap in (
            (Unit.PING_PACED, "ping", paced, GAP),
            (Unit.EVALSHA_PACED, "evalsha", paced, GAP),
            (Unit.PING_HOT, "ping", _HOT, None),
            (Unit.EVALSHA_HOT, "evalsha", _HOT, None),
        ):
            seconds = child.ask("measure", what=what, count=count, gap=gap)["seconds"]
            outcome.note_unit(unit, percentile(seconds, 0.5))
