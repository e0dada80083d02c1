"""Every setting, its default, and its environment variable (``CAPELIN_<NAME>``).

An app uses ``Settings()`` unless it is given one. Times are in seconds.
"""

from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

SCHEMA = 1
"""The record schema this release writes. A queue with a larger one is refused."""


class Settings(BaseSettings):
    """Settings of a client and of a worker.

    Example:
        >>> Settings(lease_ttl=2).renew_interval
        0.6666666666666666
    """

    model_config = SettingsConfigDict(env_prefix="CAPELIN_", frozen=True, extra="forbid")

    redis_url: str = "redis://localhost:6379/0"
    prefix: str = "capelin"
    shards: int = Field(default=8, ge=1, le=1024, description="shards of a queue that nobody used before")
    socket_timeout: float = Field(default=5.0, gt=0.5, description="how long to wait for any reply")

    # Enqueueing
    max_payload_bytes: int = Field(default=1024 * 1024, ge=1)
    max_queue_length: int | None = Field(
        default=None, ge=1, description="jobs that may wait in a queue; None for no limit"
    )
    resend_window: float = Field(default=120.0, gt=0, description="how long a re-sent enqueue is recognised")
    enqueue_timeout: float = Field(
        default=30.0, gt=0, description="how long an enqueue is re-sent through an outage"
    )
    min_replicas: int = Field(
        default=0, ge=0, description="replicas that must have a job before its enqueue returns"
    )
    fsync: bool = Field(default=False, description="whether it must be on disk, too, here and there")
    replication_timeout: float = Field(
        default=1.0, gt=0, description="how long to wait for the replicas and disks of an enqueue"
    )

    # Retention
    retention: float = Field(default=7 * 86400.0, ge=0, description="how long a finished record is kept")
    max_finished: int = Field(default=100_000, ge=0, description="finished records kept, a queue")
    dlq_retention: float = Field(default=90 * 86400.0, ge=0)
    max_dead: int = Field(default=100_000, ge=0, description="dead jobs kept, a queue")
    parked_for: float = Field(
        default=86400.0, gt=0, description="a job that no worker can run is dead-lettered after this"
    )

    # Workers
    concurrency: int = Field(default=100, ge=1, le=10_000, description="async jobs at a time")
    threads: int = Field(default=16, ge=0, le=1000, description="jobs of def tasks at a time")
    cpu: int = Field(
        default=0,
        ge=0,
        le=256,
        description="jobs in processes at a time; 0: one less than the cores, at least one",
    )
    lease_ttl: float = Field(
        default=6.0, ge=1.0, description="how long leases and stakes hold without renewal"
    )
    steal_after: float = Field(default=0.1, gt=0, description="what waited longer any free worker takes")
    steal_budget: float = Field(default=500.0, gt=0, description="probes a second of the whole fleet")
    block: float = Field(default=2.0, gt=0.01, description="the longest wait for a wake token")
    grace: float = Field(default=25.0, ge=0, description="how long a shutdown waits for running jobs")
    max_crashes: int = Field(
        default=3, ge=1, description="a job whose worker died this often is dead-lettered"
    )
    stall_after: float = Field(
        default=2.0, gt=0, description="an event loop without progress gives up its leases after this"
    )
    stall_limit: float = Field(default=600.0, gt=0, description="and its process after this")
    live_after: float = Field(
        default=5.0,
        gt=0,
        description="a worker that stands still, or leaves ready work lying, is not live after this",
    )
    strict_priorities: bool = False

    # Logs
    log_level: Literal["debug", "info", "warning", "error", "critical"] = "info"
    log_format: Literal["auto", "json", "console"] = "auto"

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
