"""The encryption of entries: under the data key of their compartment and day, bound to their place in the chain.

AES-256-GCM (NIST SP 800-38D) with a random 96-bit nonce; keys by HKDF-SHA256 (RFC 5869). One data key serves
one compartment for one day, far below the 2^32 entries after which random nonces may repeat.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from journal.core.chain import SALT_BYTES, salted_hash
from journal.core.entry import KEPT_BYTES, kept_of, place_parts, unfold
from journal.core.errors import BrokenChainError
from journal.core.times import format_day

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date

KEY_BYTES = 32
NONCE_BYTES = 12

# Index, leaf hash, ciphertext.
Row = tuple[int, bytes, bytes]
# A cipher, and the associated data before the index.
Parts = tuple[AESGCM, bytes]

_TAG_BYTES = 16
_CIPHERTEXT_BYTES = NONCE_BYTES + SALT_BYTES + KEPT_BYTES + _TAG_BYTES
_DATA_KEY = b"openepm-journal/v1/data-key\0"
_EVENT_KEY = b"openepm-journal/v1/event-key\0"
_SOURCE_NAME = b"openepm-journal/v1/source-name\0"


def _check_key(key: bytes) -> None:
    if len(key) != KEY_BYTES:
        raise ValueError("a key is 32 bytes")


def derive_data_key(*, day_key: bytes, tenant_key: bytes, origin: str, day: date) -> bytes:
    """Return the 32-byte data key of one compartment and day.

    Both keys are needed, so destroying either one makes the entries unreadable. ValueError unless both are 32 bytes.
    """
    _check_key(day_key)
    _check_key(tenant_key)
    info = _DATA_KEY + origin.encode() + b"\0" + format_day(day).encode()
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=tenant_key, info=info).derive(day_key)


def derive_event_key_key(*, tenant_key: bytes, origin: str) -> bytes:
    """Return the 32-byte key of a compartment's event keys (see `entry.event_key`).

    One per compartment, so that the same event in two of them cannot be linked. ValueError unless `tenant_key` is
    32 bytes.
    """
    _check_key(tenant_key)
    info = _EVENT_KEY + origin.encode()
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(tenant_key)


def derive_source_name_key(*, tenant_key: bytes, origin: str) -> bytes:
    """Return the 32-byte key of the names of a compartment's sources. ValueError unless `tenant_key` is 32 bytes."""
    _check_key(tenant_key)
    info = _SOURCE_NAME + origin.encode()
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(tenant_key)


class Box:
    """Encrypts and opens the entries of one compartment and day, under their data key.

    A ciphertext is nonce(12) ‖ AES-256-GCM(data key, nonce, salt ‖ remainder, associated data = origin ‖ 0x00 ‖
    uint64(index)): it opens in its own chain, at its own index, and nowhere else. The remainder of a record
    (`entry.Frame`) leaves out what origin and index say already. `extending.extend_by` encrypts.
    """

    __slots__ = ("_data_key", "_origin")

    def __init__(self, origin: str, data_key: bytes) -> None:
        """Keep the key. ValueError unless it is 32 bytes."""
        _check_key(data_key)
        # Not the cipher: it takes 2.5 KB for each of many thousand chains, and a microsecond to make.
        self._data_key = data_key
        self._origin = origin

    @property
    def parts(self) -> Parts:
        """What a loop over many entries works with."""
        return AESGCM(self._data_key), self._origin.encode() + b"\0"

    def open(self, index: int, ciphertext: bytes, leaf: bytes) -> tuple[bytes, bytes]:
        """Decrypt an entry, check its leaf hash, and return (salt, record).

        BrokenChainError if the ciphertext or the leaf hash was altered, or belongs to another origin, index or key.
        """
        (salt,), (record,) = self.open_all([(index, leaf, ciphertext)])
        return salt, record

    def open_all(self, rows: Iterable[Row]) -> tuple[list[bytes], list[bytes]]:
        """Open entries as `open` does; return their salts and their records."""
        cipher, origin_prefix = self.parts
        decrypt = cipher.decrypt
        _, tenant, category = f"//{self._origin}".rsplit("/", 2)
        before, end = place_parts(tenant, category)
        salts, records = [], []
        kept, after, event = b"", b"", 0  # what entries of one batch share, and where their events begin
        for index, leaf, ciphertext in rows:
            if len(ciphertext) < _CIPHERTEXT_BYTES:
                raise BrokenChainError("its ciphertext is cut short", part=f"entry {index}")
            try:
                associated_data = origin_prefix + index.to_bytes(8, "big")
                opened = decrypt(ciphertext[:NONCE_BYTES], ciphertext[NONCE_BYTES:], associated_data)
            except (InvalidTag, OverflowError) as error:
                raise BrokenChainError(
                    "its ciphertext does not decrypt at this place of the chain", part=f"entry {index}"
                ) from error
            if not kept or not opened.startswith(kept, SALT_BYTES):
                kept = kept_of(opened[SALT_BYTES:])
                after, event = unfold(kept, end), SALT_BYTES + len(kept)
            salt, record = opened[:SALT_BYTES], b"".join((before, opened[event:], b',"index":%d' % index, after))
            if salted_hash(salt + record) != leaf:
                raise BrokenChainError("its leaf hash is not the hash of its salt and record", part=f"entry {index}")
            salts.append(salt)
            records.append(record)
        return salts, records
