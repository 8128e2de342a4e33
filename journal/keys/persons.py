"""Persons, encrypted under their tenant's key: no name is in clear in the database.

A ciphertext is nonce(12) ‖ AES-256-GCM(HKDF-SHA256(tenant key), nonce, canonical JSON, associated data = tenant ‖ 0x00
‖ id): it opens for the credential or person of that id alone, and for none once the tenant's key is destroyed.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from unicodedata import normalize

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from journal.core import canonical
from journal.core.entry import RESERVED_TENANT
from journal.core.envelope import KEY_BYTES, NONCE_BYTES
from journal.core.errors import KeyStoreError
from journal.extract.grounds import Person, parse_person

if TYPE_CHECKING:
    from journal.keys.store import KeyStore

_LIMIT_BYTES = 16 * 1024


class _Box:
    """Encrypts and opens JSON objects for one purpose, each for a tenant and an id."""

    def __init__(self, keystore: KeyStore, purpose: str, what: str) -> None:
        self._keystore = keystore
        self._info = f"openepm-journal/v1/{purpose}\0".encode()
        self._what = what

    def key(self, tenant: str) -> bytes:
        """Return the key of this purpose. Raises KeyStoreError."""
        derivation = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=self._info)
        return derivation.derive(self._keystore.read_tenant_key(tenant))

    def encrypt(self, tenant: str, identifier: str, value: dict[str, Any]) -> bytes:
        nonce = secrets.token_bytes(NONCE_BYTES)
        cipher = AESGCM(self.key(tenant))
        return nonce + cipher.encrypt(nonce, canonical.encode(value), _place(tenant, identifier))

    def open(self, tenant: str, identifier: str, ciphertext: bytes) -> dict[str, Any]:
        try:
            text = AESGCM(self.key(tenant)).decrypt(
                ciphertext[:NONCE_BYTES], ciphertext[NONCE_BYTES:], _place(tenant, identifier)
            )
        except (InvalidTag, ValueError) as error:
            raise KeyStoreError(f"the {self._what} {identifier} does not decrypt: run verify-store") from error
        value: dict[str, Any] = canonical.decode(text, limit_bytes=_LIMIT_BYTES)
        return value


def _place(tenant: str, identifier: str) -> bytes:
    return tenant.encode() + b"\0" + identifier.encode()


class Persons:
    """Encrypts and opens the persons of credentials."""

    def __init__(self, keystore: KeyStore) -> None:
        """Use the tenants' keys of this key store."""
        self._box = _Box(keystore, "person", "person of credential")

    def encrypt(self, tenant: str, credential: str, person: Person | None) -> bytes | None:
        """Return the ciphertext of a credential's person; None for none. Raises KeyStoreError."""
        return None if person is None else self._box.encrypt(tenant, credential, person.as_json())

    def open(self, tenant: str, credential: str, ciphertext: bytes | None) -> Person | None:
        """Return a credential's person; None if it names none. Raises KeyStoreError."""
        return None if ciphertext is None else parse_person(self._box.open(tenant, credential, ciphertext))


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who signs in to the console, and with what: empty texts until the invitation is accepted.

    `password_hash` is Argon2id's encoded form (RFC 9106), `totp_secret` in base32 (RFC 6238), `mails` what the person
    chose to be told by mail (`journal.notices.kinds`), empty where nothing was chosen.
    """

    name: str
    function: str
    login: str
    password_hash: str = field(default="", repr=False)
    totp_secret: str = field(default="", repr=False)
    mails: str = ""

    @property
    def person(self) -> Person:
        """Return the person, as an extract names who asked."""
        return Person(self.name, self.function)


class SignInKeys:
    """Encrypts and opens the identities of persons; finds them by login; keys what their browsers keep."""

    def __init__(self, keystore: KeyStore) -> None:
        """Use the tenants' keys of this key store."""
        self._identities = _Box(keystore, "identity", "person")
        self._logins = _Box(keystore, "login", "login")
        self._sessions = _Box(keystore, "session", "session")

    def encrypt(self, tenant: str, identifier: str, identity: Identity) -> bytes:
        """Return the ciphertext of a person's identity. Raises KeyStoreError."""
        return self._identities.encrypt(tenant, identifier, asdict(identity))

    def open(self, tenant: str, identifier: str, ciphertext: bytes) -> Identity:
        """Return a person's identity. Raises KeyStoreError."""
        return Identity(**self._identities.open(tenant, identifier, ciphertext))

    def login_key(self, login: str) -> bytes:
        """Return what a login is found by: the same in upper and lower case. Raises KeyStoreError."""
        spelt = normalize("NFC", login.strip().casefold())
        return hmac.digest(self._logins.key(RESERVED_TENANT), spelt.encode(), sha256)

    def mac(self, message: bytes) -> bytes:
        """Return the MAC (32 bytes) of what a browser is given to keep; the same in every process."""
        return hmac.digest(self._sessions.key(RESERVED_TENANT), message, sha256)
