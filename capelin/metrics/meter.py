"""What the parts of a worker tell whoever counts. This one counts nothing, and costs next to nothing."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from capelin.keys import ShardKeys
from capelin.lua import OutcomeRow, Reaped, Verdict

if TYPE_CHECKING:
    from capelin.workers.running import Start


class Meter:
    """Counts nothing; see ``tally.Tally``."""

    # Told on the worker's event loop.

    def took(self, shard: ShardKeys, starts: "Sequence[Start]", now: int | None) -> None:
        """These starts began; ``now`` is Redis's clock when they were taken, ms, if it is known."""

    def stole(self, shard: ShardKeys, starts: "Sequence[Start]", now: int) -> None:
        """These began, taken from a shard of another worker."""

    def adopted(self, shard: ShardKeys, starts: "Sequence[Start]") -> None:
        """These began, whose delivery was lost."""

    def set_aside(self, shard: ShardKeys, entries: int) -> None:
        """So many entries could not be read, and are in the DLQ."""

    def ended(self, start: "Start") -> None:
        """A start is over; what became of it is recorded later."""

    def recorded(
        self, shard: ShardKeys, outcomes: "Sequence[tuple[Start, OutcomeRow]]", verdicts: Sequence[Verdict]
    ) -> None:
        """Redis answered for these outcomes."""

    # Told in the heartbeat's thread.

    def reaped(self, shard: ShardKeys, reaped: Reaped) -> None:
        """Jobs of dead workers came back."""

    def buried(self, shard: ShardKeys, jobs: int) -> None:
        """So many jobs were parked for too long, and are in the DLQ."""


NO_METER: Final = Meter()
