"""The app whose leaders are ended by ``benchmarks.failover``: one schedule, one singleton."""

from capelin import Capelin, Leader

app = Capelin(name="failover")


@app.every(0.25, catch_up="all")
async def tick() -> None:
    """Tick."""


@app.singleton("roamer", interval=0.25)
async def roamer(leader: Leader[None]) -> None:
    """Run again and again, wherever."""
    await leader.heartbeat()
