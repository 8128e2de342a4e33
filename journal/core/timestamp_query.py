"""What is asked of a time-stamping authority, and what it answers (RFC 3161 §2.4)."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from journal.core import der
from journal.core.errors import MalformedError
from journal.core.timestamp_token import TIMESTAMP_LIMIT_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

QUERY_TYPE = "application/timestamp-query"
REPLY_TYPE = "application/timestamp-reply"
NONCE_BITS = 64
REPLY_LIMIT_BYTES = TIMESTAMP_LIMIT_BYTES + 4 * 1024  # the token, and what an authority may say around it

# The parameters are NULL and not left out: authorities older than RFC 5754 expect them.
_SHA256 = der.sequence(der.object_identifier("2.16.840.1.101.3.4.2.1"), der.encode(der.NULL))
_GRANTED = range(2)  # granted, grantedWithMods
_STATUSES = ("granted", "granted with changes", "rejection", "waiting", "revocation warning", "revocation notification")
_FAILURES = {
    0: "algorithm not accepted",
    2: "bad request",
    5: "data of the wrong format",
    14: "its source of time is not available",
    15: "policy not accepted",
    16: "extension not accepted",
    17: "additional information not available",
    25: "system failure",
}


@dataclass(frozen=True)
class Reply:
    """What an authority answered: a token, not yet verified; or None, and why."""

    token: bytes | None
    refusal: str


def build_query(content_digest: bytes, nonce: int) -> bytes:
    """Return a TimeStampReq (DER) for content of which this is the SHA-256, that asks for the certificates.

    ValueError for a digest that is none, or a nonce that is not from 1 to 2^64 - 1.
    """
    if len(content_digest) != sha256().digest_size or not 0 < nonce < 1 << NONCE_BITS:
        raise ValueError("a query has a SHA-256 and a nonce of 64 bits")
    imprint = der.sequence(_SHA256, der.octet_string(content_digest))
    return der.sequence(der.integer(1), imprint, der.integer(nonce), der.TRUE)


def parse_reply(reply: bytes) -> Reply:
    """Read a TimeStampResp (RFC 3161 §2.4.2); MalformedError for anything else.

    What the authority says in its own words is not repeated: its status and its reasons have names.
    """
    members = der.decode(reply, limit_bytes=REPLY_LIMIT_BYTES).members(der.SEQUENCE)
    if len(members) not in (1, 2) or not members[0].members(der.SEQUENCE):
        raise MalformedError("an answer that says nothing, or more than one thing")
    (status, *details), tokens = members[0].children, members[1:]
    if (status.integer() in _GRANTED) != bool(tokens):
        raise MalformedError("an answer that grants no token, or refuses one it gives")
    if tokens:
        return Reply(tokens[0].expect(der.SEQUENCE).encoded, "")
    return Reply(None, _refusal(status.integer(), details))


def _refusal(status: int, details: Sequence[der.Element]) -> str:
    name = _STATUSES[status] if 0 <= status < len(_STATUSES) else f"status {status}"
    octets = next((detail.bits() for detail in details if detail.tag == der.BIT_STRING), b"")
    bits = "".join(f"{octet:08b}" for octet in octets)
    reasons = [text for place, text in _FAILURES.items() if bits[place : place + 1] == "1"]
    return f"{name} ({', '.join(reasons)})" if reasons else name
