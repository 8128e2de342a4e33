"""Entries made in one loop: record, leaf hash, chain hash and ciphertext of each event that extends a chain.

The first three are those of `entry.encode_record`, `chain.leaf_hash` and `chain.extend`, and `envelope.Box` opens the
ciphertexts. What entries share is made once, and nothing is called twice: there is no hotter loop.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from journal.core.chain import SALT_BYTES, Head
from journal.core.entry import RECORD_LIMIT_BYTES
from journal.core.envelope import NONCE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from journal.core.entry import Frame
    from journal.core.envelope import Parts

DRAW_BYTES = SALT_BYTES + NONCE_BYTES
# What a leaf hash is of: its tag, its salt, its record.
_TAGGED_LIMIT_BYTES = 1 + SALT_BYTES + RECORD_LIMIT_BYTES


class Extension(NamedTuple):
    """The head that a chain is extended to, and by entry the leaf hash, the chain hash after it, the ciphertext."""

    head: Head
    leaves: list[bytes]
    hashes: list[bytes]
    ciphertexts: list[bytes]


def extend_by(parts: Parts, head: Head, frame: Frame, events: Iterable[bytes], draws: bytes) -> Extension:
    """Extend a chain by the canonical bytes of events, each in the same frame (`entry.record_frame`).

    `parts` are those of the box that encrypts them. `draws` are DRAW_BYTES random bytes for each event, never used
    before: its salt, then its nonce. ValueError if they do not suffice, or a record is longer than RECORD_LIMIT_BYTES.
    """
    before, after, kept = frame
    cipher, associated = parts
    encrypt = cipher.encrypt
    index, chain_hash = head.size, head.chain_hash
    leaves: list[bytes] = []
    hashes: list[bytes] = []
    ciphertexts: list[bytes] = []
    place = 0
    for event in events:
        middle, end = place + SALT_BYTES, place + DRAW_BYTES
        salt, nonce = draws[place:middle], draws[middle:end]
        place = end
        tagged = b"".join((b"\x00", salt, before, event, b',"index":%d' % index, after))
        if len(tagged) > _TAGGED_LIMIT_BYTES:
            raise ValueError("a record is longer than the format allows")
        leaf = sha256(tagged).digest()
        chain_hash = sha256(b"\x01" + chain_hash + leaf).digest()
        leaves.append(leaf)
        hashes.append(chain_hash)
        remainder = b"".join((salt, kept, event))
        ciphertexts.append(nonce + encrypt(nonce, remainder, associated + index.to_bytes(8, "big")))
        index += 1
    if place > len(draws):
        raise ValueError("there are too few random bytes")
    return Extension(Head(index, chain_hash), leaves, hashes, ciphertexts)
