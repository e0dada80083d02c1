"""The release that is being replaced: it knows no `later`, and `greet` takes a name only."""

from capelin import Capelin, Tasks
from tests.chaos.apps import duties

tasks = Tasks()


@tasks.task(retry=duties.PATIENT)
async def greet(name: str) -> str:
    return f"hello {name}"


app = Capelin(name="chaos", middleware=[duties.noting])
app.include(duties.tasks)
app.include(tasks)
duties.note_outcomes()
