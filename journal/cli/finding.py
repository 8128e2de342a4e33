"""What `doctor` finds: one finding for each thing looked at, with its severity and what mends it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Severity = Literal["ok", "note", "warning", "failure"]
# The exit code by the worst finding; a note is no fault.
CODES: Final[dict[Severity, int]] = {"ok": 0, "note": 0, "warning": 1, "failure": 2}
_WORDS: Final[dict[Severity, str]] = {"ok": "ok  ", "note": "note", "warning": "WARN", "failure": "FAIL"}


@dataclass(frozen=True, slots=True)
class Finding:
    """A thing looked at: `name`, what was found in a sentence, and the command or step that mends it."""

    name: str
    severity: Severity
    told: str = ""
    mend: str = ""

    def __str__(self) -> str:
        """Return it as a line."""
        return f"{_WORDS[self.severity]} {self.name}" + (f": {self._sentence()}" if self.told else "")

    def _sentence(self) -> str:
        return f"{self.told}; {self.mend}" if self.mend else self.told


def ok(name: str, told: str = "") -> Finding:
    """Return a finding of what is right."""
    return Finding(name, "ok", told)


def note(name: str, told: str) -> Finding:
    """Return what should be known, and is no fault."""
    return Finding(name, "note", told)


def warning(name: str, told: str, mend: str = "") -> Finding:
    """Return what will fail if nothing is done."""
    return Finding(name, "warning", told, mend)


def failure(name: str, told: str, mend: str = "") -> Finding:
    """Return what fails now."""
    return Finding(name, "failure", told, mend)
