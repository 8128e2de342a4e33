"""The person whose credential it is, encrypted under the tenant's key: no name is in clear in the database.

A ciphertext is nonce(12) ‖ AES-256-GCM(HKDF-SHA256(tenant key), nonce, canonical JSON, associated data = tenant ‖ 0x00
‖ credential): it opens for its own credential alone, and for none once the tenant's key is destroyed.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from journal.core import canonical
from journal.core.envelope import KEY_BYTES, NONCE_BYTES
from journal.core.errors import KeyStoreError
from journal.extract.grounds import Person, parse_person

if TYPE_CHECKING:
    from journal.keys.store import KeyStore

_INFO = b"openepm-journal/v1/person\0"
_LIMIT_BYTES = 16 * 1024


class Persons:
    """Encrypts and opens the persons of credentials."""

    def __init__(self, keystore: KeyStore) -> None:
        """Use the tenants' keys of this key store."""
        self._keystore = keystore

    def encrypt(self, tenant: str, credential: str, person: Person | None) -> bytes | None:
        """Return the ciphertext of a credential's person; None for none. Raises KeyStoreError."""
        if person is None:
            return None
        nonce = secrets.token_bytes(NONCE_BYTES)
        text = canonical.encode(person.as_json())
        return nonce + self._cipher(tenant).encrypt(nonce, text, _place(tenant, credential))

    def open(self, tenant: str, credential: str, ciphertext: bytes | None) -> Person | None:
        """Return a credential's person; None if it names none. Raises KeyStoreError."""
        if ciphertext is None:
            return None
        try:
            text = self._cipher(tenant).decrypt(
                ciphertext[:NONCE_BYTES], ciphertext[NONCE_BYTES:], _place(tenant, credential)
            )
        except (InvalidTag, ValueError) as error:
            raise KeyStoreError(f"the person of credential {credential} does not decrypt: run verify-store") from error
        return parse_person(canonical.decode(text, limit_bytes=_LIMIT_BYTES))

    def _cipher(self, tenant: str) -> AESGCM:
        key = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=_INFO)
        return AESGCM(key.derive(self._keystore.read_tenant_key(tenant)))


def _place(tenant: str, credential: str) -> bytes:
    return tenant.encode() + b"\0" + credential.encode()
