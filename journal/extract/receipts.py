"""Receipts that modules kept: read, verified by themselves, and held against what is shown (FORMAT.md, "Receipts").

A receipt binds the host: it acknowledged that entry, at that place. What is shown, an extract or known seals, either
holds it, or says why it need not, or convicts the host.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from journal.core import canonical
from journal.core.canonical import INTEGER_LIMIT
from journal.core.chain import HASH_BYTES
from journal.core.entry import parse_origin
from journal.core.errors import BadSignatureError, MalformedError, MismatchedPartError, VerificationError
from journal.core.receipt import (
    DELEGATION_LIMIT_BYTES,
    KEY_PREFIX,
    PATH_LIMIT,
    Receipt,
    ReceiptKey,
    parse_receipt_key,
    receipt_leaf,
    root_from_receipts,
    signed_text,
)
from journal.core.times import parse_seconds, parse_time
from journal.extract.listing import parse_path, parse_text, unbase64
from journal.pki import certificates, cms

if TYPE_CHECKING:
    from collections.abc import Sequence


# What a batch of the largest size is answered with: 10,000 receipts, and the sources and ids of 16 MiB of events.
ANSWER_LIMIT_BYTES = 32 * 1024 * 1024
ECDSA_LIMIT_BYTES = 80
_MEMBERS = {"key", "path", "receipts", "signature", "signed_at"}
_TEXTS = ("chain_hash", "id", "leaf_hash", "origin", "recorded_at", "source", "time")
_RECEIPT_MEMBERS = {*_TEXTS, "index"}
_ECDSA = ec.ECDSA(hashes.SHA256())


@dataclass(frozen=True)
class SignedReceipts:
    """The answer to one submission as it was kept, not yet verified; `name` is the file's name."""

    name: str
    receipts: tuple[Receipt, ...]
    path: tuple[bytes, ...]
    signature: bytes
    signed_at: str
    delegation: bytes
    delegation_signature: bytes


@dataclass(frozen=True)
class CheckedReceipts:
    """Receipts whose signature, key and delegation were verified."""

    name: str
    receipts: tuple[Receipt, ...]
    key: ReceiptKey
    signer: cms.Signature


def read_receipts(data: bytes, name: str) -> SignedReceipts:
    """Read what a submission was answered, in any spelling of JSON: only the form is checked.

    Raises MalformedError, with `name` as its part.
    """
    try:
        return _read(canonical.parse(data, limit_bytes=ANSWER_LIMIT_BYTES), name)
    except VerificationError as error:
        raise error.within(name) from error


def _read(value: Any, name: str) -> SignedReceipts:
    if isinstance(value, dict) and value.keys() == {"receipts"}:
        raise MalformedError(
            "not signed: the service had no receipt key when it gave this; sent again, the same events get signed "
            "receipts"
        )
    if not isinstance(value, dict) or value.keys() != _MEMBERS:
        raise MalformedError("not what a submission is answered: its members are not those of the format")
    key, receipts = value["key"], value["receipts"]
    if not isinstance(key, dict) or key.keys() != {"signature", "text"}:
        raise MalformedError("its members are not those of the format", part="/key")
    if not isinstance(receipts, list) or not receipts:
        raise MalformedError("not a list of receipts", part="/receipts")
    path = parse_path(value["path"])
    if len(path) > PATH_LIMIT:
        raise MalformedError(f"a path is at most {PATH_LIMIT} siblings", part="/path")
    signed_at = parse_text(value["signed_at"], "/signed_at").decode()
    try:
        parse_seconds(signed_at)
    except MalformedError as error:
        raise error.within("/signed_at") from error
    return SignedReceipts(
        name=name,
        receipts=tuple(_read_receipt(receipt, f"/receipts/{place}") for place, receipt in enumerate(receipts)),
        path=path,
        signature=unbase64(value["signature"], ECDSA_LIMIT_BYTES, "/signature"),
        signed_at=signed_at,
        delegation=parse_text(key["text"], "/key/text")[: DELEGATION_LIMIT_BYTES + 1],
        delegation_signature=unbase64(key["signature"], cms.SIGNATURE_LIMIT_BYTES, "/key/signature"),
    )


def _read_receipt(value: Any, pointer: str) -> Receipt:
    if not isinstance(value, dict) or value.keys() != _RECEIPT_MEMBERS:
        raise MalformedError("its members are not those of a receipt", part=pointer)
    for name in _TEXTS:
        if not isinstance(value[name], str) or not value[name]:
            raise MalformedError("not a non-empty string", part=f"{pointer}/{name}")
    if type(value["index"]) is not int or not 0 <= value["index"] < INTEGER_LIMIT:
        raise MalformedError("not an index", part=f"{pointer}/index")
    try:
        parse_origin(value["origin"])
        parse_time(value["recorded_at"])
        parse_time(value["time"])
    except MalformedError as error:
        raise error.within(pointer) from error
    return Receipt(
        source=value["source"],
        id=value["id"],
        time=value["time"],
        origin=value["origin"],
        index=value["index"],
        recorded_at=value["recorded_at"],
        leaf_hash=_read_hash(value["leaf_hash"], f"{pointer}/leaf_hash"),
        chain_hash=_read_hash(value["chain_hash"], f"{pointer}/chain_hash"),
    )


def _read_hash(text: str, pointer: str) -> bytes:
    try:
        found = bytes.fromhex(text)
    except ValueError as error:
        raise MalformedError("not hexadecimal", part=pointer) from error
    if len(found) != HASH_BYTES or found.hex() != text:
        raise MalformedError("not 32 bytes in lower-case hexadecimal", part=pointer)
    return found


def check_receipts(kept: SignedReceipts, *, anchors: Sequence[bytes]) -> CheckedReceipts:
    """Verify the delegation of the receipt key, and its signature over the receipts.

    `anchors` are the auditor's trust anchors (DER). Raises VerificationError, with the file's name as its part.
    """
    try:
        return _check(kept, anchors)
    except VerificationError as error:
        raise error.within(kept.name) from error


def _check(kept: SignedReceipts, anchors: Sequence[bytes]) -> CheckedReceipts:
    key = parse_receipt_key(kept.delegation)
    digest = sha256(kept.delegation).digest()
    signer = cms.verify(kept.delegation_signature, digest, anchors=anchors, service=key.service)
    if signer.signing_time != key.valid_from:
        raise MismatchedPartError("the signing time of the delegation is not the time in its text")
    root = root_from_receipts([receipt_leaf(receipt.text) for receipt in kept.receipts], kept.path)
    _check_signature(key.key, kept.signature, signed_text(key.service, kept.signed_at, root))
    if not key.valid_from <= parse_seconds(kept.signed_at) <= key.valid_until:
        raise MismatchedPartError("the receipt key was not valid when it signed")
    if any(parse_origin(receipt.origin).service != key.service for receipt in kept.receipts):
        raise MismatchedPartError("a receipt is of another service than its key")
    return CheckedReceipts(kept.name, kept.receipts, key, signer)


def _check_signature(key: bytes, signature: bytes, text: bytes) -> None:
    certificates.read_ecdsa(signature)
    try:
        point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), key[len(KEY_PREFIX) - 1 :])
    except ValueError as error:
        raise MalformedError("the receipt key is not on its curve") from error
    try:
        point.verify(signature, text, _ECDSA)
    except InvalidSignature as error:
        raise BadSignatureError("the receipts are not what the receipt key signed") from error
