"""The findings of the check of the store, in the order they were made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from journal.core.errors import VerificationError

if TYPE_CHECKING:
    from journal.core.errors import JournalError

MAX_FINDINGS = 1_000
AGAIN = "say openepm-journal tenant destroy again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One fault: its class in the words of FORMAT.md, its place, and the reason. No personal data."""

    verdict: str
    where: str
    reason: str

    def __str__(self) -> str:
        """Return the line an operator reads."""
        return f"{self.verdict}: {self.where}: {self.reason}"


class Findings(list[Finding]):
    """A list of at most MAX_FINDINGS findings: more would add nothing."""

    def report(self, verdict: str, where: str, reason: str) -> None:
        """Add a finding, unless there are enough."""
        if len(self) < MAX_FINDINGS:
            self.append(Finding(verdict=verdict, where=where, reason=reason))

    def report_error(self, error: JournalError, where: str) -> None:
        """Add an error as a finding, under its verdict."""
        verdict = error.verdict if isinstance(error, VerificationError) else "malformed"
        self.report("broken chain" if verdict == VerificationError.verdict else verdict, where, str(error))
