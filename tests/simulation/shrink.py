"""The smallest scenario that still fails: events and pods are left out for as long as it does."""

from collections.abc import Callable
from dataclasses import replace

from tests.simulation.run import Outcome
from tests.simulation.scenario import Scenario


def shrink(
    outcome: Outcome, play: Callable[[Scenario], Outcome], *, tries: int = 150, say: Callable[[str], None]
) -> Outcome:
    """Leave out what is not needed for a failure of the same kind.

    Args:
        outcome: A failure.
        play: Plays a scenario.
        tries: At most so many are played.
        say: Told of progress.

    Returns:
        The smallest failure that was found.
    """
    kind = kind_of(outcome.problems[0])
    best = outcome
    size = max(1, len(best.scenario.events) // 2)
    while tries > 0:
        smaller = None
        for candidate in _candidates(best.scenario, size):
            tries -= 1
            played = play(candidate)
            if any(kind_of(problem) == kind for problem in played.problems):
                smaller = played
                break
            if tries <= 0:
                break
        if smaller is not None:
            best = smaller
            left = best.scenario
            say(f"still fails with {len(left.events)} events and {len(left.workers)} workers")
        elif size == 1:
            break
        else:
            size //= 2
        size = max(1, min(size, len(best.scenario.events)))
    return best


def kind_of(problem: str) -> str:
    """What is wrong, without when and with whom: two problems of a kind are taken for one."""
    words = problem.partition(": ")[2].split()
    return " ".join(word for word in words if word.isalpha())[:60]


def _candidates(scenario: Scenario, size: int) -> list[Scenario]:
    places = range(0, len(scenario.events), size)
    fewer = [scenario.without(set(range(place, place + size))) for place in places]
    used = {event.slot for event in scenario.events}
    spare = [slot for slot in scenario.workers if slot not in used and len(scenario.workers) > 1]
    return fewer + [
        replace(scenario, workers={slot: r for slot, r in scenario.workers.items() if slot != without})
        for without in spare
    ]
