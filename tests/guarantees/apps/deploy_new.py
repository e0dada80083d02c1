"""The release that comes: `greet` may be loud, and there is `later`."""

import os

from capelin import Capelin, Tasks
from tests.support.ledger import Ledger, noting_starts

tasks = Tasks()


@tasks.task
async def greet(name: str, *, loud: bool = False) -> str:
    return f"HELLO {name.upper()}" if loud else f"hello {name}"


@tasks.task
async def steady(number: int) -> int:
    return number


@tasks.task
async def later(number: int) -> int:
    return number + 1


app = Capelin(middleware=[noting_starts(Ledger.here())] if "TEST_LEDGER" in os.environ else [])
app.include(tasks)
