"""What is asked of a worker, and what it answers: values that travel between processes as JSON."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Protocol

from capelin.errors import CapelinError
from capelin.metrics.figures import Figures

PATIENCE = 2.0
"""Seconds that one check may take."""


class Question(StrEnum):
    """What can be asked."""

    LIVE = "live"
    """Does it still do its work, as far as that is up to this process?"""
    READY = "ready"
    """Can it do its work: is Redis there, are leases renewed, does what runs by itself give signs of life?"""
    HEALTH = "health"
    """Both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: What.
        ok: Whether it is as it should be.
        detail: What is wrong, or worth knowing.
        latency_ms: How long it took to find out, ms.
        process: The place of the process under its supervisor; None without one.
    """

    name: str
    ok: bool
    detail: str = ""
    latency_ms: float = 0.0
    process: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as people and programs read it."""
        said: dict[str, Any] = {
            "name": self.name,
            "status": "ok" if self.ok else "failing",
            "latency_ms": round(self.latency_ms, 2),
        }
        if self.detail:
            said["detail"] = self.detail
        if self.process is not None:
            said["process"] = self.process
        return said

    def packed(self) -> dict[str, Any]:
        """Return it as another process reads it."""
        return asdict(self)

    @classmethod
    def unpacked(cls, raw: Mapping[str, Any], *, process: int) -> "Check":
        """Read one that another process packed."""
        return cls(
            name=str(raw["name"]),
            ok=bool(raw["ok"]),
            detail=str(raw["detail"]),
            latency_ms=float(raw["latency_ms"]),
            process=process,
        )


class Source(Protocol):
    """Who answers: a worker, or a supervisor for its workers."""

    async def checks(self, question: Question) -> list[Check]:
        """Return what was looked at; never raises, and takes a few seconds at most."""
        ...

    async def figures(self) -> Figures:
        """Return the figures of the metrics."""
        ...


def said(checks: Iterable[Check]) -> dict[str, Any]:
    """Return the answer to a question as JSON."""
    shown = list(checks)
    status = "ok" if all(check.ok for check in shown) else "failing"
    return {"status": status, "checks": [check.to_json() for check in shown]}


async def timed(name: str, look: Callable[[], Awaitable[str]]) -> Check:
    """Look at something that says what is worth knowing, or raises what is wrong; bounded by ``PATIENCE``."""
    began = time.perf_counter()
    ok, detail = False, f"no answer within {PATIENCE:g} s"
    try:
        async with asyncio.timeout(PATIENCE):
            detail = await look()
            ok = True
    except TimeoutError:
        pass
    except CapelinError as error:
        detail = str(error)
    return Check(name=name, ok=ok, detail=detail, latency_ms=(time.perf_counter() - began) * 1000)
