"""What a worker tells scripts on each call, in their units, worked out once from the settings."""

from dataclasses import dataclass

from capelin.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Settings as scripts want them: ms, and counts a shard.

    Attributes:
        ttl: ms that leases and stakes hold.
        resend_window, default_retention, dlq_age, parked_age: ms.
        most_finished, most_dead: Records kept in one shard.
    """

    ttl: int
    resend_window: int
    default_retention: int
    dlq_age: int
    parked_age: int
    steal_after: int
    max_crashes: int
    max_finished: int
    max_dead: int

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        def ms(value: float) -> int:
            return round(value * 1000)

        return cls(
            ttl=ms(settings.lease_ttl),
            resend_window=ms(settings.resend_window),
            default_retention=ms(settings.retention),
            dlq_age=ms(settings.dlq_retention),
            parked_age=ms(settings.parked_for),
            steal_after=ms(settings.steal_after),
            max_crashes=settings.max_crashes,
            max_finished=settings.max_finished,
            max_dead=settings.max_dead,
        )

    def most_finished(self, shards: int) -> int:
        return -(-self.max_finished // shards)

    def most_dead(self, shards: int) -> int:
        return -(-self.max_dead // shards)
