"""Who signs a document, and whom a reader must trust for that: the rows of its signature block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from journal.document.french import TRIALS, cell, solid_day, solid_moment, typeset

if TYPE_CHECKING:
    from datetime import datetime

    from journal.pki.trust import Anchor

NAME_CHARACTERS = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class Signatory:
    """The service as its certificate names it, when it signs, and the trust anchor; None if that cannot be told.

    `organisation` is None where the certificate names none.
    """

    service: str
    organisation: str | None
    name: str
    certificate_sha256: bytes
    until: datetime
    anchor: Anchor | None
    signed_at: datetime
    software: str

    def warning(self) -> str:
        """Return what makes the signature worth little; empty where nothing does."""
        return typeset(TRIALS) if self.anchor is not None and self.anchor.is_development else ""

    def rows(self) -> list[list[str]]:
        """Return what the signature block says, each line with its name."""
        organisation = self.organisation or f"le service {self.service} (son certificat ne nomme pas d’organisme)"
        rows = [
            ["Établi et signé par", cell(organisation, NAME_CHARACTERS)],
            ["Le", f"{solid_moment(self.signed_at)} (temps universel)"],
            ["Certificat", f"{cell(self.name, NAME_CHARACTERS)}, valable jusqu’au {solid_day(self.until.date())}"],
            ["Son SHA-256", self.certificate_sha256.hex()],
            ["Confiance", cell(self.anchor.subject, NAME_CHARACTERS) if self.anchor else "inconnue"],
        ]
        return [*rows, ["SHA-256, à comparer", self.anchor.sha256.hex()]] if self.anchor else rows
