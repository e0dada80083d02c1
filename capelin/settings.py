"""Every setting, its default, and its environment variable (``CAPELIN_<NAME>``).

An app uses ``Settings()`` unless it is given one. Times are given in seconds or as a ``timedelta``, and
are read in seconds.
"""

from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from capelin._hiding import hide_password
from capelin.durations import Duration
from capelin.sealing import Seal, seal_of

SCHEMA = 1
"""The record schema this release writes. A queue with a larger one is refused."""


if TYPE_CHECKING:

    class Seconds:
        """A duration: both kinds are taken, and seconds are what is read."""

        def __get__(self, instance: object, owner: type | None = None) -> float: ...
        def __set__(self, instance: object, value: Duration) -> None: ...

else:

    def _in_seconds(given: object) -> object:
        return given.total_seconds() if isinstance(given, timedelta) else given

    Seconds = Annotated[float, BeforeValidator(_in_seconds), Field(allow_inf_nan=False)]


def _duration(default: float, description: str, *, ge: float | None = None, gt: float | None = None) -> Any:
    return Field(default=default, ge=ge, gt=gt, description=description)


class Settings(BaseSettings):
    """Settings of a client and of a worker.

    Example:
        >>> Settings(lease_ttl=2).renew_interval
        0.6666666666666666
    """

    model_config = SettingsConfigDict(env_prefix="CAPELIN_", frozen=True, extra="forbid")

    redis_url: str = Field(default="redis://localhost:6379/0", description="where Redis is")
    prefix: str = Field(
        default="capelin", description="what every key begins with; apps with one prefix share their queues"
    )
    shards: int = Field(default=8, ge=1, le=1024, description="shards of a queue that nobody used before")
    socket_timeout: Seconds = _duration(5.0, "how long to wait for any reply", gt=0.5)

    # Enqueueing
    max_payload_bytes: int = Field(default=1024 * 1024, ge=1, description="the arguments of a job, as JSON")
    max_queue_length: int | None = Field(
        default=None, ge=1, description="jobs that may wait in a queue; None for no limit"
    )
    resend_window: Seconds = _duration(120.0, "how long a re-sent enqueue is recognised", gt=0)
    enqueue_timeout: Seconds = _duration(30.0, "how long an enqueue is re-sent through an outage", gt=0)
    min_replicas: int = Field(
        default=0, ge=0, description="replicas that must have a job before its enqueue returns"
    )
    fsync: bool = Field(default=False, description="whether it must be on disk, too, here and there")
    replication_timeout: Seconds = _duration(
        1.0, "how long to wait for the replicas and disks of an enqueue", gt=0
    )

    # Encryption
    encryption_keys: SecretStr | None = Field(
        default=None, description="base64, separated by commas; the first encrypts, all decrypt"
    )

    # Retention
    retention: Seconds = _duration(7 * 86400.0, "how long a finished record is kept", ge=0)
    max_finished: int = Field(default=100_000, ge=0, description="finished records kept, a queue")
    dlq_retention: Seconds = _duration(90 * 86400.0, "how long a dead job is kept", ge=0)
    max_dead: int = Field(default=100_000, ge=0, description="dead jobs kept, a queue")
    parked_for: Seconds = _duration(86400.0, "a job that no worker can run is dead-lettered after this", gt=0)

    # Workers
    concurrency: int = Field(default=100, ge=1, le=10_000, description="async jobs at a time")
    threads: int = Field(default=16, ge=0, le=1000, description="jobs of def tasks at a time")
    cpu: int = Field(
        default=0,
        ge=0,
        le=256,
        description="jobs in processes at a time; 0: one less than the cores, at least one",
    )
    lease_ttl: Seconds = _duration(6.0, "how long leases and stakes hold without renewal", ge=1.0)
    steal_after: Seconds = _duration(0.1, "what waited longer any free worker takes", gt=0)
    steal_budget: float = Field(
        default=500.0, gt=0, allow_inf_nan=False, description="probes a second of the whole fleet"
    )
    block: Seconds = _duration(2.0, "the longest wait for a wake token", gt=0.01)
    grace: Seconds = _duration(25.0, "how long a shutdown waits for running jobs", ge=0)
    max_crashes: int = Field(
        default=3, ge=1, description="a job whose worker died this often is dead-lettered"
    )
    stall_after: Seconds = _duration(
        2.0, "an event loop without progress gives up its leases after this", gt=0
    )
    stall_limit: Seconds = _duration(600.0, "one without progress for this long ends its process", gt=0)
    live_after: Seconds = _duration(
        5.0, "a worker that stands still, or leaves ready work lying, is not live after this", gt=0
    )
    strict_priorities: bool = Field(
        default=False, description="whether a lower priority waits until no higher one does"
    )

    # Logs and traces
    tracing: bool = Field(default=False, description="whether OpenTelemetry's spans are made (extra `otel`)")
    log_level: Literal["debug", "info", "warning", "error", "critical"] = Field(
        default="info", description="what is less is not logged"
    )
    log_format: Literal["auto", "json", "console"] = Field(
        default="auto", description="auto: readable on a terminal, JSON elsewhere"
    )

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """What `repr` shows: passwords of the URL are `***`."""
        for name, value in super().__repr_args__():
            yield name, hide_password(value) if name == "redis_url" else value

    @property
    def seal(self) -> Seal:
        """What encrypts and decrypts payloads: with ``encryption_keys``.

        Raises:
            ConfigurationError: They cannot be read, or the extra ``encryption`` is not installed.
        """
        return seal_of("" if self.encryption_keys is None else self.encryption_keys.get_secret_value())

    @property
    def renew_interval(self) -> float:
        """Seconds between renewals: a third of the TTL."""
        return self.lease_ttl / 3

    @model_validator(mode="after")
    def _blocking_below_timeout(self) -> Self:
        if self.block >= self.socket_timeout:
            raise ValueError(
                "block must stay below socket_timeout, or every idle wait ends as a lost connection"
            )
        return self

    @model_validator(mode="after")
    def _resending_within_window(self) -> Self:
        if self.enqueue_timeout + self.socket_timeout > self.resend_window:
            raise ValueError(
                "enqueue_timeout + socket_timeout must stay below resend_window, or a re-sent enqueue may "
                "find its first job forgotten, and run twice"
            )
        return self
