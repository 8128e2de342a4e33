"""The hash chain of a compartment (FORMAT.md, "Chain").

Every structure that is hashed starts with its own tag byte and puts the parts of fixed length before the
variable one, so that no two different inputs give the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

HASH_BYTES = 32
SALT_BYTES = 16


@dataclass(frozen=True)
class Head:
    """The state of a chain: its size (the last index + 1) and the chain hash at that size."""

    size: int
    chain_hash: bytes


def genesis(origin: str) -> Head:
    """Return the head of the empty chain: C_0 = SHA-256(0x04 ‖ origin)."""
    return Head(0, sha256(b"\x04" + origin.encode()).digest())


def leaf_hash(salt: bytes, record: bytes) -> bytes:
    """Return SHA-256(0x00 ‖ salt ‖ record); ValueError unless the salt is 16 bytes.

    The salt keeps the hash from confirming a guessed record once salt and record are destroyed.
    """
    if len(salt) != SALT_BYTES:
        raise ValueError("a salt is 16 bytes")
    return salted_hash(salt + record)


def salted_hash(salted: bytes) -> bytes:
    """Return the leaf hash of a record that its salt precedes."""
    return sha256(b"\x00" + salted).digest()


def extend(chain_hash: bytes, leaf: bytes) -> bytes:
    """Return C_{i+1} = SHA-256(0x01 ‖ C_i ‖ leaf_i); ValueError unless both are 32 bytes."""
    if len(chain_hash) != HASH_BYTES or len(leaf) != HASH_BYTES:
        raise ValueError("a hash is 32 bytes")
    return sha256(b"\x01" + chain_hash + leaf).digest()


def extend_all(chain_hash: bytes, leaves: bytes) -> list[bytes]:
    """Return the chain hash after each of the leaf hashes, given one after another, as `extend` does."""
    if len(chain_hash) != HASH_BYTES or len(leaves) % HASH_BYTES:
        raise ValueError("a hash is 32 bytes")
    hashes = []
    for place in range(0, len(leaves), HASH_BYTES):
        chain_hash = sha256(b"\x01" + chain_hash + leaves[place : place + HASH_BYTES]).digest()
        hashes.append(chain_hash)
    return hashes
