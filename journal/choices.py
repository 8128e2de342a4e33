"""What an operator chooses from, apart from what is done with it: the command line loads it to read its arguments."""

from __future__ import annotations

from typing import Final, Literal

REGIMES: Final = ("LED", "GDPR")
DEFAULT_BASIS: Final = "contrat, art. 13.2"
ANSWERS: Final = {"yes": True, "no": False}

CREDENTIAL_ROLES: Final = ("module", "client", "auditor", "operator")
PERSON_ROLES: Final = ("referent", "reader", "auditor", "operator")
INVITATION_HOURS: Final = 48

KEY_KINDS: Final = ("p256", "p384", "rsa3072", "rsa4096")

# Papers by the word of the command; the French of the console and of file names.
PAPERS: Final = {
    "register": "registre",
    "measures": "mesures",
    "coverage": "couverture",
    "notice": "notice",
    "duration": "duree",
}
Suspicion = Literal["credential", "backup", "database", "root"]
SUSPICIONS: Final[tuple[Suspicion, ...]] = ("credential", "backup", "database", "root")
