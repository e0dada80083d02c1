"""Asking the doctor, through the command line, and finding what it said of one thing."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any, Protocol

from capelin.admin import open_access
from capelin.admin.doctor import Finding, examine
from capelin.settings import Settings


class _Said(Protocol):
    @property
    def status(self) -> int: ...
    @property
    def out(self) -> str: ...
    @property
    def err(self) -> str: ...


class _Run(Protocol):
    def __call__(self, *words: str) -> _Said: ...


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What `capelin doctor --json` said.

    Attributes:
        status: Its exit status.
        findings: The findings, as it printed them.
    """

    status: int
    findings: list[dict[str, Any]]

    def of(self, check: str) -> list[tuple[str, str]]:
        """What a check saw: severities and words."""
        return [(one["severity"], one["what"]) for one in self.findings if one["check"] == check]

    def worst(self, check: str) -> dict[str, Any]:
        """The one finding of a check that is not fine; its advice, too."""
        [found] = [one for one in self.findings if one["check"] == check and one["severity"] != "ok"]
        return found


def diagnose(run: _Run, url: str, *words: str) -> Diagnosis:
    """Run `capelin doctor --json` on a Redis; `run` is the fixture of the command line's tests."""
    said = run("doctor", "--redis", url, "--json", *words)
    assert said.status in {0, 1}, said.err
    return Diagnosis(status=said.status, findings=json.loads(said.out)["findings"])


def look(url: str, *only: str, **options: Any) -> list[Finding]:
    """Ask the doctor without the command line; `options` are those of `examine`."""

    async def main() -> list[Finding]:
        async with open_access(url, prefix="capelin", settings=Settings()) as access:
            return await examine(access, only=only, **options)

    return asyncio.run(main())
