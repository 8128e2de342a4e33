"""What the check of the store finds wrong, in the order it was found."""

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
    """One thing that is wrong: its class in the words of FORMAT.md, where, and why. Nothing personal."""

    verdict: str
    where: str
    reason: str

    def __str__(self) -> str:
        """Return the line an operator reads."""
        return f"{self.verdict}: {self.where}: {self.reason}"


class Findings(list[Finding]):
    """At most MAX_FINDINGS of them: whoever has so many needs no more to know that something is wrong."""

    def report(self, verdict: str, where: str, reason: str) -> None:
        """Keep one."""
        if len(self) < MAX_FINDINGS:
            self.append(Finding(verdict=verdict, where=where, reason=reason))

    def report_error(self, error: JournalError, where: str) -> None:
        """Keep what an error says, under its verdict."""
        verdict = error.verdict if isinstance(error, VerificationError) else "malformed"
        self.report("broken chain" if verdict == VerificationError.verdict else verdict, where, str(error))
