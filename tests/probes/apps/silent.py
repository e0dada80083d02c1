"""An app of which one schedule and one singleton go silent, and one of each does not."""

import asyncio
from datetime import timedelta

from capelin import Capelin, Leader

app = Capelin(name="silent")


@app.every(timedelta(seconds=1), name="fine")
async def fine() -> None:
    """Complete."""


@app.every(timedelta(seconds=1), name="mute")
async def mute() -> None:
    """Never complete."""
    raise ValueError("always")


@app.singleton("steady", interval=1)
async def steady(leader: Leader[None]) -> None:
    """Return."""
    del leader


@app.singleton("stuck", interval=1)
async def stuck(leader: Leader[None]) -> None:
    """Hang."""
    del leader
    await asyncio.Event().wait()
