"""What the doctor says: findings, how bad each is, and the pad on which a check writes them."""

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    """Looked at, and fine."""
    NOTE = "note"
    """Worth knowing; nothing is broken."""
    WARNING = "warning"
    """It will hurt under load, at a failover, or later."""
    PROBLEM = "problem"
    """Jobs are lost, stuck or late, now or at the next restart."""

    @property
    def rank(self) -> int:
        """Its place in the order, 0 for what is fine."""
        return list(Severity).index(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that a check saw.

    Attributes:
        check: The name of the check.
        severity: How bad it is.
        what: What was seen, with its figures.
        why: Why that matters, in a clause; empty for what is fine.
        advice: What to do, with the command to type; empty for what is fine.
    """

    check: str
    severity: Severity
    what: str
    why: str = ""
    advice: str = ""


class Report:
    """Where a check writes what it sees; what it wrote before it failed is kept.

    Args:
        check: The name of the check.
    """

    def __init__(self, check: str) -> None:
        self.check = check
        self.findings: list[Finding] = []

    def ok(self, what: str) -> None:
        """Write that something is fine, and its figures."""
        self.say(Severity.OK, what)

    def note(self, what: str, *, why: str = "", do: str = "") -> None:
        """Write what is worth knowing."""
        self.say(Severity.NOTE, what, why=why, do=do)

    def warning(self, what: str, *, why: str, do: str) -> None:
        """Write what will hurt."""
        self.say(Severity.WARNING, what, why=why, do=do)

    def problem(self, what: str, *, why: str, do: str) -> None:
        """Write what is broken."""
        self.say(Severity.PROBLEM, what, why=why, do=do)

    def say(self, severity: Severity, what: str, *, why: str = "", do: str = "") -> None:
        """Write a finding."""
        self.findings.append(Finding(check=self.check, severity=severity, what=what, why=why, advice=do))
