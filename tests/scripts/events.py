"""Events by chance: a machine's methods with how often they come and where their arguments come from.

Hypothesis has rules for that, but leaves most of them out of each run, for the sake of rare combinations,
and draws the same few values again and again, for the sake of small examples. A job needs many kinds of
events in order to get anywhere. So Hypothesis draws seeds here, takes events out of a run that fails until it
is short, and the rest is even chance.
"""

from collections.abc import Callable
from functools import wraps
from random import Random
from typing import Any, NamedTuple

Draw = Callable[[Random], Any]


def one(*values: object) -> Draw:
    """One of these; what stands there twice comes twice as often."""
    return lambda random: random.choice(values)


def number(below: int) -> Draw:
    """A number, from 0."""
    return lambda random: random.randrange(below)


def several(draw: Draw, most: int) -> Draw:
    """A list of one to `most`."""
    return lambda random: [draw(random) for _ in range(random.randint(1, most))]


def row(*draws: Draw) -> Draw:
    """One of each."""
    return lambda random: tuple(draw(random) for draw in draws)


def some_of(chance: float, **draws: Draw) -> Draw:
    """A dict of some of these, mostly empty when the chance is small."""
    return lambda random: {name: draw(random) for name, draw in draws.items() if random.random() < chance}


class Kind(NamedTuple):
    """A kind of event."""

    name: str
    weight: int
    arguments: dict[str, Draw]


class Events:
    """The kinds of events of one machine."""

    def __init__(self) -> None:
        self.kinds: list[Kind] = []

    def __call__(
        self, weight: int, when: Callable[[Any], object] = lambda _: True, **arguments: Draw
    ) -> Callable[[Callable[..., None]], Callable[..., None]]:
        """Decorate a method: it comes `weight` times in the sum of all, and does nothing unless `when`."""

        def register(method: Callable[..., None]) -> Callable[..., None]:
            @wraps(method)
            def run(self: Any, **kwargs: Any) -> None:
                if when(self):
                    method(self, **kwargs)

            self.kinds.append(Kind(method.__name__, weight, arguments))
            return run

        return register

    def draw(self, random: Random) -> tuple[str, dict[str, Any]]:
        """Return a method's name and its arguments."""
        [kind] = random.choices(self.kinds, [kind.weight for kind in self.kinds])
        return kind.name, {name: draw(random) for name, draw in kind.arguments.items()}
