"""Who signs the documents of a service, as its certificate names it, and whom their readers must trust."""

from __future__ import annotations

from contextlib import suppress
from hashlib import sha256
from typing import TYPE_CHECKING

from journal import __version__
from journal.core.errors import VerificationError
from journal.document.signatory import Signatory
from journal.pki.certificates import pem_to_der

if TYPE_CHECKING:
    from datetime import datetime

    from journal.pki.trust import Anchor
    from journal.service import Service


def signatory(service: Service, signed_at: datetime) -> Signatory:
    """Return who signs for this service at that time."""
    identity = service.identity
    return Signatory(
        service=service.name,
        organisation=str(identity.organisation) if identity.organisation is not None else None,
        name=identity.subject,
        certificate_sha256=sha256(identity.certificates[0]).digest(),
        until=identity.not_after,
        anchor=anchor(service),
        signed_at=signed_at,
        software=f"openepm-journal/{__version__}",
    )


def anchor(service: Service) -> Anchor | None:
    """Return whom a reader of a document must trust; None if that cannot be told."""
    with suppress(VerificationError, OSError):
        return service.identity.anchor(pem_to_der(service.reader.trust()), service.clock.now())
    return None
