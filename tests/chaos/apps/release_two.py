"""The release that comes: `greet` may be loud, and there is `later`."""

from capelin import Capelin, Tasks
from tests.chaos.apps import duties

tasks = Tasks()
UNKNOWN_TO_ONE = ("greet", "later")
"""Tasks that the other release may have to park."""


@tasks.task(retry=duties.PATIENT)
async def greet(name: str, *, loud: bool = False) -> str:
    return f"HELLO {name.upper()}" if loud else f"hello {name}"


@tasks.task(retry=duties.PATIENT)
async def later(number: int) -> int:
    return number + 1


app = Capelin(name="chaos", middleware=[duties.noting])
app.include(duties.tasks)
app.include(tasks)
duties.note_outcomes()
