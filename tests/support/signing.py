"""A signer for tests that have no service: its key in this process, and no clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from journal.signer import identity

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from journal.signer.identity import SigningIdentity


class LocalSigner:
    """Signs documents under an identity, at any time."""

    def __init__(self, signing: SigningIdentity) -> None:
        """Use this key."""
        self.identity = signing

    async def sign_document(self, attributes: bytes, content: bytes, at: datetime) -> bytes:
        """Return the bare signature, as the signer gives it."""
        return self.identity.sign_document(attributes, content, at)


def local_signer(directory: Path) -> LocalSigner:
    """Return a signer under the development authority made in this directory."""
    return LocalSigner(identity.load(directory / "signing.key", directory / "signing.pem"))
