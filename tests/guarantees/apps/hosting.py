"""The app of singletons that worker processes of these tests host; what they do is noted in the ledger.

A test names those that it needs in `TEST_SINGLETONS`, since one that blocks its loop blocks the others.
Gates are files: the test makes one when what waits for it may go on.
"""

import asyncio
import os
import time
import uuid
from pathlib import Path

from pydantic import BaseModel

from capelin import Capelin, Leader, LeadershipLost
from tests.guarantees.apps.recording import gate
from tests.support.ledger import ENV, Ledger
from tests.support.waiting import wait_until, wait_until_sync

ENV_NAMES = "TEST_SINGLETONS"
PATIENCE = 60
app = Capelin(name="hosting")


class Marks(BaseModel):
    """A counter, and what was counted."""

    n: int = 0
    marks: list[str] = []


def is_open(name: str) -> bool:
    return gate(Path(os.environ[ENV]), name).exists()


def note(what: str, leader: Leader[Marks], *words: object) -> None:
    Ledger.here().note(what, leader.name, leader.worker_id, leader.fencing_token, time.time(), *words)


async def became(leader: Leader[Marks]) -> None:
    note("became", leader)


async def lost(leader: Leader[Marks]) -> None:
    held = leader.held
    leader.state.marks.append(f"goodbye-{leader.fencing_token}")
    leader.state.n += 1
    try:
        await leader.save()
    except LeadershipLost:
        note("lost", leader, held, "refused")
    else:
        note("lost", leader, held, "saved")


async def count(leader: Leader[Marks]) -> None:
    mark = uuid.uuid4().hex[:12]
    leader.state.n += 1
    leader.state.marks.append(mark)
    note("saving", leader, mark)
    await leader.save()
    note("saved", leader, mark)


async def counter(leader: Leader[Marks]) -> None:
    """Counts, and blocks its event loop when its worker is told to."""
    stall = gate(Path(os.environ[ENV]), f"stall-{leader.worker_id}")
    if stall.exists():
        stall.unlink()
        time.sleep(2)  # noqa: ASYNC251 -- this is what it is for
    await count(leader)


async def waiter(leader: Leader[Marks]) -> None:
    """Counts once, and waits."""
    await count(leader)
    try:
        await asyncio.Event().wait()
    finally:
        note("ended", leader, leader.held)


async def blocker(leader: Leader[Marks]) -> None:
    """Blocks the event loop of its first host until a gate opens, and saves then."""
    if leader.state.n == 0:
        await count(leader)
        wait_until_sync(lambda: is_open("blocker"), description="the gate", timeout=PATIENCE)
        note("unblocked", leader)
    await count(leader)


@app.task
async def held(name: str) -> None:
    """Waits for a gate."""
    await wait_until(lambda: is_open(name), description=f"gate {name}", timeout=PATIENCE)


for body in (counter, waiter, blocker):
    if body.__name__ in os.environ.get(ENV_NAMES, "").split():
        app.singleton(state=Marks, interval=0.03, on_become_leader=became, on_lose_leadership=lost)(body)
