"""RFC 3161 time-stamps: what an authority that is not ours attests of a seal, and when (FORMAT.md, "Time-stamps").

A time-stamp proves that a text existed at a time. Every check is made at that time, not at the verifier's own and
not at the one the text claims: the verdict stays the same for ever.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from journal.core.errors import (
    BadSignatureError,
    MalformedError,
    MismatchedPartError,
    UntrustedError,
    VerificationError,
)
from journal.pki import certificates as certs
from journal.pki import der, trust
from journal.pki.timestamp_token import DIGESTS, SHA256, TST_INFO, Digest, Token, read_info, read_token

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

# What two clocks, the service's and the authority's, may disagree by.
CLOCK_TOLERANCE = timedelta(minutes=5)

_CONTENT_TYPE = der.object_identifier("1.2.840.113549.1.9.3")
_MESSAGE_DIGEST = der.object_identifier("1.2.840.113549.1.9.4")
_SIGNING_CERTIFICATE = der.object_identifier("1.2.840.113549.1.9.16.2.12")
_SIGNING_CERTIFICATE_V2 = der.object_identifier("1.2.840.113549.1.9.16.2.47")
_EXTENDED_KEY_USAGE = der.object_identifier("2.5.29.37")
_ONLY_TIME_STAMPING = (True, der.sequence(trust.TIME_STAMPING))
_RSA = der.sequence(der.object_identifier("1.2.840.113549.1.1.1"), der.encode(der.NULL))
_DIRECTORY_NAME = 0xA4


@dataclass(frozen=True)
class Timestamp:
    """A verified time-stamp: `authority` attests that the text existed at `stamped_at`, give or take `accuracy`.

    `by_sha1_alone` tells that it names its certificate by SHA-1 only (RFC 2634; OpenSSL 3.0 does unless it is
    configured otherwise). That name comes on top of the path, which holds without it and uses no SHA-1.
    """

    stamped_at: datetime
    accuracy: timedelta | None
    authority: str
    serial: int
    by_sha1_alone: bool


def verify(
    token: bytes,
    content_digest: bytes,
    *,
    anchors: Sequence[bytes],
    made_at: datetime,
    seen_at: datetime | None = None,
    nonce: int | None = None,
) -> Timestamp:
    """Check a token (DER) over content of which this is the SHA-256, and return what it attests.

    `anchors` are the certificates (DER) the auditor trusts to certify time-stamps. `made_at` is when the content
    says it was made; `seen_at`, where the caller knows, a time at which the token was there. Its own time is not
    before the one nor after the other, by more than CLOCK_TOLERANCE. `nonce` is what the caller sent, if it did.
    Raises MalformedError, MismatchedPartError (other content, nonce, time), BadSignatureError, UntrustedError, for
    any bytes whatever.
    """
    read = read_token(token)
    info = read_info(read.content)
    if info.imprint != content_digest:
        raise MismatchedPartError("the time-stamp is of other content")
    if nonce is not None and info.nonce != nonce:
        raise MismatchedPartError("the time-stamp answers another request")
    by_sha1_alone = _check_content(read)
    _check_value(read)
    _check_path(read, [_read_anchor(anchor) for anchor in anchors], info.stamped_at)
    # Differences, not sums: near the ends of the calendar a sum would overflow.
    if made_at - info.stamped_at > CLOCK_TOLERANCE:
        raise MismatchedPartError(f"the time-stamp, of {time_text(info.stamped_at)}, is older than its content")
    if seen_at is not None and info.stamped_at - seen_at > CLOCK_TOLERANCE:
        raise MismatchedPartError(f"the time-stamp is of {time_text(info.stamped_at)}, which was still to come")
    return Timestamp(info.stamped_at, info.accuracy, read.signer.name, info.serial, by_sha1_alone)


def time_text(moment: datetime) -> str:
    """Spell an authority's time (UTC) for people: seconds, and the fraction where it has one."""
    fraction = f".{moment.microsecond:06d}".rstrip("0") if moment.microsecond else ""
    return f"{moment.replace(microsecond=0).isoformat()[:19]}{fraction}Z"


def _read_anchor(anchor: bytes) -> certs.Certificate:
    try:
        return certs.parse(anchor)
    except MalformedError as error:
        raise error.within("trusted certificate") from error


def _check_content(token: Token) -> bool:
    """Check that TSTInfo and the signer's certificate are those that were signed.

    Return whether the certificate is named by SHA-1 alone. A verifier that does not compare the message digest takes
    any TSTInfo beside a genuine signature (CVE-2025-52556).
    """
    if token.attribute(_CONTENT_TYPE).encoded != TST_INFO:
        raise MalformedError("a time-stamp is signed as another type of content")
    digest = token.attribute(_MESSAGE_DIGEST).octets()
    if digest != hashlib.new(token.digest.name, token.content).digest():
        raise BadSignatureError("the signature of the time-stamp is over other content")
    kinds = [kind for kind in (_SIGNING_CERTIFICATE, _SIGNING_CERTIFICATE_V2) if kind in token.attributes]
    if not kinds:
        raise MalformedError("a time-stamp does not name its certificate in what is signed")
    for kind in kinds:
        _check_named(token, kind)
    return kinds == [_SIGNING_CERTIFICATE]


def _check_named(token: Token, kind: bytes) -> None:
    """Check that signing-certificate (RFC 2634 §5.4) or its version 2 (RFC 5035 §3) names the signer first.

    The certificates listed after it restrict a path that their issuer had in mind; ours leads to the auditor's anchor.
    """
    first, *_ = _members(_members(token.attribute(kind))[0])
    digest: Digest | None = SHA256
    parts = _members(first)
    if kind == _SIGNING_CERTIFICATE_V2 and parts[0].tag == der.SEQUENCE:
        digest, parts = DIGESTS.get(parts[0].encoded), parts[1:]
    if digest is None or len(parts) not in (1, 2):
        raise MalformedError("a time-stamp names its certificate in a way we do not know")
    hashed, *issued = parts
    # SHA-1 is what the attribute's first version has; nothing rests on it alone.
    name = "sha1" if kind == _SIGNING_CERTIFICATE else digest.name
    names_it = hashed.octets() == hashlib.new(name, token.signer.encoded, usedforsecurity=False).digest()
    if not names_it or any(part.encoded != _issuer_and_serial(token.signer) for part in issued):
        raise BadSignatureError("the time-stamp is signed for another certificate than it holds")


def _members(element: der.Element) -> tuple[der.Element, ...]:
    members = element.members(der.SEQUENCE)
    if not members:
        raise MalformedError("a time-stamp names no certificate in what is signed")
    return members


def _issuer_and_serial(certificate: certs.Certificate) -> bytes:
    """Return the IssuerSerial of a certificate (RFC 5035 §5)."""
    names = der.sequence(der.encode(_DIRECTORY_NAME, certificate.issuer.encoded))
    return der.sequence(names, der.integer(certificate.serial))


def _check_value(token: Token) -> None:
    """Check the signature over the signed attributes (RFC 5652 §5.4)."""
    key = certs.public_key(token.signer)
    accepted = (_RSA, token.digest.rsa) if isinstance(key, rsa.RSAPublicKey) else (token.digest.ecdsa,)
    if token.algorithm not in accepted:
        raise MalformedError("a time-stamp is signed with an algorithm we do not accept, or not that of its key")
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(token.signature, token.signed, padding.PKCS1v15(), token.digest.hash)
        else:
            certs.read_ecdsa(token.signature)
            key.verify(token.signature, token.signed, ec.ECDSA(token.digest.hash))
    except InvalidSignature as error:
        raise BadSignatureError("the time-stamp is not signed by the key of its certificate") from error


def _check_path(token: Token, anchors: Sequence[certs.Certificate], at: datetime) -> None:
    """Check that the signer may stamp, and that some path through the token's certificates leads to an anchor.

    UntrustedError whatever is wrong with the last of the paths tried, the longest where one prolongs another.
    """
    signer = token.signer
    # RFC 3161 §2.3: this purpose alone, and critical, so that the key can have signed nothing else.
    if signer.extensions.get(_EXTENDED_KEY_USAGE) != _ONLY_TIME_STAMPING:
        raise UntrustedError("its extended key usage is not time-stamping, critical and alone", part=signer.name)
    faults = []
    for chain in _chains((signer,), token.certificates):
        fault = _fault(chain, anchors, at)
        if fault is None:
            return
        faults.append(fault)
    raise faults[-1]


def _fault(
    chain: Sequence[certs.Certificate], anchors: Sequence[certs.Certificate], at: datetime
) -> UntrustedError | None:
    """Return what is wrong with one path, if anything."""
    try:
        trust.check_path(chain, anchors, at=at, purpose=trust.TIME_STAMPING)
    except VerificationError as error:
        return UntrustedError(error.reason, part=error.part)
    return None


def _chains(
    chain: tuple[certs.Certificate, ...], certificates: Sequence[certs.Certificate]
) -> Iterator[tuple[certs.Certificate, ...]]:
    """Yield every chain that begins so and goes on by names, without a root; the shortest first."""
    yield chain
    if len(chain) == trust.CHAIN_LIMIT:
        return
    for authority in certificates:
        is_issuer = authority.subject.encoded == chain[-1].issuer.encoded
        if is_issuer and authority.subject.encoded != authority.issuer.encoded and authority not in chain:
            yield from _chains((*chain, authority), certificates)
