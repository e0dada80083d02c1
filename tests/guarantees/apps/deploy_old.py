"""The release that is being replaced: it does not know `later`, and `greet` takes a name only."""

import os

from capelin import Capelin, Tasks
from tests.support.ledger import Ledger, noting_starts

tasks = Tasks()


@tasks.task
async def greet(name: str) -> str:
    return f"hello {name}"


@tasks.task
async def steady(number: int) -> int:
    return number


app = Capelin(middleware=[noting_starts(Ledger.here())] if "TEST_LEDGER" in os.environ else [])
app.include(tasks)
