"""An app with schedules, for the tests of the command line."""

from capelin import Capelin

app = Capelin()


@app.every(0.5, catch_up="all")
async def beat() -> None: ...


@app.cron(
    "0 9 * * mon-fri", timezone="Europe/Berlin", name="digest.daily", overlap="skip", kwargs={"region": "eu"}
)
async def digest(region: str) -> str:
    return region
