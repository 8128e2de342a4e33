"""Receipts, the tree that one signature covers, and the delegation of the key that signs (FORMAT.md, "Receipts").

All receipts of an append are the leaves of one tree, whose root is signed: a receipt convicts whoever acknowledged an
entry and does not show it. The key that signs is not the signing key, which vouches for it in a signed delegation.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from dataclasses import dataclass
from hashlib import sha256
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, NamedTuple

from journal.core.entry import is_service
from journal.core.errors import MalformedError
from journal.core.times import format_seconds, parse_seconds

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    # A receipt's members, in their order.
    Members = tuple[str, str, str, str, int, str, bytes, bytes]

PATH_LIMIT = 64
DELEGATION_LIMIT_BYTES = 1024
# SubjectPublicKeyInfo of an uncompressed point on P-256 (RFC 5480 section 2): only the point varies.
KEY_PREFIX = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200") + b"\x04"
KEY_BYTES = len(KEY_PREFIX) + 64

_FIRST_LINE = "openepm-journal/receipt-key/v1"
_SIGNED_LINE = "openepm-journal/receipt/v1"


# A tuple: until somebody asks for more than its text, its members alone do.
class Receipt(NamedTuple):
    """What a module gets back for an event: which event it was, and where it stands in its chain.

    `time` and `recorded_at` are in the spelling of records.
    """

    source: str
    id: str
    time: str
    origin: str
    index: int  # type: ignore[assignment]  # the tuple's method of this name is of no use here
    recorded_at: str
    leaf_hash: bytes
    chain_hash: bytes

    @property
    def text(self) -> bytes:
        """The receipt in canonical JSON, hashes in lower-case hexadecimal."""
        return receipt_text(self)


def receipt_text(receipt: Members) -> bytes:
    """Return the text of the receipt of these members."""
    source, name, time, origin, index, recorded_at, leaf, chain = receipt
    return (
        f'{{"chain_hash":"{chain.hex()}","id":{encode_basestring(name)},"index":{index},'
        f'"leaf_hash":"{leaf.hex()}","origin":"{origin}","recorded_at":"{recorded_at}",'
        f'"source":{encode_basestring(source)},"time":"{time}"}}'
    ).encode()


def receipt_leaf(text: bytes) -> bytes:
    """Return SHA-256(0x05 ‖ receipt in canonical JSON)."""
    return sha256(b"\x05" + text).digest()


def _node(one: bytes, other: bytes) -> bytes:
    """Return SHA-256(0x06 ‖ the lower ‖ the higher): a path then needs no sides."""
    return sha256(b"\x06" + (one + other if one < other else other + one)).digest()


def _above(level: Sequence[bytes]) -> list[bytes]:
    """Return the level above: two neighbours make a node, an odd last one rises as it is."""
    # `_node` written out: there are as many as receipts.
    nodes = [
        sha256(b"\x06" + (one + other if one < other else other + one)).digest()
        for one, other in zip(level[::2], level[1::2])
    ]
    if len(level) % 2:
        nodes.append(level[-1])
    return nodes


def receipts_root(nodes: Sequence[bytes]) -> bytes:
    """Return the root of the tree over nodes of 32 bytes, at least one."""
    while len(nodes) > 1:
        nodes = _above(nodes)
    return nodes[0]


def receipts_paths(nodes: Sequence[bytes]) -> tuple[bytes, list[list[bytes]]]:
    """Return the root of the tree over nodes, at least one, and the path from each to it."""
    levels = [nodes]
    while len(levels[-1]) > 1:
        levels.append(_above(levels[-1]))
    return levels[-1][0], [_path(levels, place) for place in range(len(nodes))]


def _path(levels: Sequence[Sequence[bytes]], place: int) -> list[bytes]:
    siblings = ((level, place >> depth ^ 1) for depth, level in enumerate(levels))
    return [level[sibling] for level, sibling in siblings if sibling < len(level)]


def root_from_receipts(nodes: Sequence[bytes], path: Sequence[bytes]) -> bytes:
    """Return the root that receipts' leaves and the path from their own root lead to."""
    root = receipts_root(nodes)
    for sibling in path:
        root = _node(root, sibling)
    return root


def signed_text(service: str, signed_at: str, root: bytes) -> bytes:
    """Return the text that a receipt key signs: four lines. `signed_at` is in the spelling of seals."""
    return f"{_SIGNED_LINE}\n{service}\n{signed_at}\n{b64encode(root).decode()}\n".encode()


@dataclass(frozen=True)
class ReceiptKey:
    """What the delegation of a receipt key says. ValueError if it has no text.

    `key` is a SubjectPublicKeyInfo (DER): P-256, uncompressed. It signs receipts from `valid_from` to `valid_until`,
    both included.
    """

    service: str
    valid_from: datetime
    valid_until: datetime
    key: bytes

    def __post_init__(self) -> None:
        """Refuse values that have no text, and a key of another kind."""
        format_seconds(self.valid_from)
        format_seconds(self.valid_until)
        if not is_service(self.service):
            raise ValueError("a receipt key needs a service's name")
        if self.valid_until < self.valid_from:
            raise ValueError("a receipt key ends before it begins")
        if len(self.key) != KEY_BYTES or not self.key.startswith(KEY_PREFIX):
            raise ValueError("a receipt key is an uncompressed point on P-256")

    @property
    def text(self) -> bytes:
        """The exact bytes that are signed, every line ended by one LF."""
        times = f"{format_seconds(self.valid_from)}\n{format_seconds(self.valid_until)}"
        return f"{_FIRST_LINE}\n{self.service}\n{times}\n{b64encode(self.key).decode()}\n".encode()


def looks_like_receipt_key(text: bytes) -> bool:
    """Return whether a text begins as the delegations of any version do."""
    return text.startswith(_FIRST_LINE.rpartition("v")[0].encode())


def parse_receipt_key(text: bytes) -> ReceiptKey:
    """Read a delegation; MalformedError unless it is the canonical text of a valid one."""
    if len(text) > DELEGATION_LIMIT_BYTES:
        raise MalformedError(f"a delegation is at most {DELEGATION_LIMIT_BYTES} bytes")
    try:
        _, service, valid_from, valid_until, key, _ = text.decode("ascii").split("\n")
        found = ReceiptKey(service, parse_seconds(valid_from), parse_seconds(valid_until), b64decode(key))
    except MalformedError as error:
        raise MalformedError(f"not the delegation of a receipt key: {error.reason}") from error
    except ValueError as error:
        raise MalformedError("not the delegation of a receipt key of format v1") from error
    # The key was read leniently: written again, it must give the same bytes.
    if found.text != text:
        raise MalformedError("not the canonical text of a delegation")
    return found
