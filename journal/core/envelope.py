"""How a record is kept: encrypted under its compartment's key of the day, bound to its place in the chain.

AES-256-GCM (NIST SP 800-38D) with a random 96-bit nonce; keys by HKDF-SHA256 (RFC 5869). One data key serves
one compartment for one day, far below the 2^32 entries after which a random nonce could meet itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from journal.core.chain import SALT_BYTES
from journal.core.errors import BrokenChainError
from journal.core.times import format_day

if TYPE_CHECKING:
    from datetime import date

    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
NONCE_BYTES = 12

_TAG_BYTES = 16
_DATA_KEY = b"openepm-journal/v1/data-key\0"
_EVENT_KEY = b"openepm-journal/v1/event-key\0"


def _check_key(key: bytes) -> None:
    if len(key) != KEY_BYTES:
        raise ValueError("a key is 32 bytes")


def derive_data_key(*, day_key: bytes, tenant_key: bytes, origin: str, day: date) -> bytes:
    """Return the 32-byte data key of one compartment and day.

    Both keys are needed, so destroying either makes it unreadable. ValueError unless both are 32 bytes.
    """
    _check_key(day_key)
    _check_key(tenant_key)
    info = _DATA_KEY + origin.encode() + b"\0" + format_day(day).encode()
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=tenant_key, info=info).derive(day_key)


def derive_event_key_key(*, tenant_key: bytes, origin: str) -> bytes:
    """Return the 32-byte key under which a compartment's events are known again (see `entry.event_key`).

    One per compartment: the same event in two of them cannot be joined. ValueError unless 32 bytes.
    """
    _check_key(tenant_key)
    info = _EVENT_KEY + origin.encode()
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(tenant_key)


def associated_data(origin: str, index: int) -> bytes:
    """Return what an entry is bound to without holding it: origin ‖ 0x00 ‖ uint64(index)."""
    return origin.encode() + b"\0" + index.to_bytes(8, "big")


def seal_entry(cipher: AESGCM, *, nonce: bytes, salt: bytes, record: bytes, origin_prefix: bytes, index: int) -> bytes:
    """Return nonce ‖ AES-256-GCM(salt ‖ record), bound to the origin and the index.

    `origin_prefix` is origin ‖ 0x00, made once per chain. ValueError unless the nonce is 12 bytes and the
    salt 16; both are drawn anew for every call.
    """
    if len(nonce) != NONCE_BYTES or len(salt) != SALT_BYTES:
        raise ValueError("a nonce is 12 bytes and a salt 16")
    return nonce + cipher.encrypt(nonce, salt + record, origin_prefix + index.to_bytes(8, "big"))


def open_entry(cipher: AESGCM, sealed: bytes, *, origin_prefix: bytes, index: int) -> tuple[bytes, bytes]:
    """Return (salt, record) of a sealed entry.

    BrokenChainError if it was altered, moved to another origin or index, or sealed under another key.
    """
    if len(sealed) < NONCE_BYTES + SALT_BYTES + _TAG_BYTES:
        raise BrokenChainError("a sealed entry is cut short", part=str(index))
    try:
        bound = origin_prefix + index.to_bytes(8, "big")
        opened = cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], bound)
    except (InvalidTag, OverflowError) as error:
        raise BrokenChainError("a sealed entry does not open in its place", part=str(index)) from error
    return opened[:SALT_BYTES], opened[SALT_BYTES:]
