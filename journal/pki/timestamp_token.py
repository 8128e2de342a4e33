"""The parsing of RFC 3161 time-stamp tokens: CMS SignedData (RFC 5652) in DER over a TSTInfo.

Tokens of different authorities differ, so a token is not rebuilt and compared like our own signatures. The fields
that matter are read here, strictly, and `timestamp` checks that they are signed. Fields without effect (unsigned
attributes, revocation lists, the name an authority gives itself) are ignored. FORMAT.md, "Time-stamps".
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from journal.core.errors import MalformedError
from journal.pki import certificates as certs
from journal.pki import der

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime


TIMESTAMP_LIMIT_BYTES = 64 * 1024
CERTIFICATES_LIMIT = 8
ACCURACY_LIMIT_SECONDS = 24 * 60 * 60

TST_INFO = der.object_identifier("1.2.840.113549.1.9.16.1.4")
_SIGNED_DATA = der.object_identifier("1.2.840.113549.1.7.2")
_NULL = der.encode(der.NULL)
_CONTEXT_0, _CONTEXT_1 = 0xA0, 0xA1
_MILLIS, _MICROS = 0x80, 0x81  # Accuracy's implicit tags [0] and [1]
_SIGNED_DATA_VERSION = 3  # RFC 5652 §5.1: its content is not id-data
# A TSTInfo ends with these, each at most once and in this order (RFC 3161 §2.4.2).
_OPTIONAL_TAGS = (der.SEQUENCE, der.BOOLEAN, der.INTEGER, _CONTEXT_0, _CONTEXT_1)


class Digest(NamedTuple):
    """A hash that tokens may use: its name for hashlib, and its identifier with RSA PKCS #1 v1.5."""

    name: str
    rsa: bytes


def _digest(name: str, rsa_arc: int) -> Digest:
    return Digest(name, der.sequence(der.object_identifier(f"1.2.840.113549.1.1.{rsa_arc}"), _NULL))


SHA256 = _digest("sha256", 11)
SHA384 = _digest("sha384", 12)
SHA512 = _digest("sha512", 13)
# Authorities write the parameters as NULL, or omit them as RFC 5754 §2 requires: both mean the same.
DIGESTS: Mapping[bytes, Digest] = {
    der.sequence(der.object_identifier(f"2.16.840.1.101.3.4.2.{arc}"), parameters): digest
    for arc, digest in ((1, SHA256), (2, SHA384), (3, SHA512))
    for parameters in (_NULL, b"")
}


class Token(NamedTuple):
    """The parts of a token that matter. `signed` is the SET OF attributes as it is hashed for the signature."""

    content: bytes
    certificates: tuple[certs.Certificate, ...]
    signer: certs.Certificate
    digest: Digest
    signed: bytes
    attributes: Mapping[bytes, tuple[der.Element, ...]]
    algorithm: bytes
    signature: bytes

    def attribute(self, kind: bytes) -> der.Element:
        """Return the one value of a signed attribute; MalformedError if there is none, or more."""
        values = self.attributes.get(kind, ())
        if len(values) != 1:
            raise MalformedError("a time-stamp lacks a signed attribute, or has several values of it")
        return values[0]


class Info(NamedTuple):
    """The fields of a TSTInfo: what was stamped, when, how accurately, in answer to which nonce."""

    imprint: bytes
    serial: int
    stamped_at: datetime
    accuracy: timedelta | None
    nonce: int | None


def read_token(token: bytes) -> Token:
    """Parse a token (RFC 5652 §5): one signer, its certificate included; MalformedError."""
    kind, wrapped = der.decode(token, limit_bytes=TIMESTAMP_LIMIT_BYTES).members(der.SEQUENCE, 2)
    (signed_data,) = wrapped.members(_CONTEXT_0, 1)
    version, digests, content, certificates, *lists, infos = _at_least(signed_data, 5)
    content_kind, octets = content.members(der.SEQUENCE, 2)
    (inner,) = octets.members(_CONTEXT_0, 1)
    if kind.encoded != _SIGNED_DATA or content_kind.encoded != TST_INFO:
        raise MalformedError("not a time-stamp token")
    if version.integer() != _SIGNED_DATA_VERSION or [part.tag for part in lists] not in ([], [_CONTEXT_1]):
        raise MalformedError("a time-stamp token has parts that its version does not have")
    (info,) = infos.members(der.SET, 1)
    version, signer, algorithm, attributes, signing, value, *unsigned = _at_least(info, 6)
    if version.integer() != 1 or [part.tag for part in unsigned] not in ([], [_CONTEXT_1]):
        raise MalformedError("the signer of a time-stamp has parts that its version does not have")
    digest = DIGESTS.get(algorithm.encoded)
    named = [DIGESTS.get(part.encoded) for part in digests.members(der.SET)]
    if digest is None or digest not in named or None in named:
        raise MalformedError("a time-stamp is hashed with an algorithm we do not accept")
    found = _read_certificates(certificates)
    return Token(
        content=inner.octets(),
        certificates=found,
        signer=_find_signer(found, signer),
        digest=digest,
        # Signed as a SET OF, carried with the implicit tag [0] in its place (RFC 5652 §5.4).
        signed=bytes([der.SET]) + attributes.encoded[1:],
        attributes=_read_attributes(attributes),
        algorithm=signing.encoded,
        signature=value.octets(),
    )


def _at_least(element: der.Element, count: int) -> tuple[der.Element, ...]:
    """Return the members of a SEQUENCE, `count` of them or more."""
    members = element.members(der.SEQUENCE)
    if len(members) < count:
        raise MalformedError(f"{len(members)} DER members where at least {count} belong")
    return members


def _read_certificates(certificates: der.Element) -> tuple[certs.Certificate, ...]:
    """Read the certificates, in whatever order; one of a form we do not know is as good as not there."""
    listed = certificates.members(_CONTEXT_0)
    if len(listed) > CERTIFICATES_LIMIT:
        raise MalformedError(f"a time-stamp holds more than {CERTIFICATES_LIMIT} certificates")
    found = (_read_certificate(element) for element in listed)
    return tuple(certificate for certificate in found if certificate is not None)


def _read_certificate(element: der.Element) -> certs.Certificate | None:
    try:
        return certs.read(element)
    except MalformedError:
        return None


def _find_signer(certificates: Sequence[certs.Certificate], identifier: der.Element) -> certs.Certificate:
    issuer, serial = identifier.members(der.SEQUENCE, 2)
    number = serial.integer()
    found = [one for one in certificates if one.issuer.encoded == issuer.encoded and one.serial == number]
    if len(found) != 1:
        raise MalformedError("a time-stamp does not hold its signer's certificate, once")
    return found[0]


def _read_attributes(listed: der.Element) -> dict[bytes, tuple[der.Element, ...]]:
    """Return the values of each signed attribute by its kind; each kind once, in the order of a DER set."""
    attributes = listed.members(_CONTEXT_0)
    if any(before.encoded > after.encoded for before, after in zip(attributes, attributes[1:])):
        raise MalformedError("the signed attributes of a time-stamp are out of order")
    found = {}
    for attribute in attributes:
        kind, values = attribute.members(der.SEQUENCE, 2)
        found[kind.expect(der.OBJECT_IDENTIFIER).encoded] = values.members(der.SET)
    if len(found) != len(attributes):
        raise MalformedError("a time-stamp has a signed attribute twice")
    return found


def read_info(content: bytes) -> Info:
    """Read a TSTInfo (RFC 3161 §2.4.2): version 1, any policy, an imprint by SHA-256, a time; MalformedError."""
    info = der.decode(content, limit_bytes=TIMESTAMP_LIMIT_BYTES)
    version, policy, imprint, serial, time, *others = _at_least(info, 5)
    policy.expect(der.OBJECT_IDENTIFIER)
    algorithm, hashed = imprint.members(der.SEQUENCE, 2)
    if version.integer() != 1:
        raise MalformedError("a time-stamp is not of version 1")
    if DIGESTS.get(algorithm.encoded) is not SHA256:
        raise MalformedError("the imprint of a time-stamp is not by SHA-256")
    optional = _read_optional(others, _OPTIONAL_TAGS)
    accuracy, nonce, extensions = (optional.get(tag) for tag in (der.SEQUENCE, der.INTEGER, _CONTEXT_1))
    for extension in extensions.children if extensions else ():
        if any(part.encoded == der.TRUE for part in extension.members(der.SEQUENCE)):
            raise MalformedError("a time-stamp has a critical extension, and we know none")
    return Info(
        imprint=hashed.octets(),
        serial=serial.integer(),
        stamped_at=time.expect(der.GENERALIZED_TIME).time(),
        accuracy=None if accuracy is None else _read_accuracy(accuracy),
        nonce=None if nonce is None else nonce.integer(),
    )


def _read_optional(members: Sequence[der.Element], tags: Sequence[int]) -> dict[int, der.Element]:
    """Return optional members by their tags, each at most once and in this order."""
    found = {member.tag: member for member in members}
    if [member.tag for member in members] != [tag for tag in tags if tag in found]:
        raise MalformedError("a time-stamp holds a member that is unknown, given twice or out of order")
    return found


def _read_accuracy(element: der.Element) -> timedelta:
    """Read an Accuracy: seconds, then milliseconds and microseconds from 1 to 999, each optional."""
    parts = _read_optional(element.children, (der.INTEGER, _MILLIS, _MICROS))
    seconds = parts[der.INTEGER].integer() if der.INTEGER in parts else 0
    if not 0 <= seconds <= ACCURACY_LIMIT_SECONDS:
        raise MalformedError("the accuracy of a time-stamp is negative, or more than a day")
    millis, micros = (_read_fraction(parts[tag]) if tag in parts else 0 for tag in (_MILLIS, _MICROS))
    return timedelta(seconds=seconds, milliseconds=millis, microseconds=micros)


def _read_fraction(element: der.Element) -> int:
    value = int.from_bytes(element.content, "big")
    if not 1 <= value <= 999 or element.content != der.integer(value)[2:]:  # noqa: PLR2004  (thousandths)
        raise MalformedError("the accuracy of a time-stamp has a fraction that is not from 1 to 999")
    return value


QUERY_TYPE = "application/timestamp-query"
REPLY_TYPE = "application/timestamp-reply"
NONCE_BITS = 64
REPLY_LIMIT_BYTES = TIMESTAMP_LIMIT_BYTES + 4 * 1024  # the token, and what an authority may add

# The parameters are NULL, not omitted: authorities older than RFC 5754 expect them.
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
    """The answer of an authority: a token, not yet verified; or None, and the reason."""

    token: bytes | None
    refusal: str


def build_query(content_digest: bytes, nonce: int) -> bytes:
    """Return a TimeStampReq (DER) for the content with this SHA-256; it asks for the certificates.

    ValueError unless the digest is 32 bytes and the nonce from 1 to 2^64 - 1.
    """
    if len(content_digest) != sha256().digest_size or not 0 < nonce < 1 << NONCE_BITS:
        raise ValueError("a query has a SHA-256 and a nonce of 64 bits")
    imprint = der.sequence(_SHA256, der.octet_string(content_digest))
    return der.sequence(der.integer(1), imprint, der.integer(nonce), der.TRUE)


def parse_reply(reply: bytes) -> Reply:
    """Read a TimeStampResp (RFC 3161 §2.4.2); MalformedError for anything else.

    The authority's free text is not repeated: status and failure codes have names here.
    """
    members = der.decode(reply, limit_bytes=REPLY_LIMIT_BYTES).members(der.SEQUENCE)
    if len(members) not in (1, 2) or not members[0].members(der.SEQUENCE):
        raise MalformedError("an answer without a status, or with more than a status and a token")
    (status, *details), tokens = members[0].children, members[1:]
    if (status.integer() in _GRANTED) != bool(tokens):
        raise MalformedError("an answer whose status does not match its token")
    if tokens:
        return Reply(tokens[0].expect(der.SEQUENCE).encoded, "")
    return Reply(None, _refusal(status.integer(), details))


def _refusal(status: int, details: Sequence[der.Element]) -> str:
    name = _STATUSES[status] if 0 <= status < len(_STATUSES) else f"status {status}"
    octets = next((detail.bits() for detail in details if detail.tag == der.BIT_STRING), b"")
    bits = "".join(f"{octet:08b}" for octet in octets)
    reasons = [text for place, text in _FAILURES.items() if bits[place : place + 1] == "1"]
    return f"{name} ({', '.join(reasons)})" if reasons else name
