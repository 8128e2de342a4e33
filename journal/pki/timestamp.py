"""RFC 3161 time-stamps: an outside authority attests that a seal existed at a time (FORMAT.md, "Time-stamps").

Every check is made at that time, neither at the time of verification nor at the time the text claims, so that the
verdict never changes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, rsa

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

# The largest difference accepted between the clocks of the service and of the authority.
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
    """A verified time-stamp: `authority` attests that the text existed at `stamped_at`, plus or minus `accuracy`.

    `by_sha1_alone` is set if it names its certificate by SHA-1 only (RFC 2634; the default of OpenSSL 3.0). The path
    was verified without that name, and without SHA-1.
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
    """Check a token (DER) over the content with this SHA-256, and return what it attests.

    `anchors` are the auditor's trust anchors for time-stamps (DER certificates). `made_at` is when the content says
    it was made; `seen_at` a time at which the token existed, if the caller knows one. The token's time may be before
    the first or after the second by CLOCK_TOLERANCE at most. `nonce` is what the caller sent, if anything.
    Raises MalformedError, MismatchedPartError (other content, nonce, time), BadSignatureError, UntrustedError, and
    nothing else for any bytes.
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
    # Differences, not sums: a sum overflows near the first and last dates of `datetime`.
    if made_at - info.stamped_at > CLOCK_TOLERANCE:
        raise MismatchedPartError(f"the time-stamp, of {time_text(info.stamped_at)}, is older than its content")
    if seen_at is not None and info.stamped_at - seen_at > CLOCK_TOLERANCE:
        raise MismatchedPartError(
            f"the time-stamp is of {time_text(info.stamped_at)}, which is later than the time it was seen"
        )
    return Timestamp(info.stamped_at, info.accuracy, read.signer.name, info.serial, by_sha1_alone)


def time_text(moment: datetime) -> str:
    """Return an authority's time (UTC) for people: seconds, and the fraction if there is one."""
    fraction = f".{moment.microsecond:06d}".rstrip("0") if moment.microsecond else ""
    return f"{moment.replace(microsecond=0).isoformat()[:19]}{fraction}Z"


def _read_anchor(anchor: bytes) -> certs.Certificate:
    try:
        return certs.parse(anchor)
    except MalformedError as error:
        raise error.within("trusted certificate") from error


def _check_content(token: Token) -> bool:
    """Check that TSTInfo and the signer's certificate are those that were signed.

    Return whether the certificate is named by SHA-1 alone. A verifier that does not compare the message digest
    accepts any TSTInfo with a genuine signature (CVE-2025-52556).
    """
    if token.attribute(_CONTENT_TYPE).encoded != TST_INFO:
        raise MalformedError("a time-stamp is signed as another content type")
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

    The certificates listed after it restrict the path to one its issuer chose; ours leads to a trust anchor.
    """
    first, *_ = _members(_members(token.attribute(kind))[0])
    digest: Digest | None = SHA256
    parts = _members(first)
    if kind == _SIGNING_CERTIFICATE_V2 and parts[0].tag == der.SEQUENCE:
        digest, parts = DIGESTS.get(parts[0].encoded), parts[1:]
    if digest is None or len(parts) not in (1, 2):
        raise MalformedError("a time-stamp names its certificate in an unknown way")
    hashed, *issued = parts
    # The first version of the attribute uses SHA-1; nothing depends on it alone.
    name = "sha1" if kind == _SIGNING_CERTIFICATE else digest.name
    names_it = hashed.octets() == hashlib.new(name, token.signer.encoded, usedforsecurity=False).digest()
    if not names_it or any(part.encoded != _issuer_and_serial(token.signer) for part in issued):
        raise BadSignatureError("the time-stamp names another certificate than its signer's")


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
    # rsaEncryption names no hash: the token's is meant (RFC 3370 §3.2).
    algorithm = certs.ALGORITHMS.get(token.digest.rsa if token.algorithm == _RSA else token.algorithm)
    if (
        algorithm is None
        or algorithm.by_rsa != isinstance(key, rsa.RSAPublicKey)
        or algorithm.hash.name != token.digest.name
    ):
        raise MalformedError("a time-stamp is signed with an algorithm we do not accept, or not that of its key")
    try:
        if isinstance(key, rsa.RSAPublicKey):
            assert algorithm.padding is not None
            key.verify(token.signature, token.signed, algorithm.padding, algorithm.hash)
        else:
            certs.read_ecdsa(token.signature)
            key.verify(token.signature, token.signed, ec.ECDSA(algorithm.hash))
    except InvalidSignature as error:
        raise BadSignatureError("the time-stamp is not signed by the key of its certificate") from error


def _check_path(token: Token, anchors: Sequence[certs.Certificate], at: datetime) -> None:
    """Check that the signer may stamp, and that some path through the token's certificates leads to a trust anchor.

    Otherwise UntrustedError, with what is wrong with the last path tried.
    """
    signer = token.signer
    # RFC 3161 §2.3: this purpose alone, and critical, so that the key signs nothing else.
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
    """Yield every chain that begins with `chain` and continues by names, without a root; the shortest first."""
    yield chain
    if len(chain) == trust.CHAIN_LIMIT:
        return
    for authority in certificates:
        is_issuer = authority.subject.encoded == chain[-1].issuer.encoded
        if is_issuer and authority.subject.encoded != authority.issuer.encoded and authority not in chain:
            yield from _chains((*chain, authority), certificates)
