"""The demo's app: one task and one schedule, as anybody would write them."""

from pathlib import Path

from tenacity import stop_after_attempt, wait_fixed

from capelin import Capelin, Reject, RetryPolicy
from capelin.demo.measure import Measures, measure_file

QUEUE = "files"
TICKS = "ticks"

app = Capelin(name="demo")


# A file that is away may come back, so it is tried again; one that is no Python stays that.
@app.task(queue=QUEUE, retry=RetryPolicy(stop=stop_after_attempt(2), wait=wait_fixed(1)))
def measure(path: str) -> Measures:
    """Measure one Python file."""
    try:
        return measure_file(Path(path))
    except (SyntaxError, UnicodeDecodeError, ValueError) as error:
        raise Reject(f"not measurable: {error}") from error


# "all": also those that fall due while nobody leads.
@app.every(1, catch_up="all", queue=TICKS)
async def tick() -> None:
    """Tick once a second, whoever leads, whichever workers live."""
