"""Detached CAdES-B-B signatures (RFC 5652, RFC 5035, ETSI EN 319 122-1), in one profile and one encoding.

`_encode` is the profile: it builds a whole signature from its few variable values. `sign` calls it with new values;
`verify` calls it with the values it read and requires exactly the bytes it received, so that no field can hold
anything else. FORMAT.md, "Signature profile", says the same in words.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from journal.core.errors import BadSignatureError, MalformedError, UntrustedError
from journal.pki import certificates as certs
from journal.pki import der, trust

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

SIGNATURE_LIMIT_BYTES = 32 * 1024
ATTRIBUTES_LIMIT_BYTES = 4 * 1024
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
P384_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973
RSA_SIGNER_BITS = 3072  # at least, as the ANSSI asks of keys used after 2030

_SIGNED_DATA = der.object_identifier("1.2.840.113549.1.7.2")
_DATA = der.object_identifier("1.2.840.113549.1.7.1")
_CONTENT_TYPE = der.object_identifier("1.2.840.113549.1.9.3")
_MESSAGE_DIGEST = der.object_identifier("1.2.840.113549.1.9.4")
_SIGNING_TIME = der.object_identifier("1.2.840.113549.1.9.5")
_SIGNING_CERTIFICATE_V2 = der.object_identifier("1.2.840.113549.1.9.16.2.47")
_SHA256 = der.sequence(der.object_identifier("2.16.840.1.101.3.4.2.1"))
_ECDSA_SHA256 = der.sequence(der.object_identifier("1.2.840.10045.4.3.2"))
_RSA_SHA256 = der.sequence(der.object_identifier("1.2.840.113549.1.1.11"), der.encode(der.NULL))
_ORDERS = {256: P256_ORDER, 384: P384_ORDER}
_VERSION_1 = der.integer(1)
_CONTEXT_0 = 0xA0


@dataclass(frozen=True)
class Signature:
    """A verified signature: its signer, the time it claims, and the trust anchor its path led to.

    `names_service` is unset in an organisation's seal; `is_expected` says whether the auditor brought a certificate
    that names the organisations whose seals are expected.
    """

    signer: bytes
    subject: str
    organisation: certs.Organisation | None
    names_service: bool
    is_expected: bool
    anchor: trust.Anchor
    issuer: str
    serial: int
    signing_time: datetime
    not_before: datetime
    not_after: datetime


@dataclass(frozen=True)
class _Values:
    """The values that vary between signatures; the chain goes from the signer up."""

    chain: tuple[certs.Certificate, ...]
    content_digest: bytes
    signing_time: datetime
    value: bytes


def sign(
    content_digest: bytes,
    *,
    certificates: Sequence[bytes],
    signing_time: datetime,
    sign_bytes: Callable[[bytes], bytes],
) -> bytes:
    """Return a detached signature (DER) over the content with this SHA-256.

    `certificates` are DER: the signer's, then its intermediates in order, no root. `signing_time` is UTC, in
    whole seconds. `sign_bytes` returns the signature, by the key of the first certificate and SHA-256, of the bytes it
    is given: an ECDSA-Sig-Value, or RSA PKCS #1 v1.5. Of the equivalent (r, s) and (r, n - s) the one with the low s is
    kept. The result depends on nothing else.
    Raises ValueError for a digest, a time or a number of certificates outside the profile,
    VerificationError if the signature would not verify.
    """
    if len(content_digest) != sha256().digest_size:
        raise ValueError("the content digest is not a SHA-256")
    if not 1 <= len(certificates) <= trust.CHAIN_LIMIT:
        raise ValueError(f"{len(certificates)} certificates in a signature")
    chain = tuple(certs.parse(certificate) for certificate in certificates)
    attributes = _signed_attributes(chain, content_digest, signing_time)
    value, key = sign_bytes(attributes), certs.public_key(chain[0])
    if isinstance(key, ec.EllipticCurvePublicKey):
        r, s = certs.read_ecdsa(value)
        value = _ecdsa_value(r, min(s, _ORDERS[key.curve.key_size] - s))
    values = _Values(chain, content_digest, signing_time, value)
    # A signature that its own certificate does not verify (another key, a failing device) must never be kept.
    _check_value(values)
    return _encode(values)


def verify(
    signature: bytes,
    content_digest: bytes,
    *,
    anchors: Sequence[bytes],
    service: str,
    at: datetime | None = None,
) -> Signature:
    """Check a detached signature over the content with this SHA-256, and its signer.

    `anchors` are the certificates (DER) that the auditor brings: trust anchors, and signers by whom one is expected;
    `service` is the one that the signed text is of (`trust.check_signer`). The path must be valid at `at`, the time of
    a time-stamp the caller verified; without one, at the time the signature itself claims.
    Raises MalformedError (not this profile, byte for byte), BadSignatureError (other content, other key),
    UntrustedError (no path to a trust anchor at that time), and nothing else for any bytes.
    """
    values = _parse(signature)
    if _encode(values) != signature:
        raise MalformedError("a signature is not in the one encoding of its profile")
    if values.content_digest != content_digest:
        raise BadSignatureError("the signature is over other content")
    _check_value(values)
    signer = values.chain[0]
    given = [_read_anchor(anchor) for anchor in anchors]
    trust.check_signer(signer, service)
    is_expected = trust.check_expected(signer, given)
    anchor = trust.check_path(values.chain, given, at=at or values.signing_time)
    return Signature(
        signer=signer.encoded,
        subject=signer.name,
        organisation=certs.organisation(signer),
        names_service=bool(trust.dns_names(signer)),
        is_expected=is_expected,
        anchor=anchor,
        issuer=certs.name_text(signer.issuer),
        serial=signer.serial,
        signing_time=values.signing_time,
        not_before=signer.not_before,
        not_after=signer.not_after,
    )


def signer_of(signature: bytes) -> bytes:
    """Return the signer's certificate (DER) in a signature, which is not verified. Raises MalformedError."""
    return _parse(signature).chain[0].encoded


def check_document_attributes(attributes: bytes, content_digest: bytes, certificate: bytes) -> None:
    """Check that these are the signed attributes of a document with this SHA-256 (ETSI EN 319 142-1 section 6.3).

    They are exactly a content type, the message digest and the signer's certificate. A signature of this module's own
    profile always has a signing time too, so that what is signed here is never one. Raises MalformedError.
    """
    found = {}
    for attribute in der.decode(attributes, limit_bytes=ATTRIBUTES_LIMIT_BYTES).members(der.SET, 3):
        kind, values = attribute.members(der.SEQUENCE, 2)
        (found[kind.encoded],) = values.members(der.SET, 1)
    if found.keys() != {_CONTENT_TYPE, _MESSAGE_DIGEST, _SIGNING_CERTIFICATE_V2}:
        raise MalformedError("the signed attributes are not those of a document")
    if found[_CONTENT_TYPE].encoded != _DATA or found[_MESSAGE_DIGEST].octets() != content_digest:
        raise MalformedError("the signed attributes are of other content")
    # Each listed certificate begins with its hash (RFC 5035 section 4).
    identifiers = [
        member.octets()
        for listed in found[_SIGNING_CERTIFICATE_V2].members(der.SEQUENCE, 1)[0].members(der.SEQUENCE)
        for member in listed.members(der.SEQUENCE)[:1]
    ]
    if identifiers != [sha256(certificate).digest()]:
        raise MalformedError("the signed attributes name another certificate")


def _read_anchor(anchor: bytes) -> certs.Certificate:
    try:
        return certs.parse(anchor)
    except MalformedError as error:
        raise error.within("trusted certificate") from error


def may_be_beside(signature: Signature, other: Signature) -> bool:
    """Tell whether two signatures can be of one service: not where they are seals of two organisations.

    A certificate that names the service, or an organisation that the auditor expects, needs no such comparison.
    """
    mine, its = signature.organisation, other.organisation
    is_named = signature.names_service or other.names_service or signature.is_expected
    return is_named or mine is None or its is None or mine.is_same(its)


def _check_value(values: _Values) -> None:
    """Check the signature over the signed attributes (RFC 5652 §5.4)."""
    signer, value = values.chain[0], values.value
    key = certs.public_key(signer)
    attributes = _signed_attributes(values.chain, values.content_digest, values.signing_time)
    try:
        if isinstance(key, rsa.RSAPublicKey):
            if key.key_size < RSA_SIGNER_BITS:
                raise UntrustedError(f"the signer's RSA key has less than {RSA_SIGNER_BITS} bits", part=signer.name)
            key.verify(value, attributes, padding.PKCS1v15(), hashes.SHA256())
        else:
            _check_numbers(value, _ORDERS[key.curve.key_size])
            key.verify(value, attributes, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature as error:
        raise BadSignatureError("the signature is not by the key of its certificate") from error


def _check_numbers(value: bytes, order: int) -> None:
    """Refuse an ECDSA-Sig-Value out of range, or with the higher s: MalformedError."""
    r, s = certs.read_ecdsa(value)
    if r >= order or s > order // 2:
        raise MalformedError("an ECDSA signature is out of range, or has the higher of its two equivalent values of s")


def _encode(values: _Values) -> bytes:
    """Return the ContentInfo of this profile (RFC 5652 §3, §5)."""
    signer = values.chain[0]
    attributes = _signed_attributes(values.chain, values.content_digest, values.signing_time)
    signer_info = der.sequence(
        _VERSION_1,
        der.sequence(signer.issuer.encoded, der.integer(signer.serial)),
        _SHA256,
        # Signed as a SET OF, stored with the implicit tag [0] instead (RFC 5652 §5.4).
        bytes([_CONTEXT_0]) + attributes[1:],
        _RSA_SHA256 if certs.has_rsa_key(signer) else _ECDSA_SHA256,
        der.octet_string(values.value),
    )
    signed_data = der.sequence(
        _VERSION_1,
        der.set_of(_SHA256),
        der.sequence(_DATA),
        der.encode(_CONTEXT_0, *sorted(certificate.encoded for certificate in values.chain)),
        der.set_of(signer_info),
    )
    return der.sequence(_SIGNED_DATA, der.encode(_CONTEXT_0, signed_data))


def _signed_attributes(chain: Sequence[certs.Certificate], content_digest: bytes, signing_time: datetime) -> bytes:
    """Return the signed attributes as the SET OF that is hashed.

    signing-certificate-v2 (RFC 5035 §4) lists the whole chain, not only the signer: the signature then
    covers every certificate of the message, including the issuer's signature on it. The hash algorithm is the
    default, SHA-256, and so left out; issuer and serial number are already in the signer information.
    """
    listed = (der.sequence(der.octet_string(sha256(certificate.encoded).digest())) for certificate in chain)
    return der.set_of(
        _attribute(_CONTENT_TYPE, _DATA),
        _attribute(_MESSAGE_DIGEST, der.octet_string(content_digest)),
        _attribute(_SIGNING_TIME, der.time(signing_time)),
        _attribute(_SIGNING_CERTIFICATE_V2, der.sequence(der.sequence(*listed))),
    )


def _attribute(kind: bytes, value: bytes) -> bytes:
    return der.sequence(kind, der.set_of(value))


def _ecdsa_value(r: int, s: int) -> bytes:
    return der.sequence(der.integer(r), der.integer(s))


def _parse(signature: bytes) -> _Values:
    """Read the variable values from their places in the profile; MalformedError where they are missing.

    Everything around them is checked by the comparison with `_encode`.
    """
    content_info = der.decode(signature, limit_bytes=SIGNATURE_LIMIT_BYTES)
    (signed_data,) = content_info.members(der.SEQUENCE, 2)[1].members(_CONTEXT_0, 1)
    _, _, _, certificates, signer_infos = signed_data.members(der.SEQUENCE, 5)
    (signer_info,) = signer_infos.members(der.SET, 1)
    _, _, _, attributes, _, value = signer_info.members(der.SEQUENCE, 6)
    found = {}
    for attribute in attributes.members(_CONTEXT_0, 4):
        kind, values = attribute.members(der.SEQUENCE, 2)
        (found[kind.encoded],) = values.members(der.SET, 1)
    if not found.keys() >= {_MESSAGE_DIGEST, _SIGNING_TIME, _SIGNING_CERTIFICATE_V2}:
        raise MalformedError("a signature lacks a signed attribute of its profile")
    (listed,) = found[_SIGNING_CERTIFICATE_V2].members(der.SEQUENCE, 1)
    return _Values(
        chain=_order(certificates.members(_CONTEXT_0), listed.members(der.SEQUENCE)),
        content_digest=found[_MESSAGE_DIGEST].octets(),
        signing_time=found[_SIGNING_TIME].moment(),
        value=value.octets(),
    )


def _order(certificates: Sequence[der.Element], listed: Sequence[der.Element]) -> tuple[certs.Certificate, ...]:
    """Return the certificates in the order of their hashes in signing-certificate-v2: the signer's first."""
    if not 1 <= len(listed) <= trust.CHAIN_LIMIT:
        raise MalformedError(f"a signature lists {len(listed)} certificates")
    by_hash = {sha256(certificate.encoded).digest(): certificate for certificate in certificates}
    chain = []
    for identifier in listed:
        certificate = by_hash.get(identifier.members(der.SEQUENCE, 1)[0].octets())
        if certificate is None:
            raise MalformedError("a signature lists a certificate it does not hold")
        chain.append(certs.read(certificate))
    return tuple(chain)
